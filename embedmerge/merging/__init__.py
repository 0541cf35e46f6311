"""Arithmetic on tensors: no files, no models."""
