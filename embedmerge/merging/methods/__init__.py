"""One merging method per file."""
