"""Weights by every rule the study compares, from five, twenty and a hundred examples, five draws of each."""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pools import drawn, guard_task, read_pool

from embedmerge.atomic import write_json
from embedmerge.weighting.decimals import named
from embedmerge.weighting.frank_wolfe import FrankWolfe
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.strategy import Evidence, MethodChoice
from embedmerge.weighting.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from study import Study

    from embedmerge.sources import Source
    from embedmerge.weighting.examples import Example

LM_TWO, LM_ALL = "LM_Cocktail, 2 models", "LM_Cocktail, all"


@dataclass(frozen=True)
class Row:
    """A rule of ours.

    Attributes:
        experts: Which experts are weighed: the target's, those of all domains, or all but the target's.
        guard: What general quality is measured on: embedmerge's text, labelled training rows of the other
            domains, or labelled collections that nobody tuned on.
        method: How they are merged.
        pool: How all experts are merged first, the merge being weighed as one more source.
        anchored: Whether the model half-way from the base to that merge takes the base's place instead, so
            that it is what general quality is kept of.
    """

    experts: Literal["target", "all", "peers"]
    guard: Literal["text", "domains", "strangers"] = "text"
    method: str = "linear"
    pool: str | None = None
    anchored: bool = False


OURS = {
    "embedmerge, 2 models": Row("target"),
    "embedmerge, 2 models, guard with labels": Row("target", guard="domains"),
    "embedmerge, 2 models, guard of strangers": Row("target", guard="strangers"),
    "embedmerge, 2 models, iso_linear": Row("target", method="iso_linear"),
    "embedmerge, all": Row("all"),
    "embedmerge, all, guard with labels": Row("all", guard="domains"),
    "embedmerge, all, guard of strangers": Row("all", guard="strangers"),
    "embedmerge, all, iso_linear": Row("all", method="iso_linear"),
    "embedmerge, all merged first": Row("target", pool="iso_cts"),
    "embedmerge, all merged first, guard with labels": Row("target", guard="domains", pool="iso_cts"),
    "embedmerge, all merged first, as the base": Row("target", pool="iso_cts", anchored=True),
    "embedmerge, without the fine-tune": Row("peers"),
    "embedmerge, without the fine-tune, guard with labels": Row("peers", guard="domains"),
}
FEW = 5  # examples that LM-Cocktail's paper takes
TEMPERATURE = 5.0  # its default


def choose(study: Study) -> None:
    """Every cell that is not there yet, the dear ones last, so that what is there covers all targets."""
    study.remember(study.pool_texts())
    for row, number, seed in cells(study):
        for target in study.setting.targets:
            path = choice_file(study, target, row, number, seed)
            if path.exists():
                continue
            choice = chosen(study, row, target, drawn(read_pool(study, target), number, seed))
            write_json(path, asdict(choice))
            counting = dict(filter(itemgetter(1), choice.weights.items()))
            print(target, row, number, seed, choice.seconds, counting, flush=True)


@dataclass(frozen=True)
class Chosen:
    """What a rule says.

    Attributes:
        weights: By source.
        encodes: Models that the examples, and what else the rule looks at, were encoded with.
        seconds: To choose once they are encoded.
        cpu_s: Likewise.
        method: How sources are merged.
        pool: How all experts were merged into one more source.
    """

    weights: dict[str, float]
    encodes: int
    seconds: float
    cpu_s: float
    method: str = "linear"
    pool: str | None = None


def choice_file(study: Study, target: str, row: str, number: int, seed: int) -> Path:
    """Where a cell lies."""
    return study.work / "choices" / target / f"{row}.{number}.{seed}.json"


def cells(study: Study) -> Iterator[tuple[str, int, int]]:
    """Row, number of examples, seed; first one draw of every row."""
    sizes, seeds = study.setting.sizes, study.setting.seeds
    ours = rows_of(study)
    first, *rest = [(number, seed) for seed in seeds for number in sizes]
    yield LM_TWO, 0, 0
    yield LM_ALL, FEW, seeds[0]
    yield from ((row, *first) for row in ours)
    yield from ((LM_ALL, FEW, seed) for seed in seeds[1:])
    of_two = [row for row in ours if OURS[row].experts == "target"]
    yield from ((row, *draw) for row in of_two for draw in rest)
    yield from ((row, *draw) for draw in rest for row in ours if row not in of_two)


