from __future__ import annotations

from typing import TYPE_CHECKING

import mteb
import numpy as np
import pytest
import pytrec_eval
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer

from embedmerge.api import evaluate
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.scoring import score
from embedmerge.evaluation.store import ScoreStore
from embedmerge.evaluation.tasks import open_tasks
from embedmerge.retrieval.collection import read_collection
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from pathlib import Path


def encoder(folder: Path) -> Encoder:
    return Encoder(encoder_model(open_checkpoint(locate(str(folder)))))


def test_scores_equal_mtebs_own_encode_of_the_same_model(make_checkpoint, collection: Path) -> None:
    folder = make_checkpoint("prompted-scores", prompts={"query": "what is ", "document": "about "})
    (task,) = open_tasks([str(collection)], "target")
    ours = score(encoder(folder), task)
    wrapper = SentenceTransformerEncoderWrapper(SentenceTransformer(str(folder), device="cpu"))
    theirs = mteb.evaluate(wrapper, open_tasks([str(collection)], "target")[0].mteb_task, cache=None)
    means = theirs.task_results[0].scores["test"][0]
    assert ours.ndcg_at_10 == pytest.approx(100 * means["ndcg_at_10"], abs=1e-3)
    assert ours.recall_at_100 == pytest.approx(100 * means["recall_at_100"], abs=1e-3)
    assert 5 < ours.ndcg_at_10 < 100


def test_scores_of_single_queries_are_pytrec_evals(base: Path, collection: Path) -> None:
    (task,) = open_tasks([str(collection)], "target")
    found = score(encoder(base), task)
    data = read_collection(collection)
    model = encoder(base)
    documents = model.embed([f"{row['title']} {row['text']}" for row in data.corpus])
    queries = model.embed([row["text"] for row in data.queries])
    run = {
        query["id"]: {row["id"]: float(value) for row, value in zip(data.corpus, values, strict=True)}
        for query, values in zip(data.queries, queries @ documents.T, strict=True)
    }
    wanted = pytrec_eval.RelevanceEvaluator(data.qrels, {"ndcg_cut.10"}).evaluate(run)
    assert found.queries == len(found.per_query) == 20
    for query, values in wanted.items():
        assert found.per_query[query] == pytest.approx(100 * values["ndcg_cut_10"], abs=1e-3)
    assert found.ndcg_at_10 == pytest.approx(np.mean(list(found.per_query.values())), abs=1e-2)


def test_embeddings_of_a_large_corpus_lie_in_a_file(base: Path, collection: Path, monkeypatch) -> None:
    (task,) = open_tasks([str(collection)], "target")
    wanted = score(encoder(base), task)
    monkeypatch.setattr("embedmerge.evaluation.adapter.IN_MEMORY", 25)  # of 60 documents and 20 queries
    seen = []
    own = Encoder.embed
    monkeypatch.setattr(
        Encoder, "embed", lambda *args, **kwargs: seen.append(own(*args, **kwargs)) or seen[-1]
    )
    assert score(encoder(base), task) == wanted
    assert [isinstance(vectors, np.memmap) for vectors in seen].count(True) == 1


def test_two_models_under_one_folder_name_keep_their_own_scores(
    make_expert, base: Path, collection: Path, tmp_path: Path
) -> None:
    (task,) = open_tasks([str(collection)], "target")
    store = ScoreStore(tmp_path)
    kept = [
        score(encoder(make_expert("twin-scores", base=base, seed=seed, scale=0.5)), task, store)
        for seed in (1, 2)
    ]
    again = score(encoder(make_expert("twin-scores", base=base, seed=1, scale=0.5)), task, store)
    assert kept[0].per_query != kept[1].per_query
    assert again == kept[0]
    assert len(list((tmp_path / "queries").iterdir())) == 2


def test_a_store_file_cut_in_half_is_computed_again(base: Path, collection: Path, tmp_path: Path) -> None:
    (task,) = open_tasks([str(collection)], "target")
    store = ScoreStore(tmp_path)
    wanted = score(encoder(base), task, store)
    (file,) = (tmp_path / "queries").iterdir()
    file.write_text(file.read_text()[:100])
    assert score(encoder(base), task, store) == wanted


def test_a_hub_task_that_is_not_cached_says_so(base: Path) -> None:
    with pytest.raises(EmbedmergeError, match=r"NFCorpus: its data .* is not in the Hugging Face cache"):
        evaluate([str(base)], {"general": ["NFCorpus"]})
