"""`embedmerge evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import Backend, DataDir, Devices, Json, MaxLength, Precision
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.evaluation.compare import Comparison
    from embedmerge.stages import Evaluated


def command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders or hub ids.")],
    task: Annotated[
        list[str],
        typer.Option("--task", help="mteb task or benchmark, or collection; [LANGUAGE] and :split; repeat."),
    ] = [],
    target_task: Annotated[
        list[str], typer.Option("--target-task", help="A task of the target domain; repeat.")
    ] = [],
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="nano, beir-small, mteb-en-retrieval, local, or a YAML file."),
    ] = None,
    language: Annotated[
        list[str], typer.Option("--language", help="Language of tasks that name none, such as deu; repeat.")
    ] = [],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for mteb's result files and the scores of single queries."
        ),
    ] = None,
    runs: Annotated[bool, typer.Option("--runs", help="Keep TREC run files too; with -o.")] = False,
    precision: Precision = "fp32",
    max_seq_length: MaxLength = None,
    backend: Backend = "torch",
    device: Devices = [],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Score models on retrieval tasks, through mteb with its FAISS index. The first model is the base."""
    from embedmerge.api import evaluate
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.cli.options import encoding

    if not task and not target_task and suite is None:
        msg = "--task: give at least one, such as NFCorpus or path/to/scifact:test, or a --suite"
        raise EmbedmergeError(msg)
    if runs and output is None:
        raise EmbedmergeError("--runs: say where with -o FOLDER")
    with Screen(quiet=as_json) as screen:
        evaluated = evaluate(
            models,
            {"target": target_task, "general": task},
            suite=suite,
            languages=language,
            settings=encoding(precision, max_seq_length, backend, device),
            store=output,
            runs=runs,
            data_dir=data_dir,
            progress=screen.progress,
        )
    comparison = _compared(evaluated)
    if as_json:
        print_json({"models": [_row(one) for one in evaluated], "comparison": asdict(comparison)})
    else:
        _print(comparison, evaluated)


def _compared(evaluated: list[Evaluated]) -> Comparison:
    """The models side by side, the first of several being the base."""
    from embedmerge.evaluation.compare import compare
    from embedmerge.evaluation.tasks import texts_of

    scores = {name: one.scores for name, one in _named(evaluated).items()}
    base = next(iter(scores)) if len(scores) > 1 else None
    return compare(scores, base=base, texts=texts_of(evaluated[0].tasks))


def _named(evaluated: list[Evaluated]) -> dict[str, Evaluated]:
    from embedmerge.sources import distinct_names

    return dict(zip(distinct_names([one.model for one in evaluated]), evaluated, strict=True))


def _row(evaluated: Evaluated) -> dict[str, Any]:
    tasks = [
        {
            "task": scores.task,
            "split": scores.split,
            "queries": scores.queries,
            "ndcg_at_10": scores.ndcg_at_10,
            "recall_at_100": scores.recall_at_100,
            "per_query": str(file),
        }
        for scores, file in zip(evaluated.scores, evaluated.files, strict=True)
    ]
    return {
        "model": evaluated.model,
        "tasks": tasks,
        "cost": asdict(evaluated.cost),
        "precision": asdict(evaluated.precision),
    }


def _print(comparison: Comparison, evaluated: list[Evaluated]) -> None:
    from rich.console import Console

    from embedmerge.report.costs import cost_table
    from embedmerge.report.terminal import print_comparison

    console = Console()
    print_comparison(comparison, console)
    console.print()
    console.print(cost_table({name: one.cost for name, one in _named(evaluated).items()}))
