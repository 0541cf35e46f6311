"""The gate: may these sources be merged?

Errors are what would make nonsense, warnings what the user should know. The first source is the
donor: its module files, tokenizer and tensor order go into the merged model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from embedmerge.checkpoint.adapter import AdaptedCheckpoint
from embedmerge.checkpoint.architecture import (
    MEANINGS,
    NUANCES,
    SIZES,
    first_stated,
    rope_bases,
    rope_scaling,
)
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.checkpoint.tensors import is_finite
from embedmerge.checkpoint.vocabulary import normaliser, special_tokens, vocabulary
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.checkpoint.reading import TensorLocation

Level = Literal["error", "warning"]

# Read by no pooling mode or computed anew, and written or left out by different versions of transformers.
EXPENDABLE = re.compile(
    r"(.*\.)?(pooler\.dense\.(weight|bias)|embeddings\.(position|token_type)_ids|rotary_emb\.inv_freq)"
)
SLICE = 1 << 21
# In every config there is; of other values an older one may leave out the architecture's own.
ALWAYS_STATED = frozenset(
    {"layers", "hidden size", "attention heads", "feed-forward size", "vocabulary size"}
)
# What one states and the other does not is a difference all the same.
ONE_SIDED = frozenset({"Matryoshka dimensions"})


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
    return errors_first(findings)


def errors_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings in their order, but warnings behind errors."""
    return tuple(sorted(findings, key=lambda finding: finding.level != "error"))


def require_mergeable(sources: Sequence[Checkpoint]) -> tuple[Finding, ...]:
    """The warnings of `check`.

    Raises:
        EmbedmergeError: There are errors; the message is the first, and says how many more.
    """
    return refuse_errors(check(sources))


def refuse_errors(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings, all of them warnings.

    Raises:
        EmbedmergeError: There are errors; the message is the first, and says how many more.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more: embedmerge inspect lists them)" if len(errors) > 1 else ""
        raise EmbedmergeError(f"{errors[0]}{more}")
    return tuple(findings)


def require_finite(source: Checkpoint) -> None:
    """Read every floating tensor once and refuse NaN and infinity.

    Raises:
        EmbedmergeError: Names the first tensor that holds one.
    """
    with TensorReader() as reader:
        for location in source.located():
            if location.info.is_floating and not _is_finite(reader, location):
                raise not_finite(source.name, location.info.name)


def not_finite(source: str, tensor: str) -> EmbedmergeError:
    """The error for NaN or infinity in a source's tensor."""
    return EmbedmergeError(
        f"{source}: tensor {tensor!r} holds NaN or infinity; its training went wrong, use another"
    )


def is_expendable(name: str) -> bool:
    """Whether a tensor may be present in one source and absent in another."""
    return EXPENDABLE.fullmatch(name) is not None


def _is_finite(reader: TensorReader, location: TensorLocation) -> bool:
    elements = location.info.elements
    slices = (
        reader.read_float32(location, at, min(at + SLICE, elements)) for at in range(0, elements, SLICE)
    )
    return all(is_finite(part) for part in slices)


def _donor_findings(donor: Checkpoint) -> Iterator[Finding]:
    if donor.pooling is None:
        text = (
            f"a plain {donor.layout} folder does not say how its tokens are pooled; state it: --pooling cls "
            "on the command line, or `pooling: cls` beside the base's path in the recipe"
        )
        yield Finding("error", donor.name, text)
    if donor.custom_code:
        text = "comes with code of its own, which is copied and not run; to encode with it, trust it"
        yield Finding("warning", donor.name, text)
        yield from _missing_code(donor)
    yield from _heads_left_out(donor)


def _missing_code(donor: Checkpoint) -> Iterator[Finding]:
    """Code that config.json names and that is in no other repository (`owner/name--module.Class`)."""
    mapped = donor.config["auto_map"]
    places = (
        [place for place in mapped.values() if isinstance(place, str)] if isinstance(mapped, dict) else []
    )
    for module in sorted({place.partition(".")[0] for place in places if "--" not in place}):
        if not (donor.folder / donor.transformer.path / f"{module}.py").is_file():
            text = f"its config.json names {module}.py, which is not there; the merged model cannot be loaded"
            yield Finding("warning", donor.name, text)


def _heads_left_out(source: Checkpoint) -> Iterator[Finding]:
    if source.left_out:
        shown = ", ".join(source.left_out[:3]) + (", ..." if len(source.left_out) > 3 else "")
        count = len(source.left_out)
        text = f"{count} tensor{'s' * (count > 1)} of a task head left out, the encoder needs none: {shown}"
        yield Finding("warning", source.name, text)


