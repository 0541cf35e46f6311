"""Tune, then weigh and merge with the base, then check both sides (LM-Cocktail, arXiv 2311.13534)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.suites import Suite, open_sides
from embedmerge.recipe import parse_recipe, read_suite
from embedmerge.run import run_recipe
from embedmerge.run_folder import require_own
from embedmerge.stages import data_folder
from embedmerge.tuning.job import tune_on
from embedmerge.tuning.rows import asked_in, path_and_split
from embedmerge.tuning.settings import EXAMPLES
from embedmerge.tuning.work import Work

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.recipe import Recipe
    from embedmerge.run import Watcher
    from embedmerge.tuning.settings import Preparation, Tuning
    from embedmerge.tuning.tuned import Kept, Tuned

STRATEGIES = ("front", "greedy", "frank_wolfe")
EXPERT = "expert"


@dataclass(frozen=True)
class Checks:
    """How the tuned model is merged with its base, and what the result is checked on.

    Attributes:
        target: Tasks of the target domain; the data's own test split where there are none.
        general: Tasks that stand for everything else.
        suite: Name of a suite with further tasks, or a YAML file.
        strategy: How weights are chosen: `front`, `greedy` or `frank_wolfe`.
        guard: What general quality is measured on while they are chosen, as in a recipe.
        method: How they are merged.
        precision: How texts are encoded while weights are chosen and models are checked.
        data_dir: Where a task that is no folder here is looked for; `EMBEDMERGE_DATA` where None.
    """

    target: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    suite: str | None = None
    strategy: str = "front"
    guard: dict[str, Any] = field(default_factory=dict)
    method: str = "linear"
    precision: str = "fp32"
    data_dir: Path | None = None


def tune_and_merge(
    base: str,
    data: str,
    folder: Path,
    tuning: Tuning,
    preparation: Preparation,
    checks: Checks,
    watcher: Watcher,
    *,
    kept: Kept,
    tested: dict[str, tuple[str, ...]] | None = None,
    fresh: bool = False,
) -> Tuned:
    """Tune on one part of the training queries, choose weights on another, and check on neither.

    Args:
        base: Folder or hub id.
        data: Collection with an optional split, or a FlagEmbedding file.
        folder: Run folder; the tuned model lies in `FOLDER-tuning/expert`.
        tuning: How to train.
        preparation: How rows are made; a tenth of the queries is held out as examples where it says none.
        checks: What the result is checked on.
        watcher: Told what goes on.
        kept: What is kept besides; models along the way join the pool that is weighed.
        tested: Further queries that are tested on, by the name of the test.
        fresh: Remove what an earlier run left and start over.

    Raises:
        EmbedmergeError: Bad input, before anything is written.
    """
    require_own(folder)
    work = _work(folder)
    checks = replace(checks, target=checks.target or _own_test(data, checks))
    draft = _recipe(base, work, checks, ())
    asked = {**_asked(draft, checks.data_dir), **_guarding(checks)}
    preparation = replace(preparation, examples=preparation.examples or EXAMPLES)
    tuned = tune_on(
        base,
        data,
        work,
        tuning,
        preparation,
        watcher,
        kept=kept,
        tested={**(tested or {}), **asked},
        fresh=fresh,
    )
    recipe = _recipe(base, work, checks, _others(tuned))
    report = run_recipe(recipe, folder, fresh=fresh, data_dir=checks.data_dir, watcher=watcher)
    return replace(tuned, run=folder, report=report)


def _others(tuned: Tuned) -> tuple[Path, ...]:
    """Models along the way but for the one that is the tuned model itself."""
    return tuple(folder for folder in tuned.along_the_way if int(folder.name[5:]) != tuned.record.step)


def _work(folder: Path) -> Work:
    beside = folder.parent / f"{folder.name}-tuning"
    return Work(beside, beside / EXPERT)


def _own_test(data: str, checks: Checks) -> tuple[str, ...]:
    """The test split of the collection that is tuned on.

    Raises:
        EmbedmergeError: It has none, and no other task is named.
    """
    path, _ = path_and_split(data)
    if any((path / "qrels").glob("test.*")):
        return (f"{path}:test",)
    if checks.suite is None:
        msg = f"{data}: has no test split to check the target on; name a task with --target"
        raise EmbedmergeError(msg)
    return ()


def _recipe(base: str, work: Work, checks: Checks, along_the_way: tuple[Path, ...]) -> Recipe:
    """The run's recipe.

    Raises:
        EmbedmergeError: No such strategy, or something of it does not fit.
    """
    if checks.strategy not in STRATEGIES:
        raise EmbedmergeError(f"strategy: {checks.strategy!r} found; must be {', '.join(STRATEGIES)}")
    if not checks.general and checks.suite is None:
        msg = "general: nothing stands for general quality; name tasks with --general, or a --suite"
        raise EmbedmergeError(msg)
    target = {"path": str(work.model), "name": "tuned", "role": "target"}
    peers = [{"path": str(folder), "name": folder.name} for folder in along_the_way]
    evaluation = {"target": list(checks.target), "general": list(checks.general), "suite": checks.suite}
    return parse_recipe(
        {
            "title": work.folder.name.removesuffix("-tuning"),
            "base": base,
            "experts": [target, *peers],
            "method": checks.method,
            "weighting": {"strategy": checks.strategy, "examples": work.examples, "guard": checks.guard},
            "evaluation": evaluation,
            "encoding": {"precision": checks.precision},
        }
    )


def _guarding(checks: Checks) -> dict[str, tuple[str, ...]]:
    """Queries of every task of the guard: weights are chosen on them too."""
    return {
        f"guard {name}": asked
        for task in checks.guard.get("tasks", ())
        for name, asked in asked_in(task).items()
    }


def _asked(recipe: Recipe, data_dir: Path | None) -> dict[str, tuple[str, ...]]:
    """Queries of every task that the result is checked on, by the task's name."""
    named = Suite.model_validate(
        {"target": list(recipe.evaluation.target), "general": list(recipe.evaluation.general)}
    )
    suite = read_suite(recipe.evaluation.suite) if recipe.evaluation.suite else None
    tasks = open_sides(named.by_side, data_dir or data_folder(), suite)
    return {f"{task.name}:{task.split}": tuple(task.queries) for task in tasks}
