"""Where the front's defaults come from: the guard's budget and the objective, on training splits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from domains import TARGETS
from pools import SIZES, read_pool

from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from study import Study

    Float64 = NDArray[np.float64]

SHARES = np.linspace(0, 1, 101)  # of the fine-tune
BUDGETS = (0.02, 0.03, 0.05, 0.06, 0.07, 0.08, 0.1, 0.15)
DEFAULT = 0.07
HALF = 50  # place of the share that LM-Cocktail takes
DRAWS = 20


@dataclass(frozen=True)
class Line:
    """The mixtures of base and one expert, on held-out training rows.

    Attributes:
        divergence: On the guard text, shape (shares,).
        ndcg: Of the target, query by query, shape (shares, queries).
        loss: Likewise.
        others: Mean nDCG@10 over the other domains' rows, shape (shares,).
    """

    divergence: Float64
    ndcg: Float64
    loss: Float64
    others: Float64

    def gain_kept(self, place: int, rows: NDArray[np.int64] | None = None) -> float:
        """Percent of the fine-tune's gain on the target, of some rows or of all."""
        values = self.ndcg if rows is None else self.ndcg[:, rows]
        whole = self.ndcg[-1].mean() - self.ndcg[0].mean()
        return float(100 * (values[place].mean() - values[0].mean()) / whole)

    def lost(self, place: int) -> float:
        """Points on the others, to the base."""
        return float(self.others[place] - self.others[0])


def calibrate(study: Study) -> None:
    """Write `guard_budget.md` into the scratch folder."""
    study.remember(study.pool_texts())
    lines = {name: line_of(study, name) for name in TARGETS}
    parts = ["\n".join(of_budgets(lines)), "\n".join(of_domains(lines)), "\n".join(of_objectives(lines))]
    (study.work / "guard_budget.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print("\n\n".join(parts))


def line_of(study: Study, name: str) -> Line:
    """Base and expert of one domain; its own held-out rows as target, those of the other seven as others."""
    others = [Retrieval(other, pool_of(study, other)) for other in TARGETS if other != name]
    landscape = Landscape(
        study.trials(study.sources(name)),
        [Retrieval(name, pool_of(study, name))],
        [*Guard().grounds(), *others],
    )
    landscape.bend()
    weights = np.column_stack([1 - SHARES, SHARES])
    quality, losses = landscape.quality(weights), landscape.quality(weights, "loss")
    groups = quality.general.groups
    guard, labelled = np.flatnonzero(groups == 0), np.flatnonzero(groups > 0)
    return Line(
        -quality.general.of_rows(guard).means,
        quality.target.values,
        -losses.target.values,
        quality.general.of_rows(labelled).means,
    )


def pool_of(study: Study, name: str) -> Pool:
    """A domain's held-out rows."""
    return Pool.of_examples(read_pool(name, study.work))


def of_budgets(lines: dict[str, Line]) -> Iterator[str]:
    """The largest share of the fine-tune within each budget: gain kept, and points on the others."""
    yield "| budget, nats | gain kept, mean % | others, mean | others, worst |"
    yield "|---|---|---|---|"
    for budget in BUDGETS:
        places = [int(np.flatnonzero(line.divergence <= budget)[-1]) for line in lines.values()]
        kept = [line.gain_kept(place) for line, place in zip(lines.values(), places, strict=True)]
        lost = [line.lost(place) for line, place in zip(lines.values(), places, strict=True)]
        yield f"| {budget} | {np.mean(kept):.0f} | {np.mean(lost):+.2f} | {min(lost):+.2f} |"


def of_domains(lines: dict[str, Line]) -> Iterator[str]:
    """What the default budget means, domain by domain."""
    yield "| domain | base | fine-tuned | its others | share in budget | gain kept, % | others | at half |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, line in lines.items():
        place = int(np.flatnonzero(line.divergence <= DEFAULT)[-1])
        ends = f"{line.ndcg[0].mean():.1f} | {line.ndcg[-1].mean():.1f} | {line.lost(-1):+.1f}"
        yield (
            f"| {name} | {ends} | {SHARES[place]:.2f} | {line.gain_kept(place):.0f} | "
            f"{line.lost(place):+.2f} | {line.lost(HALF):+.2f} |"
        )


def of_objectives(lines: dict[str, Line]) -> Iterator[str]:
    """Gain kept on the rows not drawn, by what was maximised on the rows drawn."""
    yield "| examples | loss | nDCG@10 |"
    yield "|---|---|---|"
    for number in SIZES:
        cells = [_chosen_by(lines, objective, number) for objective in ("loss", "ndcg")]
        yield f"| {number} | {' | '.join(cells)} |"


def _chosen_by(lines: dict[str, Line], objective: str, number: int) -> str:
    generator = np.random.default_rng(0)
    means = []
    for _ in range(DRAWS):
        kept = []
        for line in lines.values():
            rows = generator.permutation(line.ndcg.shape[1])
            drawn, rest = rows[:number], rows[number:]
            values = line.ndcg if objective == "ndcg" else -line.loss
            worth = np.where(line.divergence <= DEFAULT, values[:, drawn].mean(axis=1), -np.inf)
            kept.append(line.gain_kept(int(worth.argmax()), rest))
        means.append(np.mean(kept))
    return f"{np.mean(means):.0f} ± {np.std(means):.0f}"
