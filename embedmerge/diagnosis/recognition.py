"""Sources that must not be averaged with the base although every name and shape fits.

Averaging takes for granted that both have the same unit in the same place. That does not hold for a
model with another beginning, nor for one that was re-parametrised: it computes what the base, or an
expert of it, computes, with other weights. MergeLock does so on purpose, by invertible matrices between
query and key and between value and output; a permutation of neurons does so, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.checkpoint.compat import Finding
from embedmerge.diagnosis.blocks import block_name, in_words, sites_by_block
from embedmerge.diagnosis.factors import factor_pairs
from embedmerge.diagnosis.moments import likeness
from embedmerge.diagnosis.task_vectors import summed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from embedmerge.checkpoint.compat import Level
    from embedmerge.diagnosis.factors import FactorPair
    from embedmerge.diagnosis.moments import Moments
    from embedmerge.diagnosis.shared_weights import SharedWeights
    from embedmerge.merging.anatomy import Site

# Likenesses (docs/inspect.md has what they were set by). Other models are below 0.01; a task vector as
# long as the base's own weights leaves 0.67, one 2.8 times as long 0.2.
UNRELATED = 0.2
DOUBTFUL = 2 / 3
# Tuning moves a product as far as its factors, or farther; so does noise. Below 0.95 it begins to matter.
SAME_TENSOR = 0.98
FAR_FACTORS = 0.95
CLOSER = 4


@dataclass(frozen=True)
class Disguise:
    """Two Linears that are far from the base's while their product is close.

    Attributes:
        pair: The two.
        factors: Likeness to the base's, of the one that is more like it.
        product: Likeness of the products.
    """

    pair: FactorPair
    factors: float
    product: float


@dataclass(frozen=True)
class _Place:
    """A block or a Linear, in the base and in an expert.

    Attributes:
        name: What it is called.
        product: Inner product of the two.
        own: Squared norm of the base's.
        other: Squared norm of the expert's.
    """

    name: str
    product: float
    own: float
    other: float

    @property
    def likeness(self) -> float:
        return likeness(self.product, self.own, self.other)

    @property
    def numbers(self) -> str:
        """Cosine and length in words."""
        lengths = math.sqrt(self.own * self.other)
        cosine = self.product / lengths if lengths else 0.0
        norm = math.sqrt(self.other / self.own) if self.own else math.inf
        return f"cosine {_number(cosine)}, norm {norm:.2f} times as large"


def recognise(weights: SharedWeights, moments: Mapping[Site, Moments]) -> Iterator[Finding]:
    """Findings about experts that do not descend from the base, or were re-parametrised.

    Args:
        weights: Of the base and the experts.
        moments: Of every tensor.
    """
    base = weights.sources[0].name
    for expert, source in enumerate(weights.sources[1:]):
        disguises = list(_disguises(weights, moments, expert))
        if disguises:
            yield Finding("error", source.name, _re_parametrised(disguises, base))
        hidden = {site for each in disguises for site in each.pair.sites}
        telling = {site: own for site, own in moments.items() if site not in hidden and _tells(site, own)}
        for level, text in _descent(telling, expert, base):
            yield Finding(level, source.name, text)


def _tells(site: Site, moments: Moments) -> bool:
    """Gains of a LayerNorm lie near 1 in every model there is, and zeros have no direction."""
    return len(site.shape) > 1 and moments.gram[0, 0] > 0


def _disguises(weights: SharedWeights, moments: Mapping[Site, Moments], expert: int) -> Iterator[Disguise]:
    for pair in factor_pairs(moments):
        if all(_likeness(moments[site], expert) >= SAME_TENSOR for site in (pair.inner, pair.outer)):
            continue
        factors, product = pair.likenesses(weights, expert + 1)
        if factors < FAR_FACTORS and CLOSER * (1 - product) < 1 - factors:
            yield Disguise(pair, factors, product)


def _re_parametrised(disguises: Sequence[Disguise], base: str) -> str:
    kinds = dict.fromkeys(each.pair.factors.what for each in disguises)
    found = [_summary(what, [each for each in disguises if each.pair.factors.what == what]) for what in kinds]
    return (
        f"re-parametrised: computes (nearly) what {base} or an expert of it does, but with other weights, "
        f"so it cannot be averaged with it (likeness to {base}'s: {'; '.join(found)}); "
        "take the model as it was before"
    )


def _summary(what: str, disguises: Sequence[Disguise]) -> str:
    blocks = in_words(block_name(each.pair.inner) for each in disguises)
    factors, product = max(each.factors for each in disguises), min(each.product for each in disguises)
    return f"{what} {_number(factors)}, of their product {_number(product)}, in {blocks}"


def _descent(moments: Mapping[Site, Moments], expert: int, base: str) -> Iterator[tuple[Level, str]]:
    blocks = sites_by_block(moments)
    worst = {
        block: _least_alike(block, {site: moments[site] for site in sites}, expert)
        for block, sites in blocks.items()
    }
    unrelated = {block: place for block, place in worst.items() if place.likeness < UNRELATED}
    doubtful = {block: place for block, place in worst.items() if UNRELATED <= place.likeness < DOUBTFUL}
    if unrelated:
        whole = all(block in unrelated and place.name == block for block, place in worst.items())
        what = f"not tuned from {base}" if whole else f"in part not tuned from {base}, or re-parametrised"
        yield (
            "error",
            f"{what}: hardly anything in common with its weights in {_with_numbers(unrelated)}; "
            "merge only models tuned from one base",
        )
    if doubtful:
        yield (
            "warning",
            f"moved farther from {base} than its weights are long in {_with_numbers(doubtful)}; "
            "was it tuned from another model?",
        )


def _least_alike(block: str, moments: Mapping[Site, Moments], expert: int) -> _Place:
    """The block, or that of its Linears which is less like the base's, unless the block is unrelated."""
    whole = _Place(block, *summed(moments.values()).with_base(expert))
    if whole.likeness < UNRELATED:
        return whole
    linears = [
        _Place(site.name, *own.with_base(expert)) for site, own in moments.items() if site.kind == "linear"
    ]
    return min([whole, *linears], key=lambda place: place.likeness)


def _with_numbers(places: Mapping[str, _Place]) -> str:
    """Names of blocks, and how the least alike place in them lies to the base's."""
    worst = min(places.values(), key=lambda place: place.likeness)
    where = "" if list(places) == [worst.name] else f"{worst.name}: "
    return f"{in_words(places)} ({where}{worst.numbers})"


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # adding zero takes the sign off a rounded -0.0


def _likeness(moments: Moments, expert: int) -> float:
    return likeness(*moments.with_base(expert))