def _architecture(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    yield from _heads_left_out(other)
    if donor.architecture != other.architecture:
        yield _of_another_base(donor, other, "architecture", donor.architecture, other.architecture)
    for what, keys in SIZES.items():
        wanted, found = (first_stated(source.config, keys) for source in (donor, other))
        if what == "positions" and not _learns_positions(donor):
            continue  # rotary or relative: compared among the settings
        if wanted != found and (what in ALWAYS_STATED or None not in (wanted, found)):
            yield _of_another_base(donor, other, what, wanted, found)


def _of_another_base(
    donor: Checkpoint, other: Checkpoint, what: str, wanted: object, found: object
) -> Finding:
    text = f"{what} {found}, {donor.name} has {wanted}; only models tuned from one base can be merged"
    return Finding("error", other.name, text)


def _learns_positions(source: Checkpoint) -> bool:
    encoder = source.tensors[source.transformer.path]
    return any(name.endswith("position_embeddings.weight") for name in encoder)


def _computation(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    """Settings under which the same weights compute something else."""
    configs = donor.config, other.config
    rows = [(what, *(first_stated(config, keys) for config in configs)) for what, keys in MEANINGS.items()]
    bases = [rope_bases(config) for config in configs]
    rows += [("rotary base", bases[0][kind], bases[1][kind]) for kind in bases[0].keys() & bases[1].keys()]
    for what, wanted, found in rows:
        if wanted == found or None in (wanted, found):
            continue
        if what == "activation" and all(str(name).startswith("gelu") for name in (wanted, found)):
            yield _of_the_donor(donor, other, what, wanted, found)
            continue
        text = (
            f"{what} {found}, {donor.name} has {wanted}; under one of them the other's weights mean nothing"
        )
        yield Finding("error", other.name, text)
    scaling = rope_scaling(donor.config), rope_scaling(other.config)
    if scaling[0] != scaling[1]:
        yield _of_the_donor(donor, other, "rotary scaling", *scaling)


def _of_the_donor(donor: Checkpoint, other: Checkpoint, what: str, wanted: object, found: object) -> Finding:
    text = f"{what} {_shown(found)}; the merged model takes {_shown(wanted)} from {donor.name}"
    return Finding("warning", other.name, text)


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
        text = (
            f"a plain {other.layout} folder does not say how it pools; taken to pool like {donor.name}, "
            f"and encoded with {donor.name}'s modules, tokenizer and prompts"
        )
        yield Finding("warning", other.name, text)
        return
    rows = [
        ("pooling", donor.pooling, other.pooling),
        ("modules", *("+".join(module.kind for module in source.modules) for source in (donor, other))),
    ]
    for one, another in zip(donor.modules, other.modules, strict=False):
        if one.kind == another.kind == "Dense":
            keys = ("in_features", "out_features", "activation_function")
            rows += [(f"{one.kind} {key}", one.config.get(key), another.config.get(key)) for key in keys]
    for what, wanted, found in rows:
        if wanted != found:
            text = f"{what} {found}, {donor.name} has {wanted}; their embeddings do not mean the same"
            yield Finding("error", other.name, text)


def _settings(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    rows: list[tuple[str, Any, Any]] = [("type", donor.dtypes, other.dtypes)]
    if other.pooling is not None:
        rows += [
            ("prompts", donor.prompts, other.prompts),
            ("similarity", donor.similarity, other.similarity),
            ("maximum length", donor.max_seq_length, other.max_seq_length),
            ("prompt in pooling", _pools_prompts(donor), _pools_prompts(other)),
            ("truncated dimension", donor.settings.get("truncate_dim"), other.settings.get("truncate_dim")),
        ]
    keys_of = {**NUANCES, **({} if _learns_positions(donor) else {"positions": SIZES["positions"]})}
    for what, keys in keys_of.items():
        wanted, found = (first_stated(source.config, keys) for source in (donor, other))
        rows += [(what, wanted, found)] if None not in (wanted, found) or what in ONE_SIDED else []
    for what, wanted, found in rows:
        if wanted != found:
            yield _of_the_donor(donor, other, what, wanted, found)


def _pools_prompts(source: Checkpoint) -> bool:
    configs = [module.config for module in source.modules if module.kind == "Pooling"]
    return all(config.get("include_prompt", True) for config in configs)


def _code(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    codes = [{path.name: path.read_bytes() for path in source.code_files()} for source in (donor, other)]
    if codes[0] != codes[1]:
        yield _of_the_donor(donor, other, "other code", *(", ".join(code) for code in codes))


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else "none" if value in (None, "", {}) else str(value)


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
            elif found[name].info.is_floating != tensor.info.is_floating:
                types = found[name].info.dtype, tensor.info.dtype
                text = f"tensor {name!r} is {types[0]}, in {donor.name} it is {types[1]}; save it again"
                yield Finding("error", other.name, text)
        for name in sorted(found.keys() - wanted.keys()):
            yield _unexpected(name, other, donor)


def _heads(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    """BGE-M3's further heads: what only one side has is no reason to refuse the encoder."""
    for file in sorted(donor.heads.keys() | other.heads.keys()):
        if file not in other.heads:
            text = f"has no {file}; the merged model takes {donor.name}'s as it is"
            yield Finding("warning", other.name, text)
        elif file not in donor.heads:
            yield Finding("warning", other.name, f"{file} is left out: {donor.name} has none")
        else:
            yield from _same_shapes(file, donor, other)


def _same_shapes(file: str, donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    shapes = [
        {name: list(location.info.shape) for name, location in source.heads[file].items()}
        for source in (donor, other)
    ]
    if shapes[0] != shapes[1]:
        text = f"{file} holds {shapes[1]}, in {donor.name} it holds {shapes[0]}"
        yield Finding("error", other.name, text)


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


def _stated_base(donor: Checkpoint, other: Checkpoint) -> Iterator[Finding]:
    if not isinstance(other, AdaptedCheckpoint) or other.stated_base is None:
        return
    if _last_part(other.stated_base) != _last_part(donor.location.given):
        text = f"an adapter trained on {other.stated_base}, put on {donor.location.given}; are they the same?"
        yield Finding("warning", other.name, text)


def _last_part(path: str) -> str:
    return path.rstrip("/\\").replace("\\", "/").rpartition("/")[2].partition("@")[0]


COMPARISONS: tuple[Callable[[Checkpoint, Checkpoint], Iterator[Finding]], ...] = (
    _stated_base,
    _architecture,
    _computation,
    _vocabulary,
    _special_tokens,
    _modules,
    _settings,
    _code,
    _tensors,
    _heads,
)
