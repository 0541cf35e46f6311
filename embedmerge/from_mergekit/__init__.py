"""mergekit's YAML, read into recipes of ours."""
