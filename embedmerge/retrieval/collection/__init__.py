"""Local collections, whatever their format: one way to read them all."""

from __future__ import annotations

from embedmerge.retrieval.collection.content import Collection
from embedmerge.retrieval.collection.layout import is_collection
from embedmerge.retrieval.collection.reading import read_collection
from embedmerge.retrieval.collection.survey import SplitSurvey, Survey, survey

__all__ = ["Collection", "SplitSurvey", "Survey", "is_collection", "read_collection", "survey"]
