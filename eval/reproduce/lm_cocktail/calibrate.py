"""Where the front's defaults come from: the guard's budget and the objective, on training splits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pools import read_pool

from embedmerge.atomic import write_json
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.strategy import MethodChoice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from study import Study

    Float64 = NDArray[np.float64]

SHARES = np.linspace(0, 1, 101)  # of the fine-tune
BUDGETS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.15)
DEFAULT = Guard().budget
CAUTION = (0.0, 0.5, 1.0, 2.0)  # standard errors
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
        strangers: Likewise over collections that no expert was tuned on; none in the small setting.
    """

    divergence: Float64
    ndcg: Float64
    loss: Float64
    others: Float64
    strangers: Float64

    def within(self, budget: float) -> int:
        """Place of the largest share that diverges so little."""
        return int(np.flatnonzero(self.divergence <= budget)[-1])

    def gain_kept(self, place: int, rows: NDArray[np.int64] | None = None, of: Line | None = None) -> float:
        """Percent of the fine-tune's gain on the target, of some rows or of all.

        Args:
            place: Of a share.
            rows: Queries that count.
            of: The line that ends at the fine-tune, where this one ends elsewhere.
        """
        values = self.ndcg if rows is None else self.ndcg[:, rows]
        tuned = (of or self).ndcg
        whole = tuned[-1].mean() - tuned[0].mean()
        return float(100 * (values[place].mean() - values[0].mean()) / whole)

    def lost(self, place: int) -> float:
        """Points on the others, to the base."""
        return float(self.others[place] - self.others[0])

    def lost_on_strangers(self, place: int) -> float:
        """Points on collections that no expert was tuned on, to the base."""
        return float(self.strangers[place] - self.strangers[0])


