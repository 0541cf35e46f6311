"""FAISS indexes over embeddings with string ids: built, searched, saved, appended to."""

from __future__ import annotations

from embedmerge.retrieval.index.backend import SearchBackend
from embedmerge.retrieval.index.recall import Recall
from embedmerge.retrieval.index.settings import KINDS, SIMILARITIES, IndexSettings
from embedmerge.retrieval.index.vector_index import Ranking, VectorIndex

__all__ = ["KINDS", "SIMILARITIES", "IndexSettings", "Ranking", "Recall", "SearchBackend", "VectorIndex"]
