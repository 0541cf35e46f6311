"""Weights by transformer block, learned by gradient, and taken only where held-out examples prefer them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.statistics.text import load_texts
from embedmerge.weighting.front import Front

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embedmerge.statistics.text import Text
    from embedmerge.weighting.block_contest import Contest
    from embedmerge.weighting.block_terms import Weighted
    from embedmerge.weighting.merged_forward import MergedForward
    from embedmerge.weighting.strategy import Choice, Evidence, MethodChoice
    from embedmerge.weighting.survey import Survey

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

MOST_TEXTS = 512  # of every expert's own
HALVINGS = 40  # of the interval in which a shift is looked for


class Blocks(Front):
    """Weights that differ from block to block, where that proves better than the front's one for all.

    Starting from the front's weights, Adam follows the gradient of a loss through the merged model, as in
    AdaMerging (Yang et al. 2024, arXiv 2310.02575), whose entropy has no meaning for an encoder. The loss
    is InfoNCE on the examples, or with `texts` the distance from every expert on its own text, to which come
    the guard and an L1 pull towards the start:

        L(c) = L_target(c) + `guard_weight` L_guard(c) + `pull` Σ_i mean_g |c[g, i] - w_i|.

    Attributes:
        steps: Of Adam.
        learning_rate: At the first step, falling to 0 on a straight line.
        batch_size: Examples, and texts of the guard, in a step.
        negatives: Hard candidates drawn for each example, besides those of the rest of the batch.
        pull: What it costs to move an expert's weight by 1 in all blocks.
        guard_weight: Weight of the guard: the divergence from the base on texts, InfoNCE on tasks.
        texts: Expert -> file of unlabelled text of its domain, to learn without labels; the examples then
            only decide.
        similarity_weight: With `texts`, weight of the divergence of similarities beside the distance.
    """

    strategy: Literal["blocks"] = "blocks"  # type: ignore[assignment]
    steps: int = Field(default=60, ge=1)
    learning_rate: float = Field(default=0.02, gt=0)
    batch_size: int = Field(default=32, ge=2)
    negatives: int = Field(default=2, ge=1)
    pull: float = Field(default=0.05, ge=0)
    guard_weight: float = Field(default=1.0, ge=0)
    texts: dict[str, str] | None = Field(default=None, min_length=1)
    similarity_weight: float = Field(default=1.0, ge=0)

    def require_consistent(self, names: Sequence[str], method: MethodChoice | None = None) -> None:
        """As for every guarded strategy; and texts are given for experts."""
        super().require_consistent(names, method)
        for name in self.texts or {}:
            if name not in names[1:]:
                msg = f"strategy blocks: texts: no expert is named {name!r}; {nearest(name, list(names[1:]))}"
                raise EmbedmergeError(msg)

    def choose(self, evidence: Evidence) -> Choice:
        """Choose one weight for all blocks as the front does, learn one for each, and keep the better.

        Raises:
            EmbedmergeError: Examples, guard or texts do not allow a choice, or a source is broken.
        """
        from embedmerge.weighting.account import account
        from embedmerge.weighting.block_contest import Contest
        from embedmerge.weighting.survey import Survey

        texts = self._texts()
        survey = Survey(self, evidence)
        contest = Contest(survey, account(survey))
        if contest.obstacle:
            return contest.kept(contest.obstacle)
        return contest.decided(self._by_block(survey, contest, texts))

    def _texts(self) -> dict[str, list[Text]]:
        return {
            name: load_texts(Path(file), MOST_TEXTS, self.seed) for name, file in (self.texts or {}).items()
        }

    def _by_block(
        self, survey: Survey, contest: Contest, texts: dict[str, list[Text]]
    ) -> dict[str, dict[str, float]]:
        """Learned weights, expert by expert, as settings."""
        from embedmerge.weighting.merged_forward import MergedForward

        evidence, experts = survey.evidence, survey.live[1:]
        forward = MergedForward(
            [evidence.sources[place] for place in survey.live],
            evidence.trials,
            survey.landscape.mixture(contest.weights).arithmetic.modifiers,
        )
        terms = self._terms(survey, contest, texts)
        learned = self.learned(forward, terms, contest.weights[experts])
        return {
            evidence.names[place]: forward.groups.setting(learned[:, column])
            for column, place in enumerate(experts)
        }

    def _terms(self, survey: Survey, contest: Contest, texts: dict[str, list[Text]]) -> Weighted:
        """What is learned by: the target's term, or those of the experts' own text, and the guard's."""
        from embedmerge.weighting.block_terms import Align, of_grounds

        (target, *guard) = of_grounds(
            survey.landscape,
            contest.learning,
            self.batch_size,
            self.negatives,
            cosine=survey.evidence.trials.cosine,
        )
        guarded = [(self.guard_weight / len(guard), term) for term in guard]
        if not texts:
            return [(1.0, target), *guarded]
        evidence = survey.evidence
        aligned = [
            (
                float(contest.weights[place]),
                Align.with_expert(
                    evidence.trials.of_source(evidence.sources[place]),
                    texts[evidence.names[place]],
                    self.batch_size,
                    self.similarity_temperature,
                    self.similarity_weight,
                ),
            )
            for place in survey.live[1:]
            if evidence.names[place] in texts
        ]
        return [*aligned, *guarded]

    def learned(self, forward: MergedForward, terms: Weighted, start: Float64) -> Float64:
        """Coefficients after all steps, each batch a seeded draw.

        Args:
            forward: The merged model.
            terms: The loss without the pull: weight and term.
            start: What every expert counts for at first, shape (experts,).

        Returns:
            Shape (groups, experts).
        """
        import torch

        first = torch.from_numpy(np.tile(start.astype(np.float32), (len(forward.groups), 1)))
        coefficients = first.clone().requires_grad_()
        optimiser = torch.optim.Adam([coefficients], self.learning_rate)
        falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / self.steps)
        generator = np.random.default_rng(self.seed)
        for step in range(1, self.steps + 1):
            optimiser.zero_grad()
            model = forward.at(coefficients)
            loss = self.pull * (coefficients - first).abs().mean(dim=0).sum()
            for weight, term in terms:
                loss = loss + weight * term(model, generator)
            loss.backward()
            optimiser.step()
            falling.step()
            with torch.no_grad():
                coefficients.copy_(torch.from_numpy(_within(coefficients.numpy(), self.bounds)))
        return coefficients.detach().numpy().astype(np.float64)


