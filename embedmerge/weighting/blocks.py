"""Weights by transformer block, learned by gradient, and taken only where held-out examples prefer them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.statistics.text import load_texts, texts_sha256
from embedmerge.weighting.front import Front
from embedmerge.weighting.projection import within
from embedmerge.weighting.strategy import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from embedmerge.merging.settings import Setting
    from embedmerge.statistics.text import Text
    from embedmerge.weighting.block_contest import Contest
    from embedmerge.weighting.block_terms import Weighted
    from embedmerge.weighting.merged_forward import MergedForward
    from embedmerge.weighting.strategy import Choice, Evidence, MethodChoice
    from embedmerge.weighting.survey import Survey

    Float64 = NDArray[np.float64]

MOST_TEXTS = 512  # of every expert's own
LABEL = "learning: weights by block"


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
    guard_weight: float = Field(default=5.0, ge=0)
    texts: dict[str, str] | None = Field(default=None, min_length=1)
    similarity_weight: float = Field(default=1.0, ge=0)

    def require_consistent(self, names: Sequence[str], method: MethodChoice | None = None) -> None:
        """As for every guarded strategy; task vectors stay as they are, and texts are given for experts."""
        super().require_consistent(names, method)
        if method is not None and method.name not in PLAIN:
            msg = f"strategy blocks: learns with method {' or '.join(PLAIN)}; for {method.name} take front"
            raise EmbedmergeError(msg)
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

    def reads(self) -> dict[str, str]:
        """Digests of guard and texts."""
        texts = {f"texts.{name}": texts_sha256(texts) for name, texts in self._texts().items()}
        return {**super().reads(), **texts}

    def _texts(self) -> dict[str, list[Text]]:
        return {
            name: load_texts(Path(file).expanduser(), MOST_TEXTS, self.seed)
            for name, file in (self.texts or {}).items()
        }

    def _by_block(self, survey: Survey, contest: Contest, texts: dict[str, list[Text]]) -> dict[str, Setting]:
        """Learned weights, expert by expert, as settings."""
        from embedmerge.weighting.merged_forward import MergedForward

        evidence, experts = survey.evidence, survey.live[1:]
        forward = MergedForward(
            [evidence.sources[place] for place in survey.live],
            evidence.trials,
            survey.landscape.mixture(contest.weights).arithmetic.modifiers,
        )
        terms = self._terms(survey, contest, texts)
        progress = evidence.trials.progress
        learned = self.learned(
            forward, terms, contest.weights[experts], partial(progress, LABEL) if progress else None
        )
        return {
            evidence.names[place]: forward.groups.setting(learned[:, column].tolist())
            for column, place in enumerate(experts)
        }

    def _terms(self, survey: Survey, contest: Contest, texts: dict[str, list[Text]]) -> Weighted:
        """What is learned by: the target's term, or those of the experts' own text, and the guard's."""
        from embedmerge.weighting.block_terms import Align, of_grounds

        (target, *guard) = of_grounds(survey, contest.learning, self.batch_size, self.negatives)
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

    def learned(
        self,
        forward: MergedForward,
        terms: Weighted,
        start: Float64,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float64:
        """Coefficients after all steps, each batch a seeded draw.

        Args:
            forward: The merged model.
            terms: The loss without the pull: weight and term.
            start: What every expert counts for at first, shape (experts,).
            progress: Called with steps done and steps in all.

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
                coefficients.copy_(torch.from_numpy(within(coefficients.double().numpy(), self.bounds)))
            if progress:
                progress(step, self.steps)
        found: Float64 = coefficients.detach().numpy().astype(np.float64)
        return found
