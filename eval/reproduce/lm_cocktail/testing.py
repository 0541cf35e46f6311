"""The test splits: any mixture's scores from seventeen encodes, and the truth for the cells that count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from choose import key_of, read_choices
from domains import TARGETS

from embedmerge.atomic import write_json
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.landscape import Landscape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from study import Study

    Float64 = NDArray[np.float64]


class Tests:
    """All test sets under all mixtures of the base and the eight experts."""

    def __init__(self, study: Study) -> None:
        study.remember(study.test_texts())
        sources = study.sources(*TARGETS)
        self.names = [source.name for source in sources]
        self.sets = list(study.tests())
        grounds = [Retrieval(name, pool) for name, pool in study.tests().items()]
        self.landscape = Landscape(study.trials(sources), grounds, Guard(most=8).grounds())
        self.landscape.bend([edge for edge in self.landscape.mesh.edges if 0 in edge])

    def scores(self, weights: Sequence[dict[str, float]]) -> Float64:
        """Approximate nDCG@10 of mixtures on each set, shape (mixtures, sets)."""
        vectors = np.stack([self.vector(each) for each in weights])
        return self.landscape.quality(vectors).target.by_ground.T

    def true_scores(self, weights: dict[str, float]) -> Float64:
        """nDCG@10 of one really merged mixture on each set, shape (sets,)."""
        embedded = self.landscape.merged(self.vector(weights))
        return self.landscape.judged(embedded).target.by_ground[:, 0]

    def vector(self, weights: dict[str, float]) -> Float64:
        """Weights of all nine sources."""
        return np.array([weights.get(name, 0.0) for name in self.names])


def test(study: Study) -> None:
    """Score every choice, and base and experts; truth for the first draw of twenty."""
    tests = Tests(study)
    choices = read_choices(study)
    alone = {
        name: scores.tolist()
        for name, scores in zip(tests.names, tests.scores([{n: 1.0} for n in tests.names]), strict=True)
    }
    for choice, scores in zip(choices, tests.scores([choice["weights"] for choice in choices]), strict=True):
        choice["scores"] = scores.tolist()
    record: dict[str, Any] = {"sets": tests.sets, "alone": alone, "choices": choices}
    write_json(study.work / "scores.json", record)
    for choice in choices:
        if choice["seed"] == 0 and choice["examples"] in (0, 5, 20):
            path = study.work / "true" / f"{key_of(choice['weights'])}.json"
            if not path.exists():
                write_json(path, {"scores": tests.true_scores(choice["weights"]).tolist()})
                print(choice["target"], choice["row"], choice["examples"], flush=True)