def _within(coefficients: Float32, bounds: tuple[float, float]) -> Float32:
    """The nearest coefficients whose every weight is within bounds, that of the base too.

    The nearest point of a box whose sum is given is the point minus one number for all, cut to the box.

    >>> _within(np.array([[0.5, 0.3], [0.9, 0.5], [1.2, -0.1]], np.float32), (0.0, 1.0)).round(3)
    array([[0.5, 0.3], [0.7, 0.3], [1. , 0. ]], dtype=float32)

    Args:
        coefficients: Of the experts, shape (groups, experts).
        bounds: Lowest and highest weight.
    """
    low, high = bounds
    cut = coefficients.clip(low, high)
    sums = cut.sum(axis=1, keepdims=True)
    wanted = sums.clip(1 - high, 1 - low)
    reach = np.abs(coefficients).max(initial=1) + abs(low) + high
    lowest, highest = np.full_like(sums, -reach), np.full_like(sums, reach)
    for _ in range(HALVINGS):
        middle = (lowest + highest) / 2
        too_much = (coefficients - middle).clip(low, high).sum(axis=1, keepdims=True) > wanted
        lowest, highest = np.where(too_much, middle, lowest), np.where(too_much, highest, middle)
    moved = (coefficients - highest).clip(low, high)
    return np.where(wanted == sums, cut, moved).astype(np.float32)
