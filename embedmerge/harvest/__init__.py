"""Collections made from docstrings of installed libraries: the summary is the query, the rest its answer."""

from __future__ import annotations

from embedmerge.harvest.beir import HELD_OUT, Shares, split_of, training_pairs, write_beir
from embedmerge.harvest.docstrings import harvest_library
from embedmerge.harvest.reference import harvest_language_reference
from embedmerge.harvest.text import Docstring

__all__ = [
    "HELD_OUT",
    "Docstring",
    "Shares",
    "harvest_language_reference",
    "harvest_library",
    "split_of",
    "training_pairs",
    "write_beir",
]
