"""Diagonal Fisher information of an encoder on unlabelled text."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.retrieval.vectors import normalised
from embedmerge.statistics.gathered import Gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from embedmerge.statistics.stack import Stack
    from embedmerge.statistics.text import Text

    Float32 = NDArray[np.float32]


def diagonal_fisher(
    stack: Stack,
    texts: Sequence[Text],
    progress: Callable[[int, int], None] | None = None,
    *,
    temperature: float,
    seed: float,
) -> Gathered:
    """`F = E_x Σ_y p(y|x) (∂ log p(y|x) / ∂θ)²` (arXiv 2111.09832, section 3), one text x at a time.

    An encoder has no classes. Its answer to a text x is which of the other texts lies nearest, so
    `p(y|x) = softmax_y(cos(f(x), f(y)) / temperature)` over all other texts y. These stand still, as a
    search index does: only f(x) is differentiated. No label is needed and no batch size comes in.

    The expectation over y would take one backward pass per text y. With independent random signs ε,

        E_ε (∂/∂θ Σ_y ε_y √p(y|x) log p(y|x))² = Σ_y p(y|x) (∂ log p(y|x) / ∂θ)²,  √p held fixed,

    because the cross terms vanish: one backward pass per x, in which every y takes part. It is unbiased
    as drawing y from p is, and varies less, for a confident p draws the same y again and again.

    Args:
        stack: The source's modules.
        texts: At least two.
        progress: Called with texts done and texts in all.
        temperature: Divides the cosine.
        seed: Of the signs.

    Returns:
        One array per parameter that some text reaches, of its shape.
    """
    import torch

    embeddings = torch.from_numpy(_embedded(stack, texts)).to(stack.model.device)
    squares = _SquaredGradients(stack)
    for row, text in enumerate(texts):
        others = torch.arange(len(texts), device=embeddings.device) != row
        (vector,) = stack.vectors(stack.features([text]))
        log_p = torch.log_softmax(embeddings[others] @ vector / temperature, dim=0)
        fixed = (log_p.detach() / 2).exp() * torch.from_numpy(signs(int(seed), row, len(log_p))).to(log_p)
        (fixed * log_p).sum().backward()
        if progress:
            progress(row + 1, len(texts))
    means = {name: (total / len(texts)).cpu().numpy() for name, total in squares.totals.items()}
    return Gathered({(name,): mean.shape for name, mean in means.items()}, means.values())


def signs(seed: int, row: int, number: int) -> Float32:
    """Independent random signs for one text."""
    return np.random.default_rng([seed, row]).choice(np.array([-1, 1], np.float32), number)


def _embedded(stack: Stack, texts: Sequence[Text]) -> Float32:
    """Embeddings of all texts, each with the prompt of its kind, of shape (texts, dimension)."""
    embeddings: dict[int, Float32] = {}
    for kind in ("query", "document"):
        rows = [row for row, text in enumerate(texts) if text.kind == kind]
        contents = [texts[row].content for row in rows]
        found = stack.encoder.pooled(contents, stack.encoder.model.prompt(kind))
        embeddings.update(zip(rows, found, strict=True))
    return normalised(np.stack([embeddings[row] for row in range(len(texts))]))


class _SquaredGradients:
    """Adds up squares of gradients, each as soon as backward has it, so that one is held at a time.

    A token table gets the gradients of the rows that a text has, not of all its rows.

    Attributes:
        totals: Sums by the tensor's name, of parameters that had a gradient.
    """

    def __init__(self, stack: Stack) -> None:
        import torch

        self.totals: dict[str, Any] = {}
        for module in stack.model.modules():
            if isinstance(module, torch.nn.Embedding):
                module.sparse = True
        for name, parameter in stack.parameters.items():
            parameter.register_post_accumulate_grad_hook(partial(self._take, name))

    def _take(self, name: str, parameter: Any) -> None:
        import torch

        gradient, parameter.grad = parameter.grad, None
        if name not in self.totals:
            self.totals[name] = torch.zeros_like(parameter)
        if gradient.is_sparse:
            rows = gradient.coalesce()  # a token that occurs twice has one gradient, squared once
            self.totals[name].index_add_(0, rows.indices()[0], rows.values() ** 2)
        else:
            self.totals[name].addcmul_(gradient, gradient)