def rows_of(study: Study) -> list[str]:
    """Our rows that this study has."""
    setting = study.setting
    there = [row for row in OURS if row in setting.ours or not setting.ours]
    return [row for row in there if OURS[row].guard != "strangers" or setting.strangers]


def chosen(study: Study, row: str, target: str, examples: Sequence[Example]) -> Chosen:
    """One cell."""
    targets = study.setting.targets
    if row == LM_TWO:
        return Chosen({"base": 0.5, target: 0.5}, 0, 0.0, 0.0)
    if row == LM_ALL:
        weights, *took = timed(lambda: lm_cocktail(study, examples))
        return Chosen(weights, 1 + len(targets), *took)
    peers = [name for name in targets if name != target]
    rule = OURS[row]
    experts = {"target": [target], "all": list(targets), "peers": peers}[rule.experts]
    tasks = {
        "text": tuple,
        "domains": lambda: tuple(guard_task(study, name) for name in peers),
        "strangers": lambda: tuple(study.stranger_tasks()),
    }[rule.guard]()
    if rule.anchored:
        assert rule.pool
        found = guarded(study, rule, study.anchored(target, rule.pool), examples, Guard(tasks=tasks))
        halves = dict.fromkeys(("base", rule.pool), found.weights["base"] / 2)
        return replace(found, weights={**halves, target: found.weights[target]})
    return guarded(study, rule, study.sources(*experts, pool=rule.pool), examples, Guard(tasks=tasks))


def guarded(
    study: Study, rule: Row, sources: Sequence[Source], examples: Sequence[Example], guard: Guard
) -> Chosen:
    """What `front` picks of few models and `frank_wolfe` of more, not yet confirmed by a true merge."""
    # Of one of the strangers there is a test split alone, and nothing is reported on it.
    test_data = rule.guard == "strangers"
    strategy = (Front if rule.experts == "target" else FrankWolfe)(
        examples="drawn", guard=guard, i_know_this_is_test_data=test_data
    )
    evidence = Evidence(sources, examples, study.trials(sources), method=MethodChoice(rule.method))
    judged = sum(len(ground.queries) for ground in guard.grounds(test_data=test_data))
    rows = np.arange(len(examples)), np.arange(judged)

    def pick() -> tuple[NDArray[np.float64], int]:
        survey = Survey(strategy, evidence)
        return strategy.pick(survey.judge(rows)), survey.landscape.encodes

    if rule.pool or not evidence.method.keeps_sources:
        Survey(strategy, evidence)  # what is not encoded yet is not to be timed
    (weights, encodes), *took = timed(pick)
    return Chosen(named([source.name for source in sources], weights), encodes, *took, rule.method, rule.pool)


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What some work gives, its seconds and its CPU seconds."""
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, round(time.perf_counter() - began, 1), round(time.process_time() - cpu, 1)


def lm_cocktail(study: Study, examples: Sequence[Example]) -> dict[str, float]:
    """What LM_Cocktail 0.0.4 itself computes for the base and all experts."""
    import LM_Cocktail.utils as reference
    from transformers import AutoModel, AutoTokenizer

    folders = {source.name: str(source.checkpoint.folder) for source in study.sources(*study.setting.targets)}
    rows = [{"query": each.query, "pos": list(each.pos), "neg": list(each.neg)} for each in examples]
    random.seed(0)
    weights = reference.compute_weights(
        AutoModel.from_pretrained(folders["base"]).eval(),
        AutoTokenizer.from_pretrained(folders["base"]),
        [AutoModel.from_pretrained(folder).state_dict() for folder in folders.values()],
        "encoder",
        rows,
        temperature=TEMPERATURE,
        max_input_length=study.setting.tuning.max_seq_length,
    )
    return {name: round(float(weight), 6) for name, weight in zip(folders, weights, strict=True)}


def read_choices(study: Study) -> list[dict[str, Any]]:
    """The cells that are there for every target: target, row, number of examples, seed and weights."""
    found = []
    for row, number, seed in cells(study):
        paths = {name: choice_file(study, name, row, number, seed) for name in study.setting.targets}
        if not all(path.exists() for path in paths.values()):
            continue
        for target, path in paths.items():
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append({"target": target, "row": row, "examples": number, "seed": seed, **content})
    return found


def key_of(choice: dict[str, Any]) -> str:
    """A file name for a choice's mixture."""
    counting = "-".join(f"{name}{weight:g}" for name, weight in choice["weights"].items() if weight)
    return counting if choice["method"] == "linear" else f"{choice['method']}-{counting}"
