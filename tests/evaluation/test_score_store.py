from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytrec_eval
from mteb.cache import ResultCache

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import Checkpoint, open_checkpoint
from embedmerge.evaluation.adapter import Identity, MtebEncoder
from embedmerge.evaluation.scoring import score
from embedmerge.evaluation.store import ScoreStore, ranked
from embedmerge.evaluation.tasks import Task, open_tasks
from embedmerge.retrieval.collection import read_collection
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from pathlib import Path


def opened(folder: Path, **settings: object) -> tuple[Checkpoint, Encoder]:
    checkpoint = open_checkpoint(locate(str(folder)))
    return checkpoint, Encoder(encoder_model(checkpoint), EncodingSettings(**settings))


def scored(folder: Path, task: Task, store: ScoreStore, **settings: object) -> None:
    checkpoint, encoder = opened(folder, **settings)
    score(encoder, task, store, Identity.of(checkpoint, encoder))


def test_mtebs_own_cache_reads_the_results(base: Path, collection: Path, tmp_path: Path) -> None:
    (task,) = open_tasks([str(collection)], "target")
    checkpoint, encoder = opened(base)
    scores = score(encoder, task, ScoreStore(tmp_path), Identity.of(checkpoint, encoder))
    loaded = ResultCache(tmp_path).load_results(tasks=[task.mteb_task], validate_and_filter=False)
    (model,) = loaded.model_results
    (result,) = model.task_results
    assert model.model_name == f"local/{base.name}"
    assert model.model_revision == encoder.model.sha256
    assert 100 * result.get_score() == pytest.approx(scores.ndcg_at_10, abs=1e-3)
    assert result.evaluation_time >= 0


def test_models_of_one_folder_name_and_other_settings_lie_apart(
    make_expert, base: Path, collection: Path, tmp_path: Path
) -> None:
    (task,) = open_tasks([str(collection)], "target")
    store = ScoreStore(tmp_path)
    for seed in (1, 2):
        scored(make_expert("twin-results", base=base, seed=seed, scale=0.5), task, store)
    scored(make_expert("twin-results", base=base, seed=2, scale=0.5), task, store, max_seq_length=16)
    files = sorted(tmp_path.glob("results/local__twin-results/**/*.json"))
    results = [file for file in files if file.stem == task.name]
    assert len(results) == 3
    assert sum("experiments" in file.parts for file in results) == 1
    assert len({json.loads(file.read_text())["scores"]["test"][0]["ndcg_at_10"] for file in results}) == 3


def test_a_run_file_gives_pytrec_eval_the_same_scores(base: Path, collection: Path, tmp_path: Path) -> None:
    (task,) = open_tasks([str(collection)], "target")
    store = ScoreStore(tmp_path, runs=True)
    _, encoder = opened(base)
    scores = score(encoder, task, store)
    with store.run_path(encoder, task).open() as handle:
        run = pytrec_eval.parse_run(handle)
    found = pytrec_eval.RelevanceEvaluator(read_collection(collection).qrels, {"ndcg_cut.10"}).evaluate(run)
    assert {
        query: pytest.approx(100 * values["ndcg_cut_10"], abs=1e-3) for query, values in found.items()
    } == (scores.per_query)
    assert {query: ranked(documents)[:10] for query, documents in run.items()} == scores.ranked


def test_scores_without_a_run_are_not_finished_where_runs_are_wanted(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    (task,) = open_tasks([str(collection)], "target")
    _, encoder = opened(base)
    kept = score(encoder, task, ScoreStore(tmp_path))
    wanted = ScoreStore(tmp_path, runs=True)
    assert wanted.load(encoder, task) is None
    assert score(encoder, task, wanted) == kept
    assert wanted.run_path(encoder, task).exists()


def test_other_content_of_a_task_makes_its_scores_stale(base: Path, collection: Path, tmp_path: Path) -> None:
    (task,) = open_tasks([str(collection)], "target")
    store = ScoreStore(tmp_path)
    _, encoder = opened(base)
    kept = score(encoder, task, store)
    assert store.load(encoder, task) == kept
    assert store.load(encoder, replace(task, content="another corpus")) is None


def test_a_hub_model_keeps_its_name_and_commit(base: Path) -> None:
    checkpoint, encoder = opened(base)
    location = replace(checkpoint.location, given="BAAI/bge-small-en-v1.5", revision="5c38ec7")
    meta = MtebEncoder(encoder, Identity.of(replace(checkpoint, location=location), encoder)).mteb_model_meta
    assert (meta.name, meta.revision) == ("BAAI/bge-small-en-v1.5", "5c38ec7")


def test_prompts_of_a_task_go_before_the_models_own(
    make_checkpoint, collection: Path, tmp_path: Path
) -> None:
    plain = make_checkpoint("prompts-none")
    prompted = make_checkpoint("prompts-own", prompts={"query": "what is ", "document": "about "})
    (task,) = open_tasks([str(collection)], "target")
    stated = replace(task, prompts={"query": "what is ", "document": "about "})
    silent = replace(task, prompts={"query": "", "document": ""})
    store = ScoreStore(tmp_path)
    scores = {
        (folder.name, prompts): score(opened(folder)[1], named, store).per_query
        for folder in (plain, prompted)
        for prompts, named in (("own", task), ("stated", stated), ("silent", silent))
    }
    assert scores["prompts-none", "stated"] == scores["prompts-own", "own"]
    assert scores["prompts-none", "own"] == scores["prompts-own", "silent"]
    assert scores["prompts-none", "own"] != scores["prompts-none", "stated"]
