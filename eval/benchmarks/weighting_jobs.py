"""One measured part of `weighting.py`, as a process of its own: JOB SETTINGS.json OUT.json."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embedmerge.cli.console import quiet_libraries
from embedmerge.weighting.guarded import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from embedmerge.sources import SourceSpec
    from embedmerge.weighting.examples import Example
    from embedmerge.weighting.guarded import Judge
    from embedmerge.weighting.mesh import Mesh
    from embedmerge.weighting.ranking import Relevance
    from embedmerge.weighting.strategy import Evidence
    from embedmerge.weighting.surrogate import PairScores

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Rows = NDArray[np.int64]

NEGATIVES = 7
MIXED = 20  # mixtures that the plain way scores beside the surrogate
SCORINGS = 3


@dataclass
class Clock:
    """Wall and CPU seconds by part, the start of the process among them.

    Attributes:
        began: When the process was asked for, in seconds since the epoch.
        spent: Part -> wall and CPU seconds.
    """

    began: float
    spent: dict[str, dict[str, float]] = field(default_factory=dict)

    def started(self) -> None:
        """All that was done up to now was to start."""
        self.spent["start"] = {"wall_s": time.time() - self.began, "cpu_s": time.process_time()}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done in the context."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.spent[name] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def prepare(folder: str, examples: int, began: float) -> dict[str, Any]:
    """The demo's sources, and examples from the target's dev split with the base's best wrong passages."""
    import yaml

    from embedmerge.cli.console import Screen
    from embedmerge.demo.assets import CHARACTERS, TARGET
    from embedmerge.demo.assets import prepare as prepare_demo
    from embedmerge.harvest import harvest_library, split_of

    with Screen() as screen:
        recipe = prepare_demo(screen).recipe
    demo = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    base = str(recipe.parent / demo["base"])
    experts = [[each["name"], str(recipe.parent / each["path"]), each["role"]] for each in demo["experts"]]
    rows = [row for row in harvest_library(TARGET, characters=CHARACTERS) if split_of(row.name) == "dev"]
    mined = mined_examples(base, [(row.summary, row.body) for row in rows], examples)
    path = Path(folder) / f"examples-{examples}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in mined), encoding="utf-8")
    passages = {passage for row in mined for passage in (*row["pos"], *row["neg"])}
    return {
        "sources": [["base", base, "base"], *experts],
        "examples": str(path),
        "number": len(mined),
        "passages": len(passages),
    }


def mined_examples(base: str, pairs: Sequence[tuple[str, str]], number: int) -> list[dict[str, Any]]:
    """Evenly drawn pairs, each with the passages of others that the base ranks highest."""
    from embedmerge.checkpoint.hub import locate
    from embedmerge.checkpoint.layout import open_checkpoint
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.sources import encoder_model

    encoder = Encoder(encoder_model(open_checkpoint(locate(base))), encoding("auto"))
    drawn = np.unique(np.linspace(0, len(pairs) - 1, number).astype(int))
    passages = encoder.embed([passage for _, passage in pairs])
    queries = encoder.embed([pairs[row][0] for row in drawn])
    ranked = np.argsort(-(queries @ passages.T), axis=1, kind="stable")
    mined = []
    for row, order in zip(drawn, ranked, strict=True):
        query, passage = pairs[row]
        wrong = [pairs[other][1] for other in order if pairs[other][1] != passage][:NEGATIVES]
        mined.append({"query": query, "pos": [passage], "neg": wrong})
    return mined


