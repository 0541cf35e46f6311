"""The gate: may these sources be merged?

Errors are what would make nonsense, warnings what the user should know. The first source is the
donor: its module files, tokenizer and tensor order go into the merged model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from embedmerge.checkpoint.reading import TensorReader
from embedmerge.checkpoint.vocabulary import normaliser, special_tokens, vocabulary
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.checkpoint.reading import TensorLocation

Level = Literal["error", "warning"]

# Read by no pooling mode, and written or left out by different versions of transformers.
EXPENDABLE = ("pooler.dense.", "embeddings.position_ids")
SLICE = 1 << 21


@dataclass(frozen=True)
class Finding:
    """One thing the gate has seen.

    Attributes:
        level: `error` where merging would make nonsense, else `warning`.
        source: Name of the source it is about.
        text: What was found and what to do.
    """

    level: Level
    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


def check(sources: Sequence[Checkpoint]) -> tuple[Finding, ...]:
    """Compare every source with the first one.

    Returns:
        All findings, errors first; of each source only the checks that could still be made.
    """
    donor, *others = sources
    findings = [*_donor_findings(donor)]
    for other in others:
        for compare in COMPARISONS:
            found = list(compare(donor, other))
            findings.extend(found)
            if any(finding.level == "error" for finding in found):
                break  # a model of another depth need not be told its tensors are missing too
    return tuple(sorted(findings, key=lambda finding: finding.level != "error"))


def require_mergeable(sources: Sequence[Checkpoint]) -> tuple[Finding, ...]:
    """The warnings of `check`.

    Raises:
        EmbedmergeError: There are errors; the message is the first, and says how many more.
    """
    findings = check(sources)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more: embedmerge inspect lists them)" if len(errors) > 1 else ""
        raise EmbedmergeError(f"{errors[0]}{more}")
    return findings


def require_finite(source: Checkpoint) -> None:
    """Read every floating tensor once and refuse NaN and infinity.

    Raises:
        EmbedmergeError: Names the first tensor that holds one.
    """
    with TensorReader() as reader:
        for module in source.tensors.values():
            for location in module.values():
                if location.info.is_floating and not _is_finite(reader, location):
                    raise not_finite(source.name, location.info.name)


def not_finite(source: str, tensor: str) -> EmbedmergeError:
    """The error for NaN or infinity in a source's tensor."""
    return EmbedmergeError(
        f"{source}: tensor {tensor!r} holds NaN or infinity; its training went wrong, use another"
    )


def is_expendable(name: str) -> bool:
    """Whether a tensor may be present in one source and absent in another."""
    return any(part in name for part in EXPENDABLE)


def _is_finite(reader: TensorReader, location: TensorLocation) -> bool:
    elements = location.info.elements
    slices = (
        reader.read_float32(location, at, min(at + SLICE, elements)) for at in range(0, elements, SLICE)
    )
    return all(bool(np.isfinite(part).all()) for part in slices)


def _donor_findings(donor: Checkpoint) -> Iterator[Finding]:
    if donor.pooling is None:
        text = (
            f"a plain {donor.layout} folder does not say how its tokens are pooled; "
            "save it with sentence-transformers (SentenceTransformer(modules=[...]).save) and name that"
        )
        yield Finding("error", donor.name, text)
    for head in ("colbert_linear.pt", "sparse_linear.pt"):
        if (donor.folder / head).is_file():
            yield Finding("warning", donor.name, f"{head} is not merged and not exported; the dense model is")


