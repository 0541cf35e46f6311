"""Gram matrices of what goes into an encoder's Linears on unlabelled text."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.statistics.gathered import Gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from embedmerge.statistics.gathered import Names
    from embedmerge.statistics.stack import Stack
    from embedmerge.statistics.text import Text

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

# Gram matrices added up in one pass over the texts; what does not fit waits for the next pass.
HELD_BYTES = 1 << 29
BATCH = 8


def gram_matrices(
    stack: Stack, texts: Sequence[Text], progress: Callable[[int, int], None] | None = None
) -> Gathered:
    """`G = XᵀX / rows` of every Linear, X holding its input at every token of every text, padding left out.

    The statistics of RegMean (arXiv 2212.09849, section 3). Linears with one and the same input, such
    as query, key and value, share their matrix. Products and sums are in float64. What is held at a
    time is bounded: the texts are read as often as that takes.

    Args:
        stack: The source's modules.
        texts: At least one.
        progress: Called with texts read and texts to read in all passes.

    Returns:
        One array of shape (inputs, inputs) for each group of Linears.
    """
    groups = shared_inputs(stack, texts[:1])
    widths = {names: stack.linears[names[0]].in_features for names in groups}
    passes = _within(widths, HELD_BYTES)

    def count(number: int, done: int) -> None:
        if progress:
            progress(number * len(texts) + done, len(passes) * len(texts))

    def arrays() -> Iterator[Float32]:
        for number, held in enumerate(passes):
            yield from _pass(stack, texts, held, partial(count, number))

    return Gathered({names: (width, width) for names, width in widths.items()}, arrays())


def shared_inputs(stack: Stack, texts: Sequence[Text]) -> list[Names]:
    """The Linears that texts go through, those together that get the very same tensors at every call."""
    inputs: dict[str, list[Any]] = {name: [] for name in stack.linears}
    with _listening(stack, {name: calls.append for name, calls in inputs.items()}):
        stack.vectors(stack.features(texts))
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, calls in inputs.items():  # the tensors are still held, so no two have one identity
        if calls:
            groups.setdefault(tuple(map(id, calls)), []).append(name)
    return [tuple(names) for names in groups.values()]


def _pass(
    stack: Stack, texts: Sequence[Text], held: Sequence[Names], count: Callable[[int], None]
) -> Iterator[Float32]:
    """Read all texts once and give the matrices of some groups."""
    sums = {names[0]: _Sum(stack.linears[names[0]].in_features) for names in held}
    done = 0
    for batch in stack.batches(texts, BATCH):
        features = stack.features(batch)
        mask = features["attention_mask"].bool().clone()  # pooling may change the other
        with _listening(stack, {name: partial(total.add, mask) for name, total in sums.items()}):
            stack.vectors(features)
        done += len(batch)
        count(done)
    while sums:
        yield sums.pop(next(iter(sums))).mean


def _within(widths: dict[Names, int], held_bytes: int) -> list[list[Names]]:
    """Groups cut into passes, one matrix at least in each."""
    passes: list[list[Names]] = []
    free = 0
    for names, width in widths.items():
        needed = 8 * width**2
        if needed > free or not passes:
            passes.append([])
            free = held_bytes
        passes[-1].append(names)
        free -= needed
    return passes


@contextmanager
def _listening(stack: Stack, listeners: Mapping[str, Callable[[Any], None]]) -> Iterator[None]:
    """Tell what goes into some Linears, without gradients."""
    import torch

    def tell(listener: Callable[[Any], None], _: Any, arguments: tuple[Any, ...]) -> None:
        listener(arguments[0])

    handles = [
        stack.linears[name].register_forward_pre_hook(partial(tell, listener))
        for name, listener in listeners.items()
    ]
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Sum:
    """`XᵀX` and the number of rows of X."""

    def __init__(self, width: int) -> None:
        self._total: Float64 = np.zeros((width, width))
        self._rows = 0

    def add(self, mask: Any, given: Any) -> None:
        """Add the rows of real tokens; an input that has no row for each token is added whole."""
        by_token = given.shape[:-1] in (mask.shape, (mask.numel(),))
        rows = given.reshape(-1, given.shape[-1])
        if by_token:
            rows = rows[mask.reshape(-1)]
        exact = rows.double().cpu().numpy()
        self._total += exact.T @ exact
        self._rows += len(exact)

    @property
    def mean(self) -> Float32:
        return (self._total / max(self._rows, 1)).astype(np.float32)