def rate(mixtures: int, queries: int, candidates: int, dimension: int, began: float) -> dict[str, Any]:
    """nDCG@10 of many mixtures of three sources from made-up features, and of a few the plain way."""
    import torch

    from embedmerge.weighting.mesh import Mesh
    from embedmerge.weighting.ranking import Relevance, ndcg_at
    from embedmerge.weighting.surrogate import PairScores

    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    mesh = Mesh.of(3)
    mesh = mesh.with_midpoints(mesh.edges)
    sides = made_up(mesh, queries, dimension, rng), made_up(mesh, 10 * queries, dimension, rng)
    rows = np.stack([rng.choice(10 * queries, candidates, replace=False) for _ in range(queries)])
    relevance = Relevance(np.zeros((queries, 1), np.int64), np.ones((queries, 1), np.float32))
    features = mesh.features(rng.dirichlet(np.ones(3), size=mixtures)).astype(np.float32)
    clock = Clock(began)
    clock.started()
    with torch.inference_mode():
        with clock.part("quadratic forms"):
            scores = PairScores(*sides, rows)
        with clock.part("surrogate"):
            found = from_surrogate(scores, torch.from_numpy(features), relevance)
        with clock.part("plain"):
            plain = torch.cat(
                [ndcg_at(mixed_scores(each, *sides, rows), relevance) for each in features[:MIXED]]
            )
    return {
        "mixtures": mixtures,
        "plain_mixtures": len(plain),
        "spent": clock.spent,
        "largest_difference": float(100 * (found[: len(plain)] - plain).mean(dim=1).abs().max()),
    }


def made_up(mesh: Mesh, texts: int, dimension: int, rng: np.random.Generator) -> Float32:
    """Features of three related sources whose midpoints lie a little off the straight line."""
    from embedmerge.weighting.surrogate import mesh_features

    def noise(scale: float) -> Float32:
        return np.float32(scale) * rng.standard_normal((texts, dimension), dtype=np.float32)

    base = noise(1.0)
    corners = [base, base + noise(0.5), base + noise(0.5)]
    half = np.float32(0.5)
    middles = [half * (corners[first] + corners[second]) + noise(0.05) for first, second in mesh.curved]
    return mesh_features(mesh, corners, middles)


def from_surrogate(scores: PairScores, features: torch.Tensor, relevance: Relevance) -> torch.Tensor:
    """nDCG@10 of every mixture and query."""
    import torch

    from embedmerge.weighting.ranking import ndcg_at

    batches = scores.batches(len(features))
    return torch.cat([ndcg_at(scores(features[batch]), relevance) for batch in batches])


def mixed_scores(features: Float32, queries: Float32, passages: Float32, rows: Rows) -> torch.Tensor:
    """Cosines of one mixture from its mixed embeddings, shape (1, queries, candidates)."""
    import torch

    first, second = (
        torch.nn.functional.normalize(torch.tensordot(torch.from_numpy(features), torch.from_numpy(side), 1))
        for side in (queries, passages)
    )
    return torch.einsum("qd,qcd->qc", first, second[torch.from_numpy(rows)])[None]


def weigh(inputs: dict[str, Any], precision: str, began: float) -> dict[str, Any]:
    """The whole of `embedmerge.api.weigh` with the front, as a user calls it."""
    import torch

    from embedmerge import api
    from embedmerge.weighting.front import Front

    clock = Clock(began)
    clock.started()
    with clock.part("weigh"):
        choice = api.weigh(specs(inputs), Front(**judged_by(inputs)), encoding(precision))
    selection = choice.selection
    if selection is None:
        raise SystemExit("the front gave no selection")
    return {
        "weights": choice.coefficients.weights,
        "rounds": selection.confirmation.rounds,
        "encodes": selection.confirmation.encodes,
        "guarded": selection.guarded,
        "bf16": encoding(precision).bf16,
        "threads": torch.get_num_threads(),
        "spent": clock.spent,
    }


