"""mteb's numbers beside those of other implementations, on the same runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ir_measures
import mteb
import numpy as np
import pytest
from ir_measures import R, nDCG
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores
from mteb.models import SearchEncoderWrapper
from mteb.models.search_encoder_index import FaissSearchIndex
from sklearn.metrics import ndcg_score

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.evaluation.adapter import MtebEncoder
from embedmerge.evaluation.compare import compare
from embedmerge.evaluation.scores import TaskScores
from embedmerge.evaluation.scoring import score
from embedmerge.evaluation.tasks import open_tasks
from embedmerge.retrieval.collection import read_collection
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [f"d{number}" for number in range(160)]
Run = dict[str, dict[str, float]]
Qrels = dict[str, dict[str, int]]


def encoder(folder: Path) -> Encoder:
    return Encoder(encoder_model(open_checkpoint(locate(str(folder)))))


def judged_run(decimals: int) -> tuple[Run, Qrels]:
    """Graded judgements, some of them of documents that were not found, and scores with ties."""
    random = np.random.default_rng(decimals)
    run: Run = {}
    qrels: Qrels = {}
    for number in range(40):
        found = random.choice(DOCUMENTS, 120, replace=False)
        run[f"q{number}"] = {
            str(document): float(value)
            for document, value in zip(found, random.random(120).round(decimals), strict=True)
        }
        judged = random.choice(DOCUMENTS, int(random.integers(1, 30)), replace=False)
        qrels[f"q{number}"] = {str(document): int(random.integers(0, 4)) for document in judged}
    return run, qrels


def by_query(run: Run, qrels: Qrels) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {query: {} for query in qrels}
    for metric in ir_measures.iter_calc([nDCG @ 10, R @ 100], qrels, run):
        found[metric.query_id][str(metric.measure)] = metric.value
    return found


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_mtebs_measures_are_those_of_ir_measures(decimals: int) -> None:
    run, qrels = judged_run(decimals)
    ours = calculate_retrieval_scores(run, qrels, [10, 100]).all_scores
    theirs = by_query(run, qrels)
    for query in qrels:
        assert ours[query]["ndcg_cut_10"] == pytest.approx(theirs[query]["nDCG@10"], abs=1e-6)
        assert ours[query]["recall_100"] == pytest.approx(theirs[query]["R@100"], abs=1e-6)


def test_without_ties_ndcg_is_scikit_learns() -> None:
    run, qrels = judged_run(12)
    ours = calculate_retrieval_scores(run, qrels, [10, 100]).all_scores
    for query, grades in qrels.items():
        truth = [[grades.get(document, 0) for document in DOCUMENTS]]
        guess = [[run[query].get(document, -1.0) for document in DOCUMENTS]]
        assert ours[query]["ndcg_cut_10"] == pytest.approx(ndcg_score(truth, guess, k=10), abs=1e-6)


def test_scores_of_a_model_are_those_of_ir_measures_on_its_run(base: Path, collection: Path) -> None:
    (task,) = open_tasks([str(collection)], "target")
    model = encoder(base)
    found = score(model, task)
    data = read_collection(collection)
    documents = model.embed([f"{row['title']} {row['text']}" for row in data.corpus])
    queries = model.embed([row["text"] for row in data.queries])
    run = {
        query["id"]: {row["id"]: float(value) for row, value in zip(data.corpus, values, strict=True)}
        for query, values in zip(data.queries, queries @ documents.T, strict=True)
    }
    theirs = by_query(run, data.qrels)
    for query, points in found.per_query.items():
        assert points / 100 == pytest.approx(theirs[query]["nDCG@10"], abs=1e-6)
    mean = np.mean([values["nDCG@10"] for values in theirs.values()])
    assert found.ndcg_at_10 / 100 == pytest.approx(mean, abs=1e-5)  # which mteb rounds to five decimals


class Forgetful(FaissSearchIndex):
    """An index that finds nothing for the first query."""

    def search(self, *args: Any, **kwargs: Any) -> tuple[list[list[float]], list[list[int]]]:
        similarities, rows = super().search(*args, **kwargs)
        return [[], *similarities[1:]], [[], *rows[1:]]


class Silent(SearchEncoderWrapper):
    """A searcher that does not mention the first query at all."""

    def search(self, *args: Any, **kwargs: Any) -> dict[str, dict[str, float]]:
        results = super().search(*args, **kwargs)
        return {query: results[query] for query in list(results)[1:]}


def points_of(search: Any, collection: Path) -> tuple[float, dict[str, float]]:
    """Mean by mteb, and every query's own."""
    (task,) = open_tasks([str(collection)], "target")
    caught: dict[str, float] = {}

    def keep(scores: dict[str, dict[str, float]], *_: Any, **__: Any) -> dict[str, float]:
        caught.update({query: 100 * values["ndcg_cut_10"] for query, values in scores.items()})
        return {}

    task.mteb_task.task_specific_scores = keep
    result = mteb.evaluate(search, task.mteb_task, cache=None, co2_tracker=False, show_progress_bar=False)
    return 100 * result.task_results[0].scores["test"][0]["ndcg_at_10"], caught


def test_a_query_without_a_result_counts_nothing(base: Path, collection: Path) -> None:
    model = MtebEncoder(encoder(base))
    whole, queries = points_of(SearchEncoderWrapper(model, index_backend=FaissSearchIndex(model)), collection)
    mean, found = points_of(SearchEncoderWrapper(model, index_backend=Forgetful(model)), collection)
    first = read_collection(collection).queries[0]["id"]
    assert found == {**queries, first: 0}
    assert mean == pytest.approx(whole - queries[first] / len(queries), abs=1e-3)


def test_a_query_that_is_not_mentioned_counts_nothing_in_a_comparison(base: Path, collection: Path) -> None:
    model = MtebEncoder(encoder(base))
    index = FaissSearchIndex(model)
    points = {
        "all": points_of(SearchEncoderWrapper(model, index_backend=index), collection),
        "silent": points_of(Silent(model, index_backend=index), collection),
    }
    (missing,) = set(points["all"][1]) - set(points["silent"][1])
    scores = {
        name: [TaskScores("animals", "test", "target", len(found), mean, 0.0, found)]
        for name, (mean, found) in points.items()
    }
    lost = compare(scores, base="all").means["target"]["silent"].to_base
    assert lost is not None
    assert lost.points == pytest.approx(-points["all"][1][missing] / 20, abs=1e-3)
    assert lost.wins + lost.ties + lost.losses == 20
