"""The test splits: any mixture's scores from seventeen encodes, and the truth for the cells that count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ceilings import best_of_pool
from choose import FEW, LM_ALL, key_of, read_choices
from hindsight import triangle

from embedmerge.atomic import write_json
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.strategy import MethodChoice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from study import Study

    Float64 = NDArray[np.float64]


SHARES = np.round(np.linspace(0, 1, 41), 3)  # of the fine-tune, on the line from the base


@dataclass(frozen=True)
class World:
    """Which models can be weighed, and how.

    Attributes:
        experts: Domains.
        method: How they are merged.
        pool: How all experts are merged into one more of them.
    """

    experts: tuple[str, ...]
    method: str = "linear"
    pool: str | None = None

    @classmethod
    def of_choice(cls, study: Study, choice: dict[str, Any]) -> World:
        """Of all experts, but of a merged pool and the target's alone where there is one."""
        experts = (choice["target"],) if choice["pool"] else study.setting.targets
        return cls(experts, choice["method"], choice["pool"])


class Tests:
    """All test sets under all mixtures of some models."""

    def __init__(self, study: Study, world: World) -> None:
        if not world.pool:
            study.remember(study.test_texts(), world.method)
        sources = study.sources(*world.experts, pool=world.pool)
        self.names = [source.name for source in sources]
        grounds = [Retrieval(name, pool) for name, pool in study.tests().items()]
        self.trials = study.trials(sources)
        self.landscape = Landscape(self.trials, grounds, Guard(most=8).grounds(), MethodChoice(world.method))
        edges = self.landscape.mesh.edges
        self.landscape.bend(edges if world.pool else [edge for edge in edges if 0 in edge])

    def scores(self, weights: Sequence[dict[str, float]]) -> Float64:
        """Approximate nDCG@10 of mixtures on each set, shape (mixtures, sets)."""
        return self.of_vectors(np.stack([self.vector(each) for each in weights]))

    def of_vectors(self, weights: Float64) -> Float64:
        """The same, from weights of all sources, shape (mixtures, sources)."""
        return self.landscape.quality(weights).target.by_ground.T

    def true_scores(self, weights: dict[str, float]) -> Float64:
        """nDCG@10 of one really merged mixture on each set, shape (sets,)."""
        embedded = self.landscape.merged(self.vector(weights))
        return self.landscape.judged(embedded).target.by_ground[:, 0]

    def true_scores_of(self, coefficients: Coefficients) -> Float64:
        """The same for coefficients that may differ from block to block."""
        weights = {name: coefficients.weights.get(name, 0.0) for name in self.names}
        mixture = Mixture(Coefficients(weights, coefficients.by_tensor), dtype="float32")
        with self.trials.of_mixture(mixture) as encoder:
            embedded = self.landscape.encoded(encoder)
        return self.landscape.judged(embedded).target.by_ground[:, 0]

    def line(self, target: str) -> list[list[float]]:
        """Scores from the base to an expert, shape (shares, sets)."""
        return self.scores([{"base": 1 - share, target: share} for share in SHARES.tolist()]).tolist()

    def vector(self, weights: dict[str, float]) -> Float64:
        """Weights of all sources."""
        return np.array([weights.get(name, 0.0) for name in self.names])


def test(study: Study) -> None:
    """Score base, experts, the lines between them, and every choice."""
    choices = read_choices(study)
    record: dict[str, Any] = {"sets": list(study.tests()), "lines": {}, "ceilings": {}, "choices": choices}
    record["triangles"] = {}
    for world, own in worlds_of(study, choices).items():
        tests = Tests(study, world)
        places = [record["sets"].index(name) for name in world.experts]
        if world.method == "linear":
            found = best_of_pool(tests.of_vectors, len(tests.names), places)
            label = f"2 models and {world.pool} of all" if world.pool else "all, linear"
            record["ceilings"].setdefault(label, {}).update(zip(world.experts, found, strict=True))
        if world.pool:
            record["triangles"] |= {target: triangle(tests, world.pool, target) for target in world.experts}
        else:
            record["lines"][world.method] = {target: tests.line(target) for target in world.experts}
        if world == World(study.setting.targets):
            alone = tests.scores([{name: 1.0} for name in tests.names])
            record["alone"] = dict(zip(tests.names, alone.tolist(), strict=True))
        for choice, scores in zip(own, tests.scores([each["weights"] for each in own]), strict=True):
            choice["scores"] = scores.tolist()
    write_json(study.work / "scores.json", record)


def truth(study: Study) -> None:
    """Merge and encode the first draw of some rows."""
    first = [choice for choice in read_choices(study) if is_first(study, choice)]
    wanted = [choice for row in study.setting.confirmed for choice in first if choice["row"] == row]
    missing = [choice for choice in wanted if not true_file(study, choice).exists()]
    for world, own in worlds_of(study, missing).items():
        tests = Tests(study, world)
        for choice in own:
            scores = tests.true_scores(choice["weights"])
            write_json(true_file(study, choice), {"scores": scores.tolist()})
            print(choice["target"], choice["row"], flush=True)


def worlds_of(study: Study, choices: Sequence[dict[str, Any]]) -> dict[World, list[dict[str, Any]]]:
    """Choices by what was to be weighed."""
    found: dict[World, list[dict[str, Any]]] = {}
    for choice in choices:
        found.setdefault(World.of_choice(study, choice), []).append(choice)
    return found


def true_file(study: Study, choice: dict[str, Any]) -> Path:
    """Where the true scores of a choice lie."""
    return study.work / "true" / f"{key_of(choice)}.json"


def is_first(study: Study, choice: dict[str, Any]) -> bool:
    """Whether it is of the draw that targets are compared by."""
    number = FEW if choice["row"] == LM_ALL else study.setting.sizes[0]
    return choice["seed"] == study.setting.seeds[0] and choice["examples"] == number
