"""Weights that differ from block to block, as rows of a heat map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.merging.settings import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedmerge.report.document import Report

ELSEWHERE = "all else"


@dataclass(frozen=True)
class BlockWeights:
    """Weights of every source, block by block.

    Attributes:
        labels: One for each row: embeddings, blocks, and what is left.
        sources: One for each column, base first.
        rows: Weights; None where one is not known.
    """

    labels: tuple[str, ...]
    sources: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]


def block_weights(report: Report) -> BlockWeights | None:
    """What a run's coefficients are, block by block.

    Args:
        report: The run.

    Returns:
        None where there is one weight for all blocks, or where weights are given in lists over the depth.
    """
    by_tensor: Mapping[str, Any] = report.weighting.parameters.get("by_tensor") or {}
    if not by_tensor or not all(_is_by_selector(setting) for setting in by_tensor.values()):
        return None
    selectors = sorted(dict.fromkeys(key for setting in by_tensor.values() for key in setting), key=_order)
    base, *experts = report.weights
    rows = tuple(
        tuple(_weight(by_tensor.get(expert, report.weights[expert]), selector) for expert in experts)
        for selector in selectors
    )
    labels = tuple(ELSEWHERE if selector == "*" else selector.removesuffix(".*") for selector in selectors)
    return BlockWeights(labels, (base, *experts), tuple((_left(row), *row) for row in rows))


def _is_by_selector(setting: Any) -> bool:
    return isinstance(setting, dict) and all(isinstance(value, int | float) for value in setting.values())


def _order(selector: str) -> tuple[int, int]:
    """Patterns such as the embeddings' first, then blocks, then what is left."""
    blocks = BLOCKS.fullmatch(selector)
    if blocks is not None:
        return 1, int(blocks[1])
    return (2, 0) if selector == "*" else (0, 0)


def _weight(setting: Mapping[str, float] | float, selector: str) -> float | None:
    return setting.get(selector) if isinstance(setting, dict) else float(setting)  # type: ignore[arg-type]


def _left(experts: Sequence[float | None]) -> float | None:
    """The base's weight: what the experts leave to 1."""
    known = [weight for weight in experts if weight is not None]
    return round(1 - sum(known), 6) if len(known) == len(experts) else None
