"""Choosing coefficients from examples."""
