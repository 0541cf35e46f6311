"""Pre-retrieved candidates: `candidates/<split>` is a TREC run, or a table of mteb's `top_ranked` form.

Models are then compared on how they rank what another retriever found, so that only the candidates are
encoded and not the whole corpus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection.columns import candidate_rows, identifier
from embedmerge.retrieval.collection.content import Candidates
from embedmerge.retrieval.collection.rows import TABLES, first_of, lines

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

    from embedmerge.retrieval.collection.tally import Tally

RUNS = (".trec", ".trec.gz", ".run", ".run.gz", ".txt", ".txt.gz")


def candidates_file(path: Path, split: str) -> Path | None:
    """The file of a split's candidates, if there is one."""
    file = first_of(path / "candidates", split, (*RUNS, *TABLES))
    return file if file.is_file() else None


def read_candidates(path: Path) -> Iterator[Candidates]:
    """Candidates of a TREC run, one document at a time, or of a table.

    Raises:
        EmbedmergeError: The file is missing or damaged, or a line is not of that form.
    """
    return _read_run(path) if path.name.endswith(RUNS) else candidate_rows([path])


def _read_run(path: Path) -> Iterator[Candidates]:
    for where, line in lines(path):
        fields = line.split()
        if len(fields) != 6:
            raise EmbedmergeError(f"{where}: not a TREC run's six columns: query Q0 document rank score tag")
        yield Candidates(where, identifier(fields[0], where), (identifier(fields[2], where),))


def lists_of(candidates: Iterable[Candidates], queries: Container[str]) -> dict[str, list[str]]:
    """Query id -> different candidates in their order, of these queries alone."""
    found: dict[str, dict[str, None]] = {}
    for each in candidates:
        if each.query in queries:
            found.setdefault(each.query, {}).update(dict.fromkeys(each.documents))
    return {query: list(documents) for query, documents in found.items()}


def known_candidates(
    lists: dict[str, list[str]], queries: Iterable[str], known: Container[str], tally: Tally
) -> dict[str, list[str]]:
    """The lists of all queries with documents of the corpus alone; what is missing is counted."""
    kept = {query: [each for each in lists.get(query, []) if each in known] for query in queries}
    unknown = sum(map(len, lists.values())) - sum(map(len, kept.values()))
    if unknown:
        tally.count("candidates are not in the corpus; left out", unknown)
    if empty := sum(not documents for documents in kept.values()):
        tally.count("queries have no candidates; they score 0", empty)
    return kept
