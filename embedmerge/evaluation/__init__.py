"""Tasks times models to per-query scores to a comparison."""
