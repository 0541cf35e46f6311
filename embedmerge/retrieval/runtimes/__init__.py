"""Runtimes other than torch, in the place of a model's transformer."""
