"""Files to tensors and back: the only rooms that touch weights on disk. numpy only, no torch."""
