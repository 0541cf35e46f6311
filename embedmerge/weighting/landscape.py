"""Target and general quality over the whole simplex of weights, from a few encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.retrieval.vectors import normalised
from embedmerge.weighting.decimals import named
from embedmerge.weighting.mesh import Mesh
from embedmerge.weighting.quality import Quality, Side
from embedmerge.weighting.strategy import MethodChoice
from embedmerge.weighting.surrogate import PairScores, mesh_features

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch
    from numpy.typing import NDArray

    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.weighting.ground import Ground, Measure, Settled
    from embedmerge.weighting.mesh import Edge
    from embedmerge.weighting.trial import Trials

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Embedded = tuple[Float32, Float32]

PROBE = 32  # texts on which an edge is tried before all are encoded
STRAIGHT = 1e-4  # mean cosine distance on the probe below which an edge counts as straight
DECIMALS = 6  # of weights that are really merged


class Landscape:
    """Quality of any mixture of the sources on target and general grounds.

    Every source is encoded once, and so is the midpoint of every pair whose embeddings are not on the
    straight line between both. What competes for a query is what the sources rank high, and stays.

    Args:
        trials: Makes the encoders of sources and mixtures.
        method: How mixtures are merged; its result must be affine in the weights.
        target: What the target's quality is measured on.
        general: What general quality is measured on.

    Raises:
        EmbedmergeError: A source gives NaN, or cannot be loaded.
    """

    def __init__(
        self,
        trials: Trials,
        target: Sequence[Ground],
        general: Sequence[Ground],
        method: MethodChoice | None = None,
    ) -> None:
        self.names = [source.name for source in trials.sources]
        self.encodes = 0
        self._trials = trials
        self._method = method or MethodChoice()
        self._grounds = [*target, *general]
        self._is_target = [True] * len(target) + [False] * len(general)
        self.mesh = Mesh.of(len(self.names))
        whole = [self._at_corner(corner) for corner in range(len(self.names))]
        self.settled: list[Settled] = [
            ground.settle([embedded[place] for embedded in whole], cosine=trials.cosine)
            for place, ground in enumerate(self._grounds)
        ]
        self._corners = [self._of_candidates(embedded) for embedded in whole]
        self._as_given = self._corners if self._method.keeps_sources else self._encoded_as_given()
        self._midpoints: list[list[Embedded]] = []
        self._tried: set[Edge] = set()
        self._build()

    def bend(self, edges: Iterable[Edge] | None = None) -> None:
        """Encode the midpoint of every edge that is not straight.

        Args:
            edges: Of the mesh; all where None.
        """
        wanted = self.mesh.edges if edges is None else edges
        for edge in [edge for edge in wanted if edge not in self._tried]:
            self._tried.add(edge)
            embedded = self._bent(edge)
            if embedded is not None:
                self._midpoints.append(embedded)
                self.mesh = self.mesh.with_midpoints([edge])
        self._build()

    def quality(self, weights: Float64, measure: Measure = "ndcg_at_10") -> Quality:
        """Approximate quality of mixtures.

        Args:
            weights: Shape (mixtures, sources), each row with sum 1.
            measure: Of the target; general grounds with labels are measured by nDCG@10.
        """
        import torch

        features = torch.from_numpy(self.mesh.features(weights)).float()
        return self._measured(self._scores, features, measure)

    def of_sources(self, measure: Measure = "ndcg_at_10") -> Quality:
        """Quality of every source as it was given, whatever the method makes of it; `values` by source.

        Args:
            measure: As in `quality`.
        """
        if self._method.keeps_sources:
            return self.quality(np.eye(len(self.names)), measure)
        alone = [self.judged(embedded, measure) for embedded in self._as_given]
        return Quality.stacked(alone)

    def averaged(self, weights: Float64) -> list[Embedded]:
        """Embeddings of the candidates by the plain average of the sources, really merged.

        Args:
            weights: Shape (sources,).
        """
        mixture = Mixture(Coefficients(named(self.names, weights, DECIMALS)), dtype="float32")
        with self._trials.of_mixture(mixture) as encoder:
            return self.encoded(encoder, kept=True)

    def knowing_nothing(self) -> tuple[float, float]:
        """Mean target nDCG and general value of a model to which all texts look alike."""
        values = [
            settled.nothing(base)[None] for settled, base in zip(self.settled, self._base_scores, strict=True)
        ]
        quality = self._quality(values)
        return float(quality.target.means[0]), float(quality.general.means[0])

    def slope(
        self,
        weights: Float64,
        measure: Measure = "loss",
        rows: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    ) -> tuple[Float64, Float64]:
        """Mean target and general value of one mixture, and their derivatives by the weights.

        Args:
            weights: Shape (sources,).
            measure: One that is differentiable.
            rows: Rows of the target and of the general queries that count; all where None.

        Returns:
            Values of shape (2,), target first, and derivatives of shape (2, sources).
        """
        import torch

        features = torch.from_numpy(self.mesh.features(weights[None])).float().requires_grad_()
        by_side: list[list[torch.Tensor]] = [[], []]
        for settled, scores, base, target in zip(
            self.settled, self._scores, self._base_scores, self._is_target, strict=True
        ):
            by_side[not target].append(settled.values(scores(features), base, measure)[0])
        means = [_mean_of(each, own) for each, own in zip(by_side, rows or (None, None), strict=True)]
        slopes = [torch.autograd.grad(mean, features, retain_graph=True)[0][0].numpy() for mean in means]
        by_weights = np.stack(slopes).astype(np.float64) @ self.mesh.slopes(weights)
        return np.array([float(mean.detach()) for mean in means]), by_weights

    def judged(self, embedded: list[Embedded], measure: Measure = "ndcg_at_10") -> Quality:
        """True quality of a model from its embeddings of the candidates.

        Args:
            embedded: Queries and candidates of every ground.
            measure: As in `quality`.
        """
        import torch

        scores = [
            PairScores(queries[None], passages[None], settled.candidates, cosine=self._trials.cosine)
            for settled, (queries, passages) in zip(self.settled, embedded, strict=True)
        ]
        return self._measured(scores, torch.ones(1, 1), measure)

    def merged(self, weights: Float64) -> list[Embedded]:
        """Embeddings of the candidates by a mixture that is really merged.

        Args:
            weights: Shape (sources,).
        """
        corner = np.flatnonzero((np.abs(self.mesh.corners - weights) < 10**-DECIMALS).all(axis=1))
        if corner.size:
            return self._corners[int(corner[0])]
        with self._trials.of_mixture(self.mixture(weights)) as encoder:
            return self.encoded(encoder, kept=True)

    def refine(self, weights: Float64, embedded: list[Embedded], live: Sequence[int] | None = None) -> None:
        """Make a mixture that was really merged a corner of the mesh, and bend the edges that end there.

        Args:
            weights: Its weights, shape (sources,).
            embedded: What `merged` gave for it.
            live: Sources that may get a weight, so that edges towards others may stay straight; all where
                None.
        """
        self.mesh = self.mesh.split_at(weights)
        self._corners.append(embedded)
        everyone = np.arange(len(self.names))
        others = np.setdiff1d(everyone, everyone if live is None else live)
        new = len(self.mesh.corners) - 1
        self.bend(
            [edge for edge in self.mesh.edges if new in edge and not self.mesh.middle(edge)[others].any()]
        )

    def off(self, weights: Float64, embedded: list[Embedded]) -> float:
        """Mean cosine distance of the approximate embeddings from the true ones, over all texts."""
        features = self.mesh.features(weights[None])[0].astype(np.float32)
        distances = [
            _distances(np.einsum("k,ktd->td", features, guessed), true)
            for guess, truth in zip(self._features, embedded, strict=True)
            for guessed, true in zip(guess, truth, strict=True)
        ]
        return float(np.concatenate(distances).mean())

    def encoded(self, encoder: Encoder, *, kept: bool = False) -> list[Embedded]:
        """Queries and passages of every ground by one model.

        Args:
            encoder: The model.
            kept: Candidates alone.
        """
        self.encodes += 1
        queries = [list(ground.queries) for ground in self._grounds]
        passages = [
            [ground.passages[row] for row in self.settled[place].kept] if kept else list(ground.passages)
            for place, ground in enumerate(self._grounds)
        ]
        asked, answered = encoder.model.prompt("query"), encoder.model.prompt("document")
        if asked == answered:  # a guard's texts are both, and are then encoded once
            both = _embedded_together(encoder, [*queries, *passages], asked)
            return list(zip(both[: len(queries)], both[len(queries) :], strict=True))
        return list(
            zip(
                _embedded_together(encoder, queries, asked),
                _embedded_together(encoder, passages, answered),
                strict=True,
            )
        )

    def _at_corner(self, corner: int) -> list[Embedded]:
        """Embeddings by a source alone, which the method or a modifier may have moved; never by the base."""
        if self._method.keeps_sources or not corner:
            return self.encoded(self._trials.of_source(self._trials.sources[corner]))
        with self._trials.of_mixture(self.mixture(self.mesh.corners[corner])) as encoder:
            return self.encoded(encoder)

    def _encoded_as_given(self) -> list[list[Embedded]]:
        encoders = [self._trials.of_source(source) for source in self._trials.sources[1:]]
        return [self._corners[0], *(self.encoded(encoder, kept=True) for encoder in encoders)]

    def _bent(self, edge: Edge) -> list[Embedded] | None:
        """Embeddings at an edge's midpoint, None where the straight line is as good."""
        first, second = (self._corners[corner] for corner in edge)
        texts, line = self._probe(first, second)
        with self._trials.of_mixture(self.mixture(self.mesh.middle(edge))) as encoder:
            found = encoder.pooled(texts, encoder.model.prompt("document"))
            if _distances(line, found).mean() < STRAIGHT:
                return None
            return self.encoded(encoder, kept=True)

    def _probe(self, first: list[Embedded], second: list[Embedded]) -> tuple[list[str], Float32]:
        """Some candidates of every ground, and the middle of their embeddings at an edge's ends."""
        texts, middles = [], []
        share = -(-PROBE // len(self._grounds))
        for place, ground in enumerate(self._grounds):
            kept = self.settled[place].kept
            chosen = np.unique(np.linspace(0, len(kept) - 1, share).astype(int))
            texts += [ground.passages[kept[row]] for row in chosen]
            middles.append((first[place][1][chosen] + second[place][1][chosen]) / 2)
        return texts, np.concatenate(middles)

    def _of_candidates(self, embedded: list[Embedded]) -> list[Embedded]:
        return [
            (queries, passages[settled.kept])
            for settled, (queries, passages) in zip(self.settled, embedded, strict=True)
        ]

    def mixture(self, weights: Float64) -> Mixture:
        """The mixture of some weights, shape (sources,), in float32."""
        coefficients = Coefficients(named(self.names, weights, DECIMALS))
        return Mixture(coefficients, self._method.name, self._method.parameters, "float32")

    def _build(self) -> None:
        """Features and quadratic forms of the mesh as it is now."""
        import torch

        corners, midpoints = self._corners, self._midpoints
        self._features = [
            tuple(
                mesh_features(
                    self.mesh,
                    [embedded[place][kind] for embedded in corners],
                    [embedded[place][kind] for embedded in midpoints],
                )
                for kind in (0, 1)
            )
            for place in range(len(self._grounds))
        ]
        self._scores = [
            PairScores(queries, passages, settled.candidates, cosine=self._trials.cosine)
            for settled, (queries, passages) in zip(self.settled, self._features, strict=True)
        ]
        base = torch.from_numpy(self.mesh.features(np.eye(len(self.names))[:1])).float()
        self._base_scores = [scores(base) for scores in self._scores]

    def _measured(self, scores: list[PairScores], features: torch.Tensor, measure: Measure) -> Quality:
        import torch

        with torch.inference_mode():
            values = [
                torch.cat(
                    [
                        settled.values(own(features[batch]), base, measure if is_target else "ndcg_at_10")
                        for batch in own.batches(len(features))
                    ]
                )
                for settled, own, base, is_target in zip(
                    self.settled, scores, self._base_scores, self._is_target, strict=True
                )
            ]
        return self._quality(values)

    def _quality(self, values: list[torch.Tensor]) -> Quality:
        sides = []
        for wanted in (True, False):
            own = [
                each.numpy().astype(np.float64)
                for each, target in zip(values, self._is_target, strict=True)
                if target == wanted
            ]
            groups = np.repeat(np.arange(len(own)), [each.shape[1] for each in own])
            sides.append(Side(np.concatenate(own, axis=1), groups))
        return Quality(*sides)


def _mean_of(values: list[torch.Tensor], rows: NDArray[np.int64] | None) -> torch.Tensor:
    """`grouped_means` of some rows of one side, from the values of each ground, differentiable."""
    import torch

    groups = np.repeat(np.arange(len(values)), [len(each) for each in values])
    counting = np.arange(len(groups)) if rows is None else rows
    together = torch.cat(values)
    parts = [together[counting[groups[counting] == group]].mean() for group in np.unique(groups[counting])]
    return torch.stack(parts).mean()


def _embedded_together(encoder: Encoder, lists: list[list[str]], prompt: str) -> list[Float32]:
    """Pooled embeddings of several lists of texts, each text once, in full batches."""
    different = dict.fromkeys(text for texts in lists for text in texts)
    row_of = {text: row for row, text in enumerate(different)}
    everything = encoder.pooled(list(different), prompt)
    return [everything[[row_of[text] for text in texts]] for texts in lists]


def _distances(first: Float32, second: Float32) -> Float32:
    """Cosine distance of each row of one from the same row of the other."""
    distances: Float32 = 1 - (normalised(first) * normalised(second)).sum(axis=1)
    return distances
