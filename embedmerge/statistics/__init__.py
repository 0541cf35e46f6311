"""What methods such as Fisher merging and RegMean must know of each source, gathered from unlabelled text."""
