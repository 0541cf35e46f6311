"""A corpus ready to be searched: FAISS index, document store and manifest in one folder."""

from __future__ import annotations

from embedmerge.bundle.building import create_bundle
from embedmerge.bundle.changing import Deletion, change_bundle
from embedmerge.bundle.indexed import Indexed
from embedmerge.bundle.opening import Bundle, open_bundle
from embedmerge.bundle.passage import Document, Passage
from embedmerge.bundle.searching import Answer, Hit, Searcher
from embedmerge.bundle.settings import BundleSettings

__all__ = [
    "Answer",
    "Bundle",
    "BundleSettings",
    "Deletion",
    "Document",
    "Hit",
    "Indexed",
    "Passage",
    "Searcher",
    "change_bundle",
    "create_bundle",
    "open_bundle",
]
