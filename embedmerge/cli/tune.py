"""`embedmerge tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmerge.cli.options import DataDir, Json
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.tuning.tuned import Tuned


def command(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Folder or hub id of the model to start from.")],
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="BEIR FOLDER[:train], or JSONL with query, pos and neg."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the tuned model; with --resilient, of the run.")
    ],
    resilient: Annotated[
        bool,
        typer.Option("--resilient", help="Then weigh and merge with the base, check both sides, report."),
    ] = False,
    average: Annotated[
        bool, typer.Option("--average", help="Keep models along the way, as experts to weigh.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Optimiser steps; by --epochs if not given.")
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the rows.")] = None,
    most_steps: Annotated[
        int | None, typer.Option("--most-steps", help="Steps at most, by --epochs.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Rows per step.")] = None,
    mini_batch_size: Annotated[
        int | None,
        typer.Option("--mini-batch-size", help="Texts at a time; fewer take less memory, same gradients."),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Peak rate.")] = None,
    max_seq_length: Annotated[
        int | None, typer.Option("--max-seq-length", help="Tokens per text while tuning.")
    ] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Divides similarities.")] = None,
    negatives: Annotated[int | None, typer.Option("--negatives", help="Hard negatives of each row.")] = None,
    mine: Annotated[
        bool | None, typer.Option("--mine/--no-mine", help="Whether what the data lack is mined.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="False-negative margin, a share of the positive's score.")
    ] = None,
    matryoshka: Annotated[
        str | None, typer.Option("--matryoshka", help="Lengths to be good at too, such as 384,256,128.")
    ] = None,
    lora: Annotated[
        int | None, typer.Option("--lora", help="Rank of a LoRA adapter in place of all.")
    ] = None,
    lora_alpha: Annotated[
        float | None, typer.Option("--lora-alpha", help="Twice the rank if not given.")
    ] = None,
    keep_adapter: Annotated[
        bool, typer.Option("--keep-adapter", help="Keep the adapter beside the merged model.")
    ] = False,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Of training: fp32, bf16 or auto (default).")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option("--held-out", help="Share of the queries to stop by; 0 for none.")
    ] = None,
    examples: Annotated[
        float | None, typer.Option("--examples", help="Share kept from tuning to choose weights on.")
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", help="Looks at the held-out part.")
    ] = None,
    patience: Annotated[int | None, typer.Option("--patience", help="Looks without a better one.")] = None,
    stop_by: Annotated[str | None, typer.Option("--stop-by", help="ndcg_at_10 or loss.")] = None,
    leakage: Annotated[
        str | None, typer.Option("--leakage", help="Of test queries in the data: refuse, drop or allow.")
    ] = None,
    test: Annotated[
        list[str], typer.Option("--test", help="Collection[:SPLIT] that must not be trained on; repeat.")
    ] = [],
    target: Annotated[
        list[str], typer.Option("--target", help="resilient: task of the target; DATA's test by default.")
    ] = [],
    general: Annotated[
        list[str], typer.Option("--general", help="resilient: task that stands for the rest; repeat.")
    ] = [],
    suite: Annotated[str | None, typer.Option("--suite", help="resilient: suite of further tasks.")] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="resilient: front, greedy or frank_wolfe.")
    ] = "front",
    method: Annotated[
        str, typer.Option("--method", help="resilient: merging method, such as iso_linear.")
    ] = "linear",
    guard: Annotated[
        str | None, typer.Option("--guard", help="resilient: text to keep the ranking of.")
    ] = None,
    guard_task: Annotated[
        list[str], typer.Option("--guard-task", help="resilient: FOLDER:SPLIT to keep nDCG@10 on; repeat.")
    ] = [],
    check_precision: Annotated[
        str,
        typer.Option("--check-precision", help="resilient: fp32, bf16 or auto, of weighing and checking."),
    ] = "fp32",
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every draw.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on one domain: hard negatives, early stopping, seeded to the bit.

    Run it again after an interruption and it goes on where it stopped.
    """
    from embedmerge.cli.console import Screen, print_json
    from embedmerge.tuning.settings import Preparation, Tuning

    training = {
        "steps": steps,
        "epochs": epochs,
        "most_steps": most_steps,
        "batch_size": batch_size,
        "mini_batch_size": mini_batch_size,
        "learning_rate": learning_rate,
        "max_seq_length": max_seq_length,
        "temperature": temperature,
        "matryoshka": _lengths(matryoshka) if matryoshka else None,
        "lora": lora,
        "lora_alpha": lora_alpha,
        "gradient_checkpointing": gradient_checkpointing,
        "precision": precision,
        "evaluations": evaluations,
        "patience": patience,
        "stop_by": stop_by,
    }
    rows = {
        "negatives": negatives,
        "mine": mine,
        "margin": margin,
        "held_out": held_out,
        "examples": examples,
        "leakage": leakage,
    }
    with Screen(quiet=as_json) as screen:
        screen.stage("loading libraries")
        from embedmerge.api import tune
        from embedmerge.tuning.resilient import Checks

        guards = {key: value for key, value in (("text", guard), ("tasks", guard_task)) if value}
        checks = Checks(
            tuple(target), tuple(general), suite, strategy, guards, method, check_precision, data_dir
        )
        tuned = tune(
            base,
            data,
            output,
            Tuning(seed=seed, **_stated(training)),
            Preparation(seed=seed, **_stated(rows)),
            average=average,
            keep_adapter=keep_adapter,
            tests=test,
            resilient=checks if resilient else None,
            fresh=fresh,
            watcher=screen,
        )
    if as_json:
        print_json(tuned.facts)
        return
    _print(tuned)


def _stated(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _lengths(given: str) -> tuple[int, ...]:
    try:
        return tuple(int(length) for length in given.split(","))
    except ValueError as error:
        msg = f"--matryoshka {given}: must be whole numbers with commas between, such as 384,256,128"
        raise EmbedmergeError(msg) from error


def _print(tuned: Tuned) -> None:
    """The model and what was gained on standard output, what was left out on standard error."""
    for note in tuned.notes:
        typer.echo(f"note: {note}", err=True)
    for test, number in tuned.record.counts["leaked"].items():
        typer.echo(f"note: {number} training queries are asked in {test} too", err=True)
    if tuned.report is not None:
        from rich.console import Console

        from embedmerge.report.terminal import print_report

        print_report(tuned.report, Console())
        typer.echo("")
    record, counts = tuned.record, tuned.record.counts
    sources = ", ".join(f"{number} {how}" for how, number in counts["negatives"].items() if number)
    typer.echo(
        f"tuned   {tuned.folder}: {counts['training queries']} queries, {counts['pairs']} pairs"
        + (f", negatives: {sources}" if sources else "")
    )
    if record.gained is None:
        typer.echo(f"        {record.steps} steps, nothing held out")
    else:
        by_step = {look["step"]: look["ndcg_at_10"] for look in record.held_out}
        typer.echo(
            f"        {record.step} of {record.steps} steps: nDCG@10 {by_step[0]:.2f} -> "
            f"{by_step[record.step]:.2f} on {counts['held-out queries']} held-out queries"
        )
    if tuned.run is not None:
        typer.echo(f"model   {tuned.run / 'model'}\nreport  {tuned.run / 'report.html'}")
