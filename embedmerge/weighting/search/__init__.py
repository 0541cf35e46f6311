"""Searches for weights and parameters of a method by looking at mixtures one after the other."""

from __future__ import annotations