def choose(
    inputs: dict[str, Any], precision: str, mixtures: list[list[float]], began: float
) -> dict[str, Any]:
    """Choose among given mixtures, or all of the front where none are given, and confirm by a true encode."""
    from sentence_transformers import SentenceTransformer  # noqa: F401 - loaded as part of the start

    from embedmerge.weighting.front import Front
    from embedmerge.weighting.survey import Survey

    clock = Clock(began)
    clock.started()
    listed = tuple(tuple(row) for row in mixtures)
    seen = judged_by(inputs)
    strategy = Listed(**seen, mixtures=listed) if listed else Front(**seen)
    with clock.part("encode"):
        survey = Survey(strategy, evidence(inputs, precision))
        judge = survey.judge(survey.choosing)
    edges = survey.landscape.encodes
    with clock.part("choose and confirm"):
        chosen = survey.confirmed(judge)
    points = strategy.points(judge)
    scorings = []
    for _ in range(SCORINGS):
        with clock.part("scoring"):
            judge.best(points)
        scorings.append(clock.spent.pop("scoring"))
    return {
        "weights": chosen.weights.tolist(),
        "mixtures": len(points),
        "encodes_before": edges,
        "encodes": survey.landscape.encodes,
        "rounds": chosen.confirmation.rounds,
        "scoring": {key: statistics.median(each[key] for each in scorings) for key in scorings[0]},
        "spent": clock.spent,
    }


class Listed(Guarded):
    """The best of given mixtures above the floor."""

    strategy: Literal["listed"] = "listed"
    mixtures: tuple[tuple[float, ...], ...]

    def points(self, judge: Judge) -> Float64:
        """The given mixtures."""
        return np.array(self.mixtures)

    def pick(self, judge: Judge) -> Float64:
        """The best of them."""
        points = self.points(judge)
        picked: Float64 = points[judge.best(points)]
        return picked


def naive(
    inputs: dict[str, Any], precision: str, mixtures: list[list[float]], journal: str, began: float
) -> dict[str, Any]:
    """Merge, load, encode and score every mixture, the base being the first; finished ones are kept."""
    plain = PlainScorer(inputs, precision, Path(journal))
    clock = Clock(began)
    clock.started()
    for place, weights in enumerate(mixtures):
        kept = Path(journal) / f"{place:04}.json"
        if not kept.exists():
            kept.write_text(json.dumps(plain.measured(weights)) + "\n", encoding="utf-8")
            print(f"naive: {place + 1} of {len(mixtures)}", file=sys.stderr, flush=True)
    return {
        "spent": clock.spent,
        "texts": len(plain.texts),
        "bf16": plain.settings.bf16,
        "budget": plain.budget,
    }