def _architecture(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    rows = (
        ("architecture", donor.architecture, other.architecture),
        ("layers", donor.depth, other.depth),
        ("hidden size", donor.width, other.width),
        ("attention heads", *(source.config.get("num_attention_heads") for source in (donor, other))),
        ("feed-forward size", *(source.config.get("intermediate_size") for source in (donor, other))),
        ("vocabulary size", *(source.config.get("vocab_size") for source in (donor, other))),
    )
    for what, wanted, found in rows:
        if wanted != found:
            text = f"{what} {found}, {donor.name} has {wanted}; only models tuned from one base can be merged"
            yield Finding("error", other.name, text)


def _vocabulary(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    wanted, found = vocabulary(donor), vocabulary(other)
    if wanted is None or found is None:
        silent = donor.name if wanted is None else other.name
        yield Finding(
            "warning", other.name, f"vocabulary not compared: {silent} has no tokenizer.json or vocab.txt"
        )
        return
    different = [row for row in sorted(wanted.keys() | found.keys()) if wanted.get(row) != found.get(row)]
    if different:
        row = different[0]
        text = (
            f"another vocabulary: row {row} is {found.get(row)!r}, in {donor.name} it is {wanted.get(row)!r} "
            f"({len(different)} rows differ); averaging would mix the vectors of different words"
        )
        yield Finding("error", other.name, text)


def _special_tokens(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    wanted, found = special_tokens(donor), special_tokens(other)
    for role in sorted(wanted.keys() & found.keys()):
        if wanted[role] != found[role]:
            text = f"{role} is {found[role]!r}, in {donor.name} it is {wanted[role]!r}"
            yield Finding("error", other.name, text)
    ids = other.config.get("pad_token_id"), donor.config.get("pad_token_id")
    if None not in ids and ids[0] != ids[1]:  # left out, it is the architecture's
        yield Finding("error", other.name, f"pad_token_id {ids[0]}, {donor.name} has {ids[1]}")
    if normaliser(donor) != normaliser(other) and None not in (normaliser(donor), normaliser(other)):
        yield Finding(
            "warning", other.name, f"its tokenizer normalises text otherwise than {donor.name}'s does"
        )


def _modules(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    if other.pooling is None:
        text = f"a plain {other.layout} folder does not say how it pools; taken to pool like {donor.name}"
        yield Finding("warning", other.name, text)
        return
    rows = (
        ("pooling", donor.pooling, other.pooling),
        ("modules", *("+".join(module.kind for module in source.modules) for source in (donor, other))),
    )
    for what, wanted, found in rows:
        if wanted != found:
            text = f"{what} {found}, {donor.name} has {wanted}; their embeddings do not mean the same"
            yield Finding("error", other.name, text)


def _settings(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    rows = (
        ("prompts", donor.prompts, other.prompts),
        ("similarity", donor.similarity, other.similarity),
        ("maximum length", donor.max_seq_length, other.max_seq_length),
        ("type", donor.dtypes, other.dtypes),
    )
    for what, wanted, found in rows:
        if wanted != found:
            text = f"{what} {_shown(found)}; the merged model takes {_shown(wanted)} from {donor.name}"
            yield Finding("warning", other.name, text)


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value or "none")


def _tensors(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    for place in range(len(donor.modules)):
        wanted, found = donor.tensors_of(place), other.tensors_of(place)
        for name, tensor in wanted.items():
            if name not in found:
                yield _absent(name, other, donor)
            elif found[name].info.shape != tensor.info.shape:
                shapes = list(found[name].info.shape), list(tensor.info.shape)
                text = f"tensor {name!r} is {shapes[0]}, in {donor.name} it is {shapes[1]}"
                yield Finding("error", other.name, text)
        for name in sorted(found.keys() - wanted.keys()):
            yield _unexpected(name, other, donor)


def _absent(name: str, other: Checkpoint, donor: Checkpoint) -> Finding:
    if is_expendable(name):
        return Finding("warning", other.name, f"has no tensor {name!r}; taken from {donor.name} alone")
    text = f"has no tensor {name!r}, which {donor.name} has; was it saved by another class?"
    return Finding("error", other.name, text)


def _unexpected(name: str, other: Checkpoint, donor: Checkpoint) -> Finding:
    if is_expendable(name):
        return Finding("warning", other.name, f"tensor {name!r} is left out: {donor.name} has none")
    text = f"has a tensor {name!r} that {donor.name} has not; was it saved by another class?"
    return Finding("error", other.name, text)


COMPARISONS: tuple[Callable[[Checkpoint, Checkpoint], Iterator[Finding]], ...] = (
    _architecture,
    _vocabulary,
    _special_tokens,
    _modules,
    _settings,
    _tensors,
)
