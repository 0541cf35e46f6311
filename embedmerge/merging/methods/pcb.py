"""Elements weighed by how large they are in their expert and how much the experts agree on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.spec import MethodSpec, Parameter
from embedmerge.merging.survey import Chain, KthLargest
from embedmerge.merging.trimming import magnitudes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

TAIL = 1e-4  # share of the elements at either end that is pulled in
SMALLEST = np.float32(1e-12)  # sum of balances that is divided by


def ends(elements: int) -> tuple[int, int]:
    """Ranks of the largest and the smallest magnitude that are not pulled in."""
    return elements - max(int(elements * (1 - TAIL)) - 1, 0), elements - int(elements * TAIL)


def unit(values: Float32, high: np.float32, low: np.float32) -> Float32:
    """Values between two bounds, as shares of the way from the lower to the upper one."""
    return (np.clip(values, low, high) - low) / (high - low) if high > low else np.zeros_like(values)


def balances(part: Part, bounds: Float32) -> list[Float32]:
    """`βᵢ = exp(n · norm(|τᵢ|)²) ⊙ tanh(τᵢ ⊙ Σⱼ τⱼ)`, norm being min-max over all elements.

    Args:
        part: The task vectors.
        bounds: For each expert the upper and the lower end of its magnitudes.
    """
    count = np.float32(len(part.task_vectors))
    total = sum(part.task_vectors[1:], start=part.task_vectors[0])
    return [
        np.exp(count * np.square(unit(magnitude, high, low))) * np.tanh(tau * total)
        for tau, magnitude, (high, low) in zip(part.task_vectors, magnitudes(part), bounds, strict=True)
    ]


def survey(*, density: float, **_: Any) -> Chain:
    """The ends of the magnitudes; then the largest balance, and the one that a share reaches."""

    def largest_and_last(elements: int) -> tuple[int, int]:
        return 1, elements - min(int(elements * (1 - density)), elements - 1)

    return Chain(
        KthLargest(magnitudes, ends),
        lambda bounds: KthLargest(lambda part: balances(part, bounds), largest_and_last),
        passes=4,
    )


def combine(part: Part, *, density: float, scope: str) -> Float32:
    """PCB-Merging: `Σᵢ β̂ᵢ ⊙ τᵢ / Σᵢ β̂ᵢ`, each τᵢ times its factor (arXiv 2410.02396, section 3).

    βᵢ is the product of the intra-balance (how large an element is in its expert) and the inter-balance
    (how much it goes with the sum of the experts). β̂ᵢ is min-max normalised over all elements after
    those below the share `density` were made equal to the smallest in it, so that they are 0.

    Where paper and authors' code differ the code is followed: exp and tanh stand for the paper's softmax
    over all elements, and the 0.01 % of smallest and of largest magnitudes are pulled in before use.
    """
    bounds, reached = part.facts
    kept = [
        unit(balance, high, low) for balance, (high, low) in zip(balances(part, bounds), reached, strict=True)
    ]
    weighed = [
        np.sign(tau) * np.clip(np.abs(tau), low, high) * balance
        for tau, balance, (high, low) in zip(part.task_vectors, kept, bounds, strict=True)
    ]
    total = sum(kept[1:], start=kept[0])
    merged = weighted_sum(weighed, part.factors)
    merged /= np.maximum(total, SMALLEST)
    return merged


SPEC = MethodSpec(
    name="pcb",
    combine=combine,
    summary="weigh each element by its size in its expert and by the agreement of the experts",
    citation="Du et al. 2024, arXiv 2410.02396",
    survey=survey,
    parameters={
        "density": Parameter(0.1, "share of each expert's elements that is kept", 0, 1),
        "scope": Parameter("model", "over what shares and norms are taken", choices=("model", "tensor")),
    },
)
