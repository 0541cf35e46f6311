"""Texts of a task's queries and documents by their ids, read from its data when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedmerge.retrieval.collection.content import document_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class TaskTexts:
    """What a task's ids stand for.

    Attributes:
        queries: Query id -> text; where a task has several languages, ids begin with one, as in `de/q1`.
        documents: Document id -> title and text joined as mteb joins them.
        relevant: Query id -> document id -> grade.
    """

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, mteb_task: Any, split: str) -> TaskTexts:
        """The texts of one split; loads the task's data where it is not loaded."""
        if not mteb_task.data_loaded:
            mteb_task.load_data()
        mteb_task.convert_v1_dataset_format_to_v2(num_proc=None)
        subsets = list(mteb_task.hf_subsets)
        tables = {subset: mteb_task.dataset[subset][split] for subset in subsets}
        prefixes = {subset: f"{subset}/" if len(subsets) > 1 else "" for subset in subsets}
        return cls(
            _Texts({prefixes[subset]: tables[subset]["queries"] for subset in subsets}, _query_text),
            _Texts({prefixes[subset]: tables[subset]["corpus"] for subset in subsets}, _document_text),
            {
                f"{prefix}{query}": {f"{prefix}{document}": grade for document, grade in grades.items()}
                for subset, prefix in prefixes.items()
                for query, grades in tables[subset]["relevant_docs"].items()
            },
        )


class _Texts(Mapping[str, str]):
    """Id -> text over Arrow tables, which are not copied."""

    def __init__(self, tables: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> None:
        self._tables = tables
        self._text = text

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        return {
            f"{prefix}{identity}": (prefix, row)
            for prefix, table in self._tables.items()
            for row, identity in enumerate(table["id"])
        }

    def __getitem__(self, identity: str) -> str:
        prefix, row = self._places[identity]
        return self._text(self._tables[prefix][row])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _document_text(row: dict[str, Any]) -> str:
    return document_text(row.get("title") or "", row["text"] or "")


def _query_text(row: dict[str, Any]) -> str:
    text = row["text"]
    if isinstance(text, list):  # a conversation, of texts or of turns with a role
        text = "; ".join(
            turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in text
        )
    return f"{text} {row.get('instruction') or ''}".strip()