def calibrate(study: Study) -> None:
    """Write `guard_budget.md`, and the share of the fine-tune that each budget allows."""
    study.remember(study.pool_texts())
    lines = {name: line_of(study, name) for name in study.setting.targets}
    parts = [of_budgets(lines), of_domains(lines), of_objectives(lines, sorted(study.setting.sizes))]
    parts.append(of_caution(lines, study.setting.sizes[0]))
    by_method = {"linear": lines}
    if study.setting.strangers:
        by_method["iso_linear"] = {name: line_of(study, name, "iso_linear") for name in study.setting.targets}
        parts.append(of_methods(by_method))
    reach = {
        method: {
            name: [float(SHARES[line.within(budget)]) for budget in BUDGETS] for name, line in own.items()
        }
        for method, own in by_method.items()
    }
    write_json(study.work / "reach.json", {"budgets": BUDGETS, "shares": reach})
    text = "\n\n".join("\n".join(part) for part in parts)
    (study.work / "guard_budget.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def line_of(study: Study, name: str, method: str = "linear") -> Line:
    """Base and expert of one domain; its own held-out rows as target, those of the other seven as others.

    The others are encoded with linear mixtures alone.
    """
    domains = [other for other in study.setting.targets if other != name and method == "linear"]
    others = [Retrieval(other, pool_of(study, other)) for other in domains]
    strangers = [Retrieval(stranger, pool) for stranger, pool in study.strangers().items()]
    landscape = Landscape(
        study.trials(study.sources(name)),
        [Retrieval(name, pool_of(study, name))],
        [*Guard().grounds(), *others, *strangers],
        MethodChoice(method),
    )
    landscape.bend()
    weights = np.column_stack([1 - SHARES, SHARES])
    quality, losses = landscape.quality(weights), landscape.quality(weights, "loss")
    groups = quality.general.groups

    def mean_of(grounds: range) -> Float64:
        rows = np.flatnonzero(np.isin(groups, grounds))
        return quality.general.of_rows(rows).means if rows.size else np.zeros(len(SHARES))

    return Line(
        -mean_of(range(1)),
        quality.target.values,
        -losses.target.values,
        mean_of(range(1, 1 + len(others))),
        mean_of(range(1 + len(others), 1 + len(others) + len(strangers))),
    )


def pool_of(study: Study, name: str) -> Pool:
    """A domain's held-out rows."""
    return Pool.of_examples(read_pool(study, name))


def of_budgets(lines: dict[str, Line]) -> Iterator[str]:
    """The largest share of the fine-tune within each budget: gain kept, and points on the others."""
    yield "| budget, nats | gain kept, mean % | others, mean | worst | strangers, mean | worst |"
    yield "|---|---|---|---|---|---|"
    for budget in BUDGETS:
        kept = [line.gain_kept(line.within(budget)) for line in lines.values()]
        lost = [line.lost(line.within(budget)) for line in lines.values()]
        strange = [line.lost_on_strangers(line.within(budget)) for line in lines.values()]
        yield (
            f"| {budget} | {np.mean(kept):.0f} | {np.mean(lost):+.2f} | {min(lost):+.2f} | "
            f"{np.mean(strange):+.2f} | {min(strange):+.2f} |"
        )


def of_methods(lines: dict[str, dict[str, Line]]) -> Iterator[str]:
    """Gain kept and points on the strangers at each budget, by how experts are merged."""
    heads = [f"{method}: gain kept, % | strangers, mean | worst" for method in lines]
    yield f"| budget, nats | {' | '.join(heads)} |"
    yield "|---" * (1 + 3 * len(heads)) + "|"
    for budget in BUDGETS:
        cells = []
        for own in lines.values():
            kept = [
                line.gain_kept(line.within(budget), of=lines["linear"][name]) for name, line in own.items()
            ]
            strange = [line.lost_on_strangers(line.within(budget)) for line in own.values()]
            cells.append(f"{np.mean(kept):.0f} | {np.mean(strange):+.2f} | {min(strange):+.2f}")
        yield f"| {budget} | {' | '.join(cells)} |"


def of_domains(lines: dict[str, Line]) -> Iterator[str]:
    """What the default budget means, domain by domain."""
    yield (
        "| domain | base | fine-tuned | its others | share in budget | gain kept, % | others | strangers | "
        "others at half |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, line in lines.items():
        place = line.within(DEFAULT)
        ends = f"{line.ndcg[0].mean():.1f} | {line.ndcg[-1].mean():.1f} | {line.lost(-1):+.1f}"
        yield (
            f"| {name} | {ends} | {SHARES[place]:.2f} | {line.gain_kept(place):.0f} | "
            f"{line.lost(place):+.2f} | {line.lost_on_strangers(place):+.2f} | {line.lost(HALF):+.2f} |"
        )


def of_objectives(lines: dict[str, Line], sizes: Sequence[int]) -> Iterator[str]:
    """Gain kept on the rows not drawn, by what was maximised on the rows drawn."""
    yield "| examples | loss | nDCG@10 |"
    yield "|---|---|---|"
    for number in sizes:
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


def of_caution(lines: dict[str, Line], number: int) -> Iterator[str]:
    """The least share that so many rows cannot tell from the best within the budget, by standard errors."""
    yield "| standard errors | gain kept, % | strangers |"
    yield "|---|---|---|"
    for errors in CAUTION:
        generator = np.random.default_rng(0)
        kept, strange = [], []
        for line in [line for _ in range(DRAWS) for line in lines.values()]:
            rows = generator.permutation(line.ndcg.shape[1])
            place = _least_as_good(line, rows[:number], errors)
            kept.append(line.gain_kept(place, rows[number:]))
            strange.append(line.lost_on_strangers(place))
        yield f"| {errors:g} | {np.mean(kept):.0f} | {np.mean(strange):+.2f} |"


def _least_as_good(line: Line, rows: NDArray[np.int64], errors: float) -> int:
    values = -line.loss[: line.within(DEFAULT) + 1, rows]
    lead = values - values[values.mean(axis=1).argmax()]
    reach = lead.mean(axis=1) + errors * lead.std(axis=1, ddof=1) / np.sqrt(len(rows))
    return int(np.flatnonzero(reach >= 0)[0])
