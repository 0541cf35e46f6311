"""Pairs of Linears that a model feels through their product alone.

A head's scores hang on W_QᵀW_K and its output on W_O W_V, so M W_Q and M⁻ᵀ W_K do as W_Q and W_K do for
any invertible M; the neurons of a feed-forward layer may stand in any order. The factors are then far
from the base's, their product over the whole layer is not, whatever was done within or among heads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedmerge.diagnosis.moments import likeness
from embedmerge.merging.anatomy import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from embedmerge.diagnosis.shared_weights import SharedWeights
    from embedmerge.merging.anatomy import Site

    Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """Names of two Linears between which nothing but a sum over hidden units stands.

    Attributes:
        what: What they make up.
        inner: Pattern of the first one's name within its block; its weight is (hidden, inputs).
        outer: Pattern of the second one's; (outputs, hidden).
        rows: Which of how many equal parts of the first one's rows: 2 of 3 for the value in a fused QKV.
        facing: Whether the second one is (hidden, inputs) too, as a key facing a query.
        beside: Pattern of further Linears that have their rows in the order of the hidden units.
    """

    what: str
    inner: str
    outer: str
    rows: tuple[int, int] = (0, 1)
    facing: bool = False
    beside: str = ""


QUERY_KEY, VALUE_OUTPUT, FEED_FORWARD = "query/key", "value/output", "feed-forward"
# Query and key are left out where a rotation by position, or a norm, stands between them.
KNOWN = (
    # BERT, RoBERTa, XLM-R, ELECTRA; DeBERTa with `_proj`
    Factors(
        QUERY_KEY,
        r"attention\.self\.query(_proj)?",
        r"attention\.self\.key(_proj)?",
        facing=True,
        beside=r"attention\.self\.pos_(query|key)_proj",
    ),
    Factors(VALUE_OUTPUT, r"attention\.self\.value(_proj)?", r"attention\.output\.dense"),
    # these and MPNet
    Factors(FEED_FORWARD, r"intermediate\.dense", r"output\.dense"),
    # MPNet
    Factors(QUERY_KEY, r"attention\.attn\.q", r"attention\.attn\.k", facing=True),
    Factors(VALUE_OUTPUT, r"attention\.attn\.v", r"attention\.attn\.o"),
    # DistilBERT
    Factors(QUERY_KEY, r"attention\.q_lin", r"attention\.k_lin", facing=True),
    Factors(VALUE_OUTPUT, r"attention\.v_lin", r"attention\.out_lin"),
    Factors(FEED_FORWARD, r"ffn\.lin1", r"ffn\.lin2"),
    # ModernBERT (its Wi is the activated half and the other one), NomicBERT's own code
    Factors(VALUE_OUTPUT, r"attn\.Wqkv", r"attn\.(Wo|out_proj)", rows=(2, 3)),
    Factors(FEED_FORWARD, r"mlp\.Wi", r"mlp\.Wo", rows=(1, 2)),
    Factors(FEED_FORWARD, r"mlp\.fc11", r"mlp\.fc2", beside=r"mlp\.fc12"),
    # Qwen3, Mistral and their like, NomicBERT in transformers
    Factors(VALUE_OUTPUT, r"self_attn\.v_proj", r"self_attn\.o_proj"),
    Factors(FEED_FORWARD, r"mlp\.up_proj", r"mlp\.down_proj", beside=r"mlp\.gate_proj"),
)


@dataclass(frozen=True)
class FactorPair:
    """Two Linears of one block that work through their product.

    Attributes:
        factors: What they are.
        inner: Place of the first one.
        outer: Place of the second one.
        beside: Places of those that follow the same hidden units.
    """

    factors: Factors
    inner: Site
    outer: Site
    beside: tuple[Site, ...] = ()

    @property
    def sites(self) -> tuple[Site, ...]:
        """All of them."""
        return self.inner, self.outer, *self.beside

    def likenesses(self, weights: SharedWeights, source: int) -> tuple[float, float]:
        """How like the base's a source's factors are (the more alike of the two), and their product."""
        base, other = self._matrices(weights, 0), self._matrices(weights, source)
        alike = [_likeness(mine, theirs) for mine, theirs in zip(base, other, strict=True)]
        return max(alike), _likeness(base[1] @ base[0], other[1] @ other[0])

    def _matrices(self, weights: SharedWeights, source: int) -> tuple[Float32, Float32]:
        """(hidden, inputs) and (outputs, hidden)."""
        at, of = self.factors.rows
        inner, outer = weights.matrix(self.inner, source), weights.matrix(self.outer, source)
        inner = inner[inner.shape[0] * at // of : inner.shape[0] * (at + 1) // of]
        if self.factors.facing:
            return inner, outer.T
        return inner, _folded(outer, inner.shape[0], weights.sources[0].config)


def factor_pairs(sites: Iterable[Site]) -> Iterator[FactorPair]:
    """The pairs whose names are known; other architectures have none."""
    blocks: dict[int, dict[str, Site]] = {}
    for site in sites:
        found = BLOCK.search(site.name)
        if found and site.block is not None and site.kind == "linear":
            blocks.setdefault(site.block, {})[site.name[found.end() :]] = site
    for block in blocks.values():
        for factors in KNOWN:
            inner, outer = _named(block, factors.inner), _named(block, factors.outer)
            if inner and outer:
                yield FactorPair(factors, inner[0], outer[0], _named(block, factors.beside))


def _named(block: dict[str, Site], pattern: str) -> tuple[Site, ...]:
    return tuple(site for name, site in block.items() if re.fullmatch(rf"{pattern}\.weight", name))


def _folded(outer: Float32, hidden: int, config: dict[str, Any]) -> Float32:
    """Columns of heads that share one value head, added up: their value is the same."""
    if outer.shape[1] == hidden:
        return outer
    shared = int(config.get("num_key_value_heads") or 1)
    by_head = outer.reshape(len(outer), shared, -1, hidden // shared)
    return np.asarray(by_head.sum(axis=2)).reshape(len(outer), hidden)


def _likeness(first: Float32, second: Float32) -> float:
    return likeness(_inner(first, second), _inner(first, first), _inner(second, second))


def _inner(first: Float32, second: Float32) -> float:
    return float(np.einsum("ij,ij->", first, second, dtype=np.float64))
