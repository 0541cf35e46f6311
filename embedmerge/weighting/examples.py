"""The few rows of the target domain that weights are chosen on."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection
from embedmerge.retrieval.collection.flag_embedding import passages_of, query_of
from embedmerge.retrieval.collection.rows import rows
from embedmerge.retrieval.collection.splits import is_test
from embedmerge.sampling import drawn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Example:
    """A row of a FlagEmbedding JSONL file.

    Attributes:
        query: The query.
        pos: Passages that answer it, at least one.
        neg: Passages that do not, possibly none.
    """

    query: str
    pos: tuple[str, ...]
    neg: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExampleSet:
    """Examples and what else they are to be found among.

    Attributes:
        examples: The rows.
        corpus: Passages that compete besides those of the rows; empty for a JSONL file.
    """

    examples: list[Example]
    corpus: tuple[str, ...] = ()


def read_examples(named: str, *, test_data: bool = False) -> ExampleSet:
    """Examples from a JSONL file, or from a BEIR folder with `:split`, whose whole corpus then competes.

    Args:
        named: The file or folder.
        test_data: Whether it may be a test split.

    Raises:
        EmbedmergeError: Missing or malformed, or a test split.
    """
    folder, _, split = named.rpartition(":")
    if not folder or not Path(folder).expanduser().is_dir():
        if Path(named).expanduser().is_dir():
            msg = f"{named}: a BEIR folder; name the split too, as in {named}:dev; never one you report on"
            raise EmbedmergeError(msg)
        refuse_test_split(named, Path(named).stem, allowed=test_data)
        return ExampleSet(load_examples(Path(named).expanduser()))
    refuse_test_split(named, split, allowed=test_data)
    collection = read_collection(Path(folder).expanduser(), split)
    texts = collection.texts
    examples = []
    for query in collection.queries:
        grades = collection.qrels[query["id"]]
        pos = tuple(texts[document] for document, grade in grades.items() if grade > 0)
        neg = tuple(texts[document] for document, grade in grades.items() if grade <= 0)
        examples += [Example(query["text"], pos, neg)] if pos else []
    return ExampleSet(examples, tuple(dict.fromkeys(texts.values())))


def refuse_test_split(named: str, split: str, *, allowed: bool) -> None:
    """Refuse a test split for choosing, by its name.

    Raises:
        EmbedmergeError: It is one, and is not allowed.
    """
    if not allowed and is_test(split):
        msg = (
            f"{named}: a test split, by its name; weights chosen on it would make its scores worthless. "
            "Choose on dev or train, or say --i-know-this-is-test-data"
        )
        raise EmbedmergeError(msg)


def refuse_evaluated(setting: str, queries: Iterable[str], evaluated: Mapping[str, Iterable[str]]) -> None:
    """Refuse to choose on queries that are also evaluated on.

    Args:
        setting: Where the queries come from, for the error.
        queries: What weights are chosen on.
        evaluated: Queries of each task, by the task's name.

    Raises:
        EmbedmergeError: Some are.
    """
    chosen_on = {" ".join(query.lower().split()) for query in queries}
    for name, asked in evaluated.items():
        both = chosen_on & {" ".join(query.lower().split()) for query in asked}
        if both:
            found = f"{len(both)} of its queries are evaluated on in {name}, such as {min(both)[:60]!r}"
            msg = f"{setting}: {found}; leave them out of one, or say --i-know-this-is-test-data"
            raise EmbedmergeError(msg)


def load_examples(path: Path) -> list[Example]:
    """Read FlagEmbedding rows, a JSON object with `query`, `pos` and optionally `neg` on each line.

    Raises:
        EmbedmergeError: The file is missing or empty, or a row is not an example; names the line.
    """
    if not path.exists():
        msg = f"{path}: no such examples file; give a JSONL file with query, pos and neg on each line"
        raise EmbedmergeError(msg)
    examples = [_example(row, where) for where, row in rows(path)]
    if not examples:
        msg = f"{path}: no examples in it; give at least one row with query, pos and neg"
        raise EmbedmergeError(msg)
    return examples


def _example(row: dict[str, Any], where: str) -> Example:
    query = query_of(row, where)
    if not query.strip():
        raise EmbedmergeError(f"{where}: `query` is empty; an example asks something")
    pos = passages_of(row, "pos", where)
    if not pos:
        raise EmbedmergeError(
            f"{where}: `pos` is missing or empty; it must be a list of at least one passage"
        )
    return Example(query, tuple(pos), tuple(passages_of(row, "neg", where)))


def distinct_examples(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """The different ones among the examples, in their order, a seeded draw where there are too many.

    Args:
        examples: Any number.
        most: How many at most.
        seed: Of the draw.
    """
    different = list(dict.fromkeys(examples))
    return [different[row] for row in drawn(len(different), most, seed)]


def sample_negatives(examples: Sequence[Example], number: int, seed: int) -> list[Example]:
    """The same examples with `number` of their own negatives each.

    Draws as LM_Cocktail does, `random.sample` row after row, so that seeding Python's generator
    with `seed` makes both draw the same.

    Raises:
        EmbedmergeError: A row has fewer negatives than asked.
    """
    generator = random.Random(seed)
    sampled = []
    for row, example in enumerate(examples, 1):
        if len(example.neg) < number:
            msg = f"examples: row {row} has {len(example.neg)} negatives and {number} are asked; ask fewer"
            raise EmbedmergeError(msg)
        sampled.append(Example(example.query, example.pos, tuple(generator.sample(example.neg, number))))
    return sampled


def examples_sha256(examples: Sequence[Example]) -> str:
    """Digest over the content of the examples, whatever file they came from."""
    content = json.dumps([[example.query, example.pos, example.neg] for example in examples])
    return hashlib.sha256(content.encode()).hexdigest()
