"""The merged model's card, as the Hugging Face hub reads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from huggingface_hub import EvalResult, ModelCardData

from embedmerge.report import choosing, redaction, wording
from embedmerge.report.templating import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

    from embedmerge.evaluation.hub_datasets import HubDataset
    from embedmerge.report.document import Report

# As mteb describes retrieval in the results that it gives to the hub.
TASK_TYPE, TASK_NAME, SOURCE = "text-retrieval", "Retrieval", "https://github.com/embeddings-benchmark/mteb"
TAGS = ("sentence-transformers", "feature-extraction", "embedmerge", "merge", "dense")
Datasets: TypeAlias = "Mapping[tuple[str, str], HubDataset]"
_SPECIAL = re.compile(r"([\\`*\[\]|])|(?<!\w)_|_(?!\w)")


def _markdown(text: str) -> str:
    """Return text that Markdown and HTML show as it is, in a table cell too."""
    safe = wording.one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _SPECIAL.sub(lambda found: "\\" + found.group(0), safe)
    # At the start of a line these make a heading, a list or a quotation.
    return re.sub(r"^([#+-]|\d+(?=[.)]))", r"\\\1", safe)


def _fenced(text: str, language: str) -> str:
    """Return a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _licences(report: Report) -> dict[str, str]:
    return {source.name: source.license.strip() for source in report.sources if source.license}


def _licence(report: Report) -> str | None:
    """Return the licence that all sources which state one agree on."""
    stated = {licence.lower() for licence in _licences(report).values()}
    return stated.pop() if len(stated) == 1 else None


def _eval_results(report: Report, datasets: Datasets) -> list[EvalResult]:
    comparison = report.comparison
    if comparison is None or comparison.merged is None:
        return []
    results = []
    for task in comparison.tasks:
        cell = task.cells.get(comparison.merged)
        if cell is None:
            continue
        for metric, label, value in (
            ("ndcg_at_10", "nDCG@10", cell.ndcg_at_10),
            ("recall_at_100", "recall@100", cell.recall_at_100),
        ):
            results.append(
                EvalResult(
                    task_type=TASK_TYPE,
                    task_name=TASK_NAME,
                    dataset_name=wording.one_line(task.task),
                    dataset_split=wording.one_line(task.split),
                    metric_type=metric,
                    metric_name=label,
                    metric_value=round(value, 3),
                    **_dataset(task.task, datasets.get((task.task, task.split))),
                )
            )
    return results


def _dataset(task: str, dataset: HubDataset | None) -> dict[str, Any]:
    """What a result says of its data; of data that are not on the hub, the task's name alone."""
    if dataset is None:
        return {"dataset_type": wording.one_line(task)}
    return {
        "dataset_type": dataset.path,
        "dataset_config": dataset.subset,
        "dataset_revision": dataset.revision,
        "source_name": "MTEB",
        "source_url": SOURCE,
    }


def _metadata(report: Report, datasets: Datasets) -> str:
    hub_ids = list(dict.fromkeys(filter(None, map(redaction.hub_id, report.sources))))
    results = _eval_results(report, datasets)
    extra: dict[str, Any] = {"base_model_relation": "merge"} if hub_ids else {}
    if results:
        extra |= {"model_name": wording.one_line(report.title), "eval_results": results}
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=list(TAGS),
        base_model=hub_ids or None,
        license=_licence(report),
        **extra,
    )
    return str(data.to_yaml()).strip()


def _environment(report: Report) -> Environment:
    made = environment(autoescape=False)
    made.filters["md"] = _markdown
    made.filters["prose"] = lambda text: _markdown(redaction.hide_paths(text, report))
    made.filters["fenced"] = _fenced
    made.filters["literal"] = repr
    return made


def render_card(
    report: Report,
    recipe_yaml: str,
    prompts: Mapping[str, str] | None = None,
    datasets: Datasets | None = None,
) -> str:
    """Return the model card: YAML metadata, then Markdown.

    No path of a machine appears in it: sources are named by hub id or by name and sha256, and local paths in
    the recipe and the notes are replaced.

    Args:
        report: The report.
        recipe_yaml: The recipe that made the model.
        prompts: The model's prompts by name; None where nothing is known of them.
        datasets: Data sets of those tasks that come from the hub, by task name and split.

    Returns:
        What the merged folder's `README.md` holds.
    """
    licences = _licences(report)
    return (
        _environment(report)
        .get_template("model_card.md.j2")
        .render(
            report=report,
            comparison=report.comparison,
            choosing=choosing,
            metadata=_metadata(report, datasets or {}),
            prompts=prompts,
            hub_ids={source.name: redaction.hub_id(source) for source in report.sources},
            licences=licences,
            unlicensed=[source.name for source in report.sources if source.name not in licences],
            licence=_licence(report),
            recipe=redaction.hide_paths_in_yaml(recipe_yaml, report),
        )
    )
