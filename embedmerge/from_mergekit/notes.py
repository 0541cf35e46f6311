"""What a merge of ours does otherwise than mergekit, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.from_mergekit.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedmerge.from_mergekit.configuration import Configuration

ALWAYS = (
    "tokenizer, pooling, prompts and module files are the base's, byte for byte, and Dense heads are merged; "
    "mergekit writes a folder without modules",
    "integer buffers such as position_ids are the base's; mergekit wants them equal in all models",
)
NO_BASE = "tokenizer and configuration are the first model's; mergekit takes any model's, not always the same"
NO_DTYPE = "types are the base's; mergekit takes the widest of all models, tensor by tensor"
ROUNDED = "tensors are merged in float32 and rounded once to {stored}; mergekit rounds them to {dtype} before"
FORCED = "override_architecture is left out: encoders are read as they are"
TOKENIZER = "vocabularies must be equal; no embedding is moved or added"
NO_SIGN = (
    "where weighted changes cancel out exactly no sign is elected and the base stays; mergekit elects plus"
)
TRIMMED = (
    "the number of elements that a tensor keeps is rounded up, and all that equal the smallest of them stay; "
    "mergekit rounds it down and keeps some of the equals"
)
DROPPED = (
    "which elements are dropped follows from the parameter `seed`, expert and place, so that it is the same "
    "in every run; mergekit drops others, and others each time without --random-seed"
)
NO_DIRECTION = (
    "a tensor of zeros has no direction and is joined by a straight line; mergekit by a quarter circle"
)
UNUSED = "{name} does nothing in task_arithmetic, in mergekit neither; left out"
BASE_S_OWN = "{name} of the base is left out: mergekit passes over it too"
FILTERED = "filters are looked for in names without a prefix: `encoder.layer.0`, not `bert.encoder.layer.0`"


def notes_on(configuration: Configuration) -> tuple[str, ...]:
    """One line for each difference that this merge can show.

    Args:
        configuration: Read, and fit to be translated.
    """
    return (*ALWAYS, *_on_files(configuration), *_on_names(configuration), *_on_method(configuration))


def _on_files(configuration: Configuration) -> Iterator[str]:
    if configuration.base is None:
        yield NO_BASE
    if configuration.dtype not in (None, "float32"):
        stored = configuration.out_dtype or configuration.dtype
        yield ROUNDED.format(stored=stored, dtype=configuration.dtype)
    elif configuration.dtype is None and configuration.out_dtype is None:
        yield NO_DTYPE
    models = [configuration.base, *(entry.model for entry in configuration.entries)]
    if any(model is not None and model.forced for model in models):
        yield FORCED
    if configuration.tokenizer:
        yield TOKENIZER


def _on_names(configuration: Configuration) -> Iterator[str]:
    varying = ((name, value) for name, value in _parameters(configuration) if isinstance(value, list | dict))
    if any(Schedule.parse(value, name).filters for name, value in varying):
        yield FILTERED


def _on_method(configuration: Configuration) -> Iterator[str]:
    method = configuration.method
    thinned = any(name == "density" and value != 1 for name, value in _parameters(configuration))
    if method == "slerp":
        yield NO_DIRECTION
    if method in ("ties", "dare_ties"):
        yield NO_SIGN
    if method == "ties" and thinned:
        yield TRIMMED
    if method in ("dare_linear", "dare_ties") and thinned:
        yield DROPPED
    if method == "task_arithmetic":
        named = {name for name, _ in _parameters(configuration)}
        yield from (UNUSED.format(name=name) for name in ("density", "rescale") if name in named)
    if method != "linear":
        own = [entry.parameters for entry in configuration.entries if entry.model == configuration.base]
        yield from (BASE_S_OWN.format(name=name) for parameters in own for name in parameters)


def _parameters(configuration: Configuration) -> Iterator[tuple[str, Any]]:
    yield from configuration.parameters.items()
    for entry in configuration.entries:
        yield from entry.parameters.items()