class PlainScorer:
    """What one does without embedmerge's weighting: a folder, a SentenceTransformer, all texts, the measures.

    Args:
        inputs: Sources and examples.
        precision: Of encoding.
        folder: Keeps the base's similarities, and the merged model while it is looked at.

    Attributes:
        settings: How texts are encoded.
        budget: Divergence from the base that a choice may have, in nats.
    """

    def __init__(self, inputs: dict[str, Any], precision: str, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer  # noqa: F401 - loaded as part of the start

        from embedmerge.weighting.ground import Preservation
        from embedmerge.weighting.pool import Pool, candidates_of

        self.settings = encoding(precision)
        self._specs = specs(inputs)
        self._folder = folder
        self._pool = Pool.of_examples(examples(inputs))
        guard = judged_by(inputs)["guard"]
        self.budget = guard.budget
        (self._guard,) = (each for each in guard.grounds() if isinstance(each, Preservation))
        everything = np.tile(np.arange(len(self._pool.passages)), (len(self._pool.queries), 1))
        self._rows, self._relevance = candidates_of(self._pool, [everything])

    @cached_property
    def texts(self) -> list[str]:
        """Queries, passages and guard texts; MiniLM puts no prompt before any of them."""
        return [*self._pool.queries, *self._pool.passages, *self._guard.passages]

    def measured(self, weights: Sequence[float]) -> dict[str, Any]:
        """Target nDCG@10 in points, divergence from the base in nats, negated, and what it took."""
        import torch
        from sentence_transformers import SentenceTransformer

        from embedmerge import api

        clock = Clock(0.0)
        folder = self._folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        with clock.part("merge"):
            api.merge(self._specs, weights, folder)
        with clock.part("load"):
            model = SentenceTransformer(str(folder), local_files_only=True)
            model.max_seq_length = self.settings.max_seq_length
        with (
            clock.part("encode"),
            torch.autocast(model.device.type, torch.bfloat16, enabled=self.settings.bf16),
        ):
            embedded = model.encode(self.texts, show_progress_bar=False, normalize_embeddings=True)
        with clock.part("score"):
            target, general = self._scored(embedded)
        shutil.rmtree(folder)
        return {"weights": list(weights), "target": target, "general": general, "spent": clock.spent}

    def _scored(self, embedded: Float32) -> tuple[float, float]:
        import torch

        from embedmerge.weighting.ranking import divergence, ndcg_at

        first = len(self._pool.queries)
        second = first + len(self._pool.passages)
        queries, passages, guard = embedded[:first], embedded[first:second], embedded[second:]
        found = np.take_along_axis(queries @ passages.T, self._rows, axis=1)
        ndcg = ndcg_at(torch.from_numpy(found[None]), self._relevance)
        settled = self._guard.settle([], cosine=True)
        similar = np.take_along_axis(guard @ guard.T, np.maximum(settled.candidates, 0), axis=1)
        similar[settled.candidates < 0] = -np.inf
        of_base = self._folder / "base.npy"
        if not of_base.exists():  # the first mixture is the base
            np.save(of_base, similar)
        here, there = (torch.from_numpy(each[None]) for each in (similar, np.load(of_base)))
        kept = -divergence(here, there, settled.temperature)
        return float(100 * ndcg.mean()), float(kept.mean())


def specs(inputs: dict[str, Any]) -> list[SourceSpec]:
    """Base first."""
    from embedmerge.sources import SourceSpec

    return [SourceSpec(*source) for source in inputs["sources"]]


def judged_by(inputs: dict[str, Any]) -> dict[str, Any]:
    """Examples, guard and objective, as a strategy takes them; the naive way has the same."""
    from embedmerge.weighting.guard import Guard

    guard = Guard(most=inputs["guarded"])
    return {"examples": inputs["examples"], "guard": guard, "objective": "ndcg_at_10"}


def examples(inputs: dict[str, Any]) -> list[Example]:
    """The different ones."""
    from embedmerge.weighting.examples import distinct_examples, load_examples

    loaded = load_examples(Path(inputs["examples"]))
    return distinct_examples(loaded, len(loaded), seed=0)


def evidence(inputs: dict[str, Any], precision: str) -> Evidence:
    """As `embedmerge.api.choose` makes it."""
    from embedmerge.retrieval.cache import EmbeddingCache
    from embedmerge.sources import open_sources
    from embedmerge.weighting.strategy import Evidence
    from embedmerge.weighting.trial import Trials

    sources, _ = open_sources(specs(inputs))
    trials = Trials(sources, encoding(precision), EmbeddingCache.of_user())
    return Evidence(sources, examples(inputs), trials)


def encoding(precision: str) -> Any:
    """The demo's settings with `auto`, a user's who says nothing with `fp32`."""
    from embedmerge.retrieval.settings import EncodingSettings

    if precision == "fp32":
        return EncodingSettings()
    return EncodingSettings(precision="auto", max_seq_length=128)


def main() -> None:
    """Run the named job and write what it gives."""
    job, settings, output = sys.argv[1:]
    jobs: dict[str, Callable[..., dict[str, Any]]] = {
        "prepare": prepare,
        "rate": rate,
        "weigh": weigh,
        "choose": choose,
        "naive": naive,
    }
    with quiet_libraries():
        content = jobs[job](**json.loads(Path(settings).read_text(encoding="utf-8")))
    Path(output).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
