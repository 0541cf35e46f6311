"""Whether weights by block are taken: held-out examples decide between them and one weight for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.weighting.paired import NOISE, Gain, estimated
from embedmerge.weighting.quality import Side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from embedmerge.merging.coefficients import Coefficients
    from embedmerge.merging.settings import Setting
    from embedmerge.weighting.ground import Measure
    from embedmerge.weighting.landscape import Embedded
    from embedmerge.weighting.quality import Quality
    from embedmerge.weighting.selection import Candidate, Selection
    from embedmerge.weighting.strategy import Choice
    from embedmerge.weighting.survey import Survey

    Float64 = NDArray[np.float64]
    Rows = NDArray[np.int64]

FEWEST = 8  # held-out examples, below which their standard error says little
UNITS: dict[Measure, str] = {
    "ndcg_at_10": "points of nDCG@10",
    "recall_at_100": "points of recall@100",
    "loss": "nats less of loss",
}


@dataclass(frozen=True)
class Difference:
    """Mean paired difference of weights by block to one weight for all.

    Attributes:
        value: The mean, higher being better.
        error: Its standard error.
        measure: What was measured.
    """

    value: float
    error: float
    measure: Measure

    @property
    def words(self) -> str:
        """For reports.

        >>> Difference(1.24, 0.5, "ndcg_at_10").words
        '1.240 ± 0.500 points of nDCG@10'
        """
        return f"{self.value:.3f} ± {self.error:.3f} {UNITS[self.measure]}"


@dataclass(frozen=True)
class Comparison:
    """Weights by block beside one weight for all, on the same held-out examples.

    Attributes:
        objective: Difference in what is maximised.
        retrieval: Difference in what is reported, the same where that is maximised.
        held_out: Number of examples.
        above_floor: Whether weights by block keep general quality.
    """

    objective: Difference
    retrieval: Difference
    held_out: int
    above_floor: bool

    @property
    def is_better(self) -> bool:
        """Whether the objective gains, and retrieval does not lose, more than a standard error."""
        gained = self.objective.value > self.objective.error + NOISE
        return gained and self.retrieval.value >= -self.retrieval.error - NOISE

    @property
    def is_won(self) -> bool:
        """Whether weights by block are to be taken."""
        return self.is_better and self.above_floor

    @property
    def note(self) -> str:
        """What came of it, in words.

        >>> loss, points = Difference(0.12, 0.05, "loss"), Difference(0.4, 0.9, "ndcg_at_10")
        >>> Comparison(loss, points, 40, above_floor=True).note
        'Weights by block were learned and beat one weight for all on 40 held-out examples by 0.120 ± 0.050
        nats less of loss, 0.400 ± 0.900 points of nDCG@10; taken.'
        """
        found = ", ".join(dict.fromkeys([self.objective.words, self.retrieval.words]))
        rival = f"one weight for all on {self.held_out} held-out examples"
        if self.is_won:
            return f"Weights by block were learned and beat {rival} by {found}; taken."
        if self.is_better:
            return (
                f"Weights by block were learned and beat {rival} by {found}, but general quality fell below "
                "the floor; one weight for all was kept."
            )
        return (
            f"Weights by block were learned and did not beat {rival} by more than a standard error without "
            f"loss of retrieval ({found}); one weight for all was kept."
        )


class Contest:
    """One weight for all against weights by block, on examples that the latter have not seen.

    Where examples are few, so that the front has looked at all of them, a fifth is held out from learning
    by block. That is in the front's favour.

    Args:
        survey: That the front's choice was made on.
        front: One weight for all.

    Attributes:
        learning: Rows of the target and the general queries to learn from.
    """

    def __init__(self, survey: Survey, front: Choice) -> None:
        fold = survey.folds[0]
        self.learning = fold.choosing
        self._survey = survey
        self._front = front
        self._held_out = fold.checking

    @property
    def weights(self) -> Float64:
        """The front's, shape (sources,)."""
        return np.array(list(self._front.coefficients.weights.values()))

    @property
    def obstacle(self) -> str | None:
        """Why there is no contest, None where there is one."""
        if len(self._survey.live) < 2:
            return "Weights by block were not learned, for no expert retrieves."
        held_out = len(self._held_out[0])
        if held_out < FEWEST:
            return (
                f"Weights by block were not learned: of {self._survey.examples} examples {held_out} would be "
                f"held out, and {FEWEST} are needed to tell; give at least {5 * FEWEST}."
            )
        return None

    def kept(self, note: str) -> Choice:
        """The front's choice, with a note."""
        return replace(self._front, selection=self._noted(note))

    def decided(self, settings: Mapping[str, Setting]) -> Choice:
        """The better choice, with a note that says which and by how much.

        Args:
            settings: Weights by block, expert by expert.
        """
        coefficients = self._front.coefficients.with_experts(settings)
        embedded = self._encoded(coefficients)
        comparison = self._compared(embedded)
        if not comparison.is_won:
            return self.kept(comparison.note)
        selection = self._noted(comparison.note)
        candidates = tuple(
            self._really_chosen(candidate, embedded) if candidate.name == "chosen" else candidate
            for candidate in selection.candidates
        )
        return replace(
            self._front, coefficients=coefficients, selection=replace(selection, candidates=candidates)
        )

    def _noted(self, note: str) -> Selection:
        selection = self._front.selection
        assert selection is not None
        confirmation = replace(selection.confirmation, encodes=self._survey.landscape.encodes)
        return replace(selection, confirmation=confirmation, notes=(*selection.notes, note))

    def _encoded(self, coefficients: Coefficients) -> list[Embedded]:
        """Embeddings of the candidates by weights of each block, really merged."""
        landscape = self._survey.landscape
        mixture = replace(landscape.mixture(self.weights), coefficients=coefficients)
        with self._survey.evidence.trials.of_mixture(mixture, "weights by block") as encoder:
            return landscape.encoded(encoder, kept=True)

    def _compared(self, embedded: list[Embedded]) -> Comparison:
        survey = self._survey
        rival = survey.landscape.merged(self.weights)
        return Comparison(
            self._difference(embedded, rival, survey.objective),
            self._difference(embedded, rival, survey.reported),
            len(self._held_out[0]),
            self._keeps_floor(survey.landscape.judged(embedded, survey.objective)),
        )

    def _difference(self, own: list[Embedded], rival: list[Embedded], measure: Measure) -> Difference:
        """On the held-out examples."""
        first, second = (self._survey.landscape.judged(each, measure).target for each in (rival, own))
        both = Side(np.vstack([first.values, second.values]), first.groups)
        gain = Gain.on_the_first(both.of_rows(self._held_out[0]))
        return Difference(float(gain.means[0]), float(gain.errors[0]), measure)

    def _keeps_floor(self, quality: Quality) -> bool:
        """Whether general quality is above the floor, on the queries on which the front's had to be."""
        judge = self._survey.judge(self._survey.choosing)
        return bool(judge.above_floor(judge.restricted(quality))[0])

    def _really_chosen(self, candidate: Candidate, embedded: list[Embedded]) -> Candidate:
        """What is known of the choice from held-out queries, in the place of what is known of the front's."""
        survey = self._survey
        own, base = (
            survey.landscape.judged(each, survey.reported).of_rows(*self._held_out)
            for each in (embedded, survey.landscape.merged(survey.corners[0]))
        )
        return replace(
            candidate,
            target=estimated(own.target),
            general=estimated(own.general),
            target_to_base=estimated(own.target, base.target),
            general_to_base=estimated(own.general, base.general),
            exact=True,
        )
