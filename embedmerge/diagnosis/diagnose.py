"""One look through the weights of base and experts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from embedmerge.checkpoint.compat import refuse_errors
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.diagnosis.effective_rank import effective_rank
from embedmerge.diagnosis.moments import Moments
from embedmerge.diagnosis.recognition import recognise
from embedmerge.diagnosis.shared_weights import SharedWeights
from embedmerge.diagnosis.task_vectors import BlockMeasures, MatrixRank, by_block
from embedmerge.merging.parallel import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.checkpoint.compat import Finding
    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.diagnosis.task_vectors import Ranks
    from embedmerge.merging.anatomy import Site

# An eigen-decomposition costs the cube of this; up to it a model of 24 blocks takes some 20 CPU seconds.
WIDEST_RANKED = 1024


@dataclass(frozen=True)
class Diagnosis:
    """What tuning did to the weights.

    Attributes:
        base: Name of the base.
        experts: Names of the experts.
        blocks: Measures of every block, from the embeddings to the head.
        model: The same of all of them together.
        ranked: Whether effective ranks were computed.
        findings: Experts that must not, or perhaps should not, be averaged with the base.
    """

    base: str
    experts: tuple[str, ...]
    blocks: tuple[BlockMeasures, ...]
    model: BlockMeasures
    ranked: bool
    findings: tuple[Finding, ...] = ()


def diagnose(
    sources: Sequence[Checkpoint],
    ranks: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Measure the task vectors block by block, and recognise experts that must not be averaged.

    Reads every weight once, twice for effective ranks, and holds a few slices or one matrix at a time.

    Args:
        sources: Opened sources that have passed the gate, base first.
        ranks: Whether to compute effective ranks; where None, for models up to `WIDEST_RANKED` wide.
        progress: Called with elements done and elements in all.

    Raises:
        EmbedmergeError: A weight is NaN or infinity.
    """
    with TensorReader() as reader, Workers() as workers:
        look = _Look(SharedWeights(sources, reader), workers, progress)
        ranked = look.narrow if ranks is None else ranks
        moments = look.moments(ranked)
        found = look.ranks() if ranked else {}
        findings = tuple(recognise(look.weights, moments))
    base, *experts = (source.name for source in sources)
    *blocks, model = by_block(experts, moments, found)
    return Diagnosis(base, tuple(experts), tuple(blocks), model, ranked, findings)


def require_one_base(sources: Sequence[Checkpoint]) -> tuple[Finding, ...]:
    """Read every weight once and refuse experts that must not be averaged with the base.

    Args:
        sources: As in `diagnose`.

    Returns:
        Warnings about experts that perhaps should not be.

    Raises:
        EmbedmergeError: One was not tuned from the base or was re-parametrised, or a weight is NaN or
            infinity.
    """
    return refuse_errors(diagnose(sources, ranks=False).findings)


class _Look:
    """The passes over the weights, on all cores."""

    def __init__(
        self, weights: SharedWeights, workers: Workers, progress: Callable[[int, int], None] | None
    ) -> None:
        self.weights = weights
        self._workers = workers
        self._progress = progress
        self._linears = [site for site in weights.sites if site.kind == "linear" and site.elements]
        self._done, self._total = 0, sum(site.elements for site in weights.sites)

    @property
    def narrow(self) -> bool:
        """Whether effective ranks come cheap."""
        return all(min(site.shape) <= WIDEST_RANKED for site in self._linears)

    def moments(self, ranked: bool) -> dict[Site, Moments]:
        """The moments of every tensor; `ranked` says whether a pass for the ranks will follow."""
        self._total += sum(site.elements for site in self._linears) if ranked else 0
        jobs = (
            partial(self._moments, site, cut)
            for site in self.weights.sites
            for cut in self.weights.slices(site)
        )
        found: dict[Site, Moments] = {}
        for site, part in self._workers.in_order(jobs):
            found[site] = found[site] + part if site in found else part
            self._count(part.elements)
        return found

    def ranks(self) -> Ranks:
        """The effective ranks of every task vector in every Linear."""
        found: Ranks = {}
        jobs = (partial(self._ranks, site) for site in self._linears)
        for site, ranks in zip(self._linears, self._workers.in_order(jobs), strict=True):
            found[site] = ranks
            self._count(site.elements)
        return found

    def _moments(self, site: Site, cut: slice) -> tuple[Site, Moments]:
        base, *experts = (self.weights.values(site, row, cut) for row in range(len(self.weights.sources)))
        return site, Moments.of(base, experts)

    def _ranks(self, site: Site) -> tuple[MatrixRank, ...]:
        base = self.weights.matrix(site, 0)
        experts = range(1, len(self.weights.sources))
        effective = (effective_rank(self.weights.matrix(site, expert) - base) for expert in experts)
        return tuple(MatrixRank(rank, min(site.shape)) for rank in effective)

    def _count(self, elements: int) -> None:
        self._done += elements
        if self._progress:
            self._progress(self._done, self._total)
