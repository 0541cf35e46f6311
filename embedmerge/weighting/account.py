"""What a choice was made by, with its uncertainty, for whoever has to believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embedmerge.merging.coefficients import Coefficients
from embedmerge.weighting.cocktail import TEMPERATURE, cocktail_weights
from embedmerge.weighting.decimals import DECIMALS, named
from embedmerge.weighting.guard import Language, standard_errors
from embedmerge.weighting.paired import estimated
from embedmerge.weighting.quality import grouped_means
from embedmerge.weighting.selection import Candidate, FrontPoint, Selection
from embedmerge.weighting.simplex import undominated
from embedmerge.weighting.strategy import Choice
from embedmerge.weighting.surface import surface

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embedmerge.weighting.groundwork import Confirmed, Groundwork
    from embedmerge.weighting.quality import Quality
    from embedmerge.weighting.surface import Surface

    Float64 = NDArray[np.float64]
    Rows = NDArray[np.int64]

FRONT_POINTS = 25
WIDE = 0.25  # width of a range of equally good weights from which on it is worth a note
LEARNT_BY_HEART = 0.05  # nats: loss of an expert on examples that it must have been tuned on


def account(survey: Groundwork) -> Choice:
    """Let a survey choose, and put the choice beside everything it should be compared with.

    Raises:
        EmbedmergeError: No mixture is above the floor.
    """
    return _Account(survey, survey.confirmed(survey.judge(survey.choosing))).choice()


class _Account:
    def __init__(self, survey: Groundwork, chosen: Confirmed) -> None:
        self._survey = survey
        self._names = survey.evidence.names
        self._folds = survey.folds
        self._chosen = chosen
        self._split = survey.split
        self._checking = self._folds[0].checking if self._split else survey.everything
        self._judge = survey.judge(survey.everything)
        self._options = survey.options(self._judge, chosen)

    def choice(self) -> Choice:
        losses = self._survey.losses
        means = dict(zip(self._names, losses.mean(axis=1).tolist(), strict=True))
        several = losses.shape[1] > 1
        errors = losses.std(axis=1, ddof=1) / np.sqrt(losses.shape[1]) if several else []
        return Choice(
            Coefficients(self._named(self._chosen.weights)),
            means,
            dict(zip(self._names, map(float, errors), strict=True)) if several else {},
            self._selection(),
            {**self._survey.evidence.method.parameters, **found}
            if (found := self._chosen.parameters)
            else None,
        )

    def _selection(self) -> Selection:
        survey, guard = self._survey, self._survey.strategy.guard
        alike = self._alike()
        as_good = self._weights_of(alike)
        lost = tuple(self._names[place] for place in survey.lost)
        return Selection(
            strategy=survey.strategy.strategy,  # type: ignore[attr-defined]
            objective=survey.objective,
            measure=survey.reported,
            general_measure="ndcg_at_10" if guard.tasks else "preservation",
            guard=guard.described,
            floor=guard.described_floor,
            examples=survey.examples,
            guarded=len(self._judge.rows[1]),
            checked="split" if self._split else "cross-validated",
            front=self._front(),
            candidates=tuple(self._candidates()),
            as_good=as_good,
            confirmation=self._chosen.confirmation,
            lost=lost,
            notes=(*self._notes(as_good), *self._parameters_of(alike), *survey.notes(), *self._doubts()),
            surface=None if survey.exact else self._surface(),
        )

    def _front(self) -> tuple[FrontPoint, ...]:
        quality = self._options.reported
        target, general = quality.target.means, quality.general.means
        places = undominated(target, general)
        shown = places[np.unique(np.linspace(0, len(places) - 1, FRONT_POINTS).round().astype(int))]
        return tuple(
            FrontPoint(
                self._named(self._options.weights[place]),
                float(target[place]),
                float(general[place]),
                {name: float(values[place]) for name, values in self._options.parameters.items()} or None,
            )
            for place in shown
        )

    def _surface(self) -> Surface | None:
        """What the landscape says of all mixtures, on all queries and in what is reported."""

        def look(weights: Float64) -> tuple[Float64, Float64, Float64]:
            quality = self._survey.landscape.quality(weights, self._survey.reported)
            return quality.target.means, quality.general.means, self._judge.margins(quality)

        return surface(self._names, self._chosen.weights, self._survey.lost, look)

    def _candidates(self) -> Iterator[Candidate]:
        """Everything beside the choice, on the queries that check."""
        survey, reported = self._survey, self._survey.reported
        landscape, corners = survey.landscape, survey.corners
        sources = self._checked(landscape.of_sources(reported))
        base = sources.of_mixture(0)
        for place, (name, weights) in enumerate(zip(self._names, corners, strict=True)):
            yield self._candidate(
                name, weights, sources.of_mixture(place), base if place else None, exact=True
            )
        for name, weights in (("uniform", self._uniform), ("cocktail", self._cocktail)):
            average, exact = survey.averaged(weights)
            yield self._candidate(name, weights, self._checked(average), base, exact=exact)
        yield self._candidate("placebo", None, self._checked(self._placebo()), base, exact=True)
        exact = survey.exact or self._split
        yield self._candidate("chosen", self._chosen.weights, self._chosen_quality(), base, exact=exact)

    def _chosen_quality(self) -> Quality:
        """The choice itself on queries kept from it, or each fold's own choice on that fold's queries."""
        survey = self._survey
        if self._split:
            return self._checked(self._chosen.true)
        whole = survey.landscape.quality(survey.corners[:1], survey.reported)
        for fold in self._folds:
            quality = survey.picked(survey.judge(fold.choosing))
            for side, own, rows in (
                (whole.target, quality.target, fold.checking[0]),
                (whole.general, quality.general, fold.checking[1]),
            ):
                side.values[:, rows] = own.values[:, rows]
        return whole

    def _placebo(self) -> Quality:
        landscape = self._survey.landscape
        trials = self._survey.evidence.trials
        with trials.of_placebo(self._survey.mixture(self._chosen)) as encoder:
            return landscape.judged(landscape.encoded(encoder, kept=True), self._survey.reported)

    @property
    def _uniform(self) -> Float64:
        return np.full(len(self._names), 1 / len(self._names))

    @property
    def _cocktail(self) -> Float64:
        """By LM-Cocktail's rule, from the same examples."""
        losses = dict(zip(self._names, self._survey.losses.mean(axis=1).tolist(), strict=True))
        return np.array(list(cocktail_weights(losses, TEMPERATURE).values()))

    def _checked(self, quality: Quality) -> Quality:
        return quality.of_rows(*self._checking)

    def _candidate(
        self, name: str, weights: Float64 | None, own: Quality, base: Quality | None, *, exact: bool
    ) -> Candidate:
        return Candidate(
            name,
            self._named(weights) if weights is not None else None,
            estimated(own.target),
            estimated(own.general),
            estimated(own.target, base.target) if base else None,
            estimated(own.general, base.general) if base else None,
            exact,
        )

    def _alike(self) -> NDArray[np.int64]:
        """Places of options above the floor whose target these examples cannot tell from the chosen one's."""
        quality = self._options.objective
        values = quality.target.values - quality.target.values[-1]
        groups = quality.target.groups
        reach = grouped_means(values, groups) + 1.96 * standard_errors(values, groups)
        alike = self._judge.above_floor(quality) & (reach >= 0)
        alike[-1] = True  # the choice itself
        return np.flatnonzero(alike)

    def _weights_of(self, alike: Rows) -> dict[str, tuple[float, float]]:
        """Ranges of the weights of some options."""
        weights = self._options.weights[alike]
        return {
            name: (round(float(low), DECIMALS), round(float(high), DECIMALS))
            for name, low, high in zip(self._names, weights.min(axis=0), weights.max(axis=0), strict=True)
        }

    def _parameters_of(self, alike: Rows) -> Iterator[str]:
        """Ranges of searched parameters of some options, where they are wide."""
        for name, values in self._options.parameters.items():
            low, high = values[alike].min(), values[alike].max()
            if self._survey.examples > 1 and high - low >= WIDE * np.ptp(values) > 0:
                yield (
                    f"Any {name} between {low:.4g} and {high:.4g} is as good as the chosen {values[-1]:.4g}, "
                    f"as far as {self._survey.examples} examples can tell."
                )

    def _notes(self, as_good: dict[str, tuple[float, float]]) -> Iterator[str]:
        survey = self._survey
        given, different = len(survey.evidence.examples), len(set(survey.evidence.examples))
        if different < given:
            yield f"{given - different} of {given} examples are copies of others and count once."
        if survey.examples < different:
            yield f"{survey.examples} of {different} examples were drawn; `most_examples` asks for more."
        if survey.examples == 1:
            yield "One example cannot tell mixtures apart; give at least twenty."
        for name, (low, high) in list(as_good.items())[1:]:
            if high - low >= WIDE and survey.examples > 1:
                yield (
                    f"Any weight of {name} between {low:.2f} and {high:.2f} is as good as the chosen one, "
                    f"as far as {survey.examples} examples can tell."
                )
        for place in survey.lost:
            yield f"{self._names[place]} no longer retrieves, so it got no weight; look at its weights."

    def _doubts(self) -> Iterator[str]:
        survey, confirmation = self._survey, self._chosen.confirmation
        losses = dict(zip(self._names, survey.losses.mean(axis=1), strict=True))
        for source in survey.evidence.sources:
            if source.role == "target" and losses[source.name] < LEARNT_BY_HEART < losses[self._names[0]] / 4:
                yield f"{source.name} has next to no loss on the examples; were they held out from tuning?"
        if not self._chosen.above:
            yield f"The choice is below the guard's floor ({survey.strategy.guard.described_floor})."
        rounds = f"{confirmation.rounds} round{'s' if confirmation.rounds > 1 else ''}"
        if not self._chosen.near:
            yield (
                f"After {rounds} the choice is still off what was expected of it: by "
                f"{abs(confirmation.target):.2f} on the target, {abs(confirmation.general):.3f} on the guard."
            )
        guard = survey.strategy.guard
        if guard.text is not None:
            texts = [text for ground in survey.grounds[1:] for text in ground.passages]
            encoder = survey.evidence.trials.of_source(survey.evidence.sources[0])
            if Language.of(encoder, texts).is_foreign:
                yield "The tokenizer does not know the guard text's language; a floor on it means little."
        if survey.strategy.i_know_this_is_test_data:
            yield "Examples or guard may come from a test split; scores on that split are not evidence."

    def _named(self, weights: Float64) -> dict[str, float]:
        return named(self._names, weights)
