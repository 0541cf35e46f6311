"""Whether an index can stay, in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from embedmerge.reindexing.check import STAYING
from embedmerge.report import wording
from embedmerge.report.columns import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedmerge.reindexing import ReindexCheck

ANSWERS = {
    "stay": "The index can stay: the new model's queries lose no more than {margin} points in it.",
    "rotate": "The index can stay once it is rotated: encode {pairs} of its documents with the new model, "
    "fit the rotation, multiply all vectors by it. As it is, it may not stay.",
    "re-encode": "Encode the documents again: the index does not answer the new model's queries.",
    "unsure": "These queries do not tell: ask more of them, or allow more than {margin} points.",
}


def reindexing_table(found: ReindexCheck) -> Table:
    """One row per arrangement of models for queries and documents."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("queries by, index by", overflow="fold")
    for heading in ("nDCG@10", "vs new\nindex", "vs\ntoday", "same\nfirst 10", "same\nfirst"):
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for name, row in found.arrangements.items():
        table.add_row(
            name,
            wording.points(row.ndcg_at_10),
            difference(row.to_encoded),
            difference(row.to_today),
            f"{row.agreement.first_ten:.0f} %",
            f"{row.agreement.first:.0f} %",
        )
    return table


def reindexing_answer(found: ReindexCheck) -> str:
    """The verdict in a sentence, what it rests on, and what encoding again would take."""
    said = [ANSWERS[found.verdict].format(margin=f"{found.margin:g}", pairs=f"{found.rotation_documents:,}")]
    said += _meanwhile(found)
    part = "" if found.documents == found.documents_in_all else f" of {found.documents_in_all:,}"
    asked = wording.counted(found.queries, "query")
    said.append(f"Seen on {asked} over {found.documents:,}{part} documents.")
    if not found.judged:
        said.append("Nothing is judged here: what the new index ranks first counted as relevant.")
    if found.cpu_seconds is not None:
        said.append(
            f"Encoding all {found.documents_in_all:,} again takes about {_duration(found.cpu_seconds)} here."
        )
    return " ".join(said)


def _meanwhile(found: ReindexCheck) -> Iterator[str]:
    """What the new model does before anything is encoded again, where that is certain."""
    staying = found.arrangements.get(STAYING)
    change = staying.to_today if staying else None
    if found.judged and change is not None and change.is_real:
        better = "better" if change.points > 0 else "worse"
        yield f"In the old index it is {abs(change.points):.1f} points {better} than the old model."


def _duration(seconds: float) -> str:
    """Return CPU time in the unit that fits.

    >>> _duration(42.3), _duration(5400)
    ('42 CPU seconds', '90 CPU minutes')
    """
    if seconds < 120:
        return f"{seconds:.0f} CPU seconds"
    return f"{seconds / 60:.0f} CPU minutes" if seconds < 7200 else f"{seconds / 3600:.1f} CPU hours"
