"""LangChain, LlamaIndex and Haystack with a merged model: the same top three as `embedmerge search`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rag_models import LIBRARIES, PROMPTS, demo_corpus

for library in LIBRARIES:
    pytest.importorskip(library, reason=f"{library} is of the extra `rag`, which is not installed")

from haystack import Document as HaystackDocument
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from langchain_community.vectorstores import FAISS
from langchain_huggingface import HuggingFaceEmbeddings
from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.faiss import FaissVectorStore

from embedmerge.api import index
from embedmerge.bundle import BundleSettings, Deletion, Searcher

K = 3
PROMPT = PROMPTS["query"]


@dataclass(frozen=True)
class Scene:
    """What is asked, of what, and what `embedmerge search` answers."""

    model: str
    bundle: Path
    questions: list[str]
    ids: list[list[str]]
    scores: list[list[float]]
    passages: dict[str, str]


@pytest.fixture(scope="module")
def scene(merged_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder, model = tmp_path_factory.mktemp("rag"), str(merged_model)
    corpus, questions = demo_corpus(folder)
    layouts = BundleSettings(layouts=("langchain", "llama-index", "haystack"))
    index(model, corpus, folder / "bundle", settings=layouts)
    searcher = Searcher.open(folder / "bundle")
    answers = searcher.search(questions, K)
    return Scene(
        model,
        folder / "bundle",
        questions,
        [[hit.passage.id for hit in answer.hits] for answer in answers],
        [[hit.score for hit in answer.hits] for answer in answers],
        {passage.id: passage.encoded for passage in searcher.bundle.passages},
    )


@pytest.fixture(scope="module")
def embeddings(scene: Scene) -> HuggingFaceEmbeddings:
    return HuggingFaceEmbeddings(model_name=scene.model, query_encode_kwargs={"prompt_name": "query"})


@pytest.fixture(scope="module")
def embed_model(scene: Scene) -> HuggingFaceEmbedding:
    return HuggingFaceEmbedding(scene.model, query_instruction=PROMPT, text_instruction="")


@pytest.fixture(scope="module")
def embedder(scene: Scene) -> SentenceTransformersTextEmbedder:
    return SentenceTransformersTextEmbedder(model=scene.model, prefix=PROMPT, progress_bar=False)


def test_there_are_ten_questions_and_half_of_them_or_more_find_their_passage(scene: Scene) -> None:
    assert len(set(scene.questions)) == 10
    queries = [json.loads(line) for line in (scene.bundle.parent / "reference" / "queries.jsonl").open()]
    own = {row["text"]: row["_id"].removeprefix("q:") for row in queries}
    assert sum(own[asked] in ids for asked, ids in zip(scene.questions, scene.ids, strict=True)) >= 5


def test_langchain_opens_the_layout(scene: Scene, embeddings: HuggingFaceEmbeddings) -> None:
    store = FAISS.load_local(
        str(scene.bundle / "langchain"), embeddings, allow_dangerous_deserialization=True
    )
    assert [
        [found.id for found in store.similarity_search(asked, k=K)] for asked in scene.questions
    ] == scene.ids
    hits = store.similarity_search_with_relevance_scores(scene.questions[0], k=K)
    relevance = [score for _, score in hits]
    assert 1 >= relevance[0] > relevance[1] > relevance[2] >= 0
    passage = hits[0][0]
    assert passage.page_content == scene.passages[scene.ids[0][0]]
    assert passage.metadata["source"] == "reference/corpus.jsonl"


def test_langchain_encodes_the_corpus_itself(scene: Scene, embeddings: HuggingFaceEmbeddings) -> None:
    store = FAISS.from_texts(list(scene.passages.values()), embeddings, ids=list(scene.passages))
    assert [
        [found.id for found in store.similarity_search(asked, k=K)] for asked in scene.questions
    ] == scene.ids


def test_llama_index_opens_the_layout(scene: Scene, embed_model: HuggingFaceEmbedding) -> None:
    folder = str(scene.bundle / "llama-index")
    vectors = FaissVectorStore.from_persist_dir(folder)
    storage = StorageContext.from_defaults(vector_store=vectors, persist_dir=folder)
    opened = load_index_from_storage(storage, embed_model=embed_model)
    hits = [opened.as_retriever(similarity_top_k=K).retrieve(asked) for asked in scene.questions]
    assert [[hit.node.node_id for hit in each] for each in hits] == scene.ids
    for each, scores in zip(hits, scene.scores, strict=True):
        assert [hit.score for hit in each] == pytest.approx(scores, abs=1e-5)
    assert hits[0][0].node.text == scene.passages[scene.ids[0][0]]
    assert hits[0][0].node.ref_doc_id == scene.ids[0][0]


def test_llama_index_encodes_the_corpus_itself(scene: Scene, embed_model: HuggingFaceEmbedding) -> None:
    nodes = [TextNode(id_=name, text=text) for name, text in scene.passages.items()]
    retriever = VectorStoreIndex(nodes, embed_model=embed_model).as_retriever(similarity_top_k=K)
    found = [[hit.node.node_id for hit in retriever.retrieve(asked)] for asked in scene.questions]
    assert found == scene.ids


def asked_of(store: InMemoryDocumentStore, embedder: Any, scene: Scene) -> list[list[HaystackDocument]]:
    return [store.embedding_retrieval(embedder.run(asked)["embedding"], top_k=K) for asked in scene.questions]


def test_haystack_opens_the_layout(scene: Scene, embedder: SentenceTransformersTextEmbedder) -> None:
    store = InMemoryDocumentStore.load_from_disk(str(scene.bundle / "haystack" / "documents.json"))
    hits = asked_of(store, embedder, scene)
    assert [[hit.id for hit in each] for each in hits] == scene.ids
    for each, scores in zip(hits, scene.scores, strict=True):
        assert [hit.score for hit in each] == pytest.approx(scores, abs=1e-5)
    assert hits[0][0].content == scene.passages[scene.ids[0][0]]
    assert hits[0][0].meta["source"] == "reference/corpus.jsonl"


def test_haystack_encodes_the_corpus_itself(scene: Scene, embedder: SentenceTransformersTextEmbedder) -> None:
    encoder = SentenceTransformersDocumentEmbedder(model=scene.model, progress_bar=False)
    documents = [HaystackDocument(id=name, content=text) for name, text in scene.passages.items()]
    store = InMemoryDocumentStore(shared=False)
    store.write_documents(encoder.run(documents)["documents"])
    assert [[hit.id for hit in each] for each in asked_of(store, embedder, scene)] == scene.ids


def test_a_client_that_drops_the_prompt_scores_otherwise(scene: Scene) -> None:
    silent = SentenceTransformersTextEmbedder(model=scene.model, progress_bar=False)
    store = InMemoryDocumentStore.load_from_disk(str(scene.bundle / "haystack" / "documents.json"))
    scores = [[hit.score for hit in each] for each in asked_of(store, silent, scene)]
    assert np.abs(np.array(scores) - np.array(scene.scores)).max() > 1e-3


def test_layouts_follow_the_bundle(scene: Scene, embeddings: HuggingFaceEmbeddings) -> None:
    gone = scene.ids[0][0]
    index(None, None, scene.bundle, deletion=Deletion((gone,)))
    store = FAISS.load_local(
        str(scene.bundle / "langchain"), embeddings, allow_dangerous_deserialization=True
    )
    found = [hit.id for hit in store.similarity_search(scene.questions[0], k=K)]
    assert found[:2] == scene.ids[0][1:]
    document = json.loads((scene.bundle / "haystack" / "documents.json").read_text())
    assert gone not in {each["id"] for each in document["documents"]}
