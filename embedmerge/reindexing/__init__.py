"""Whether an index that an old model built can stay when a new model takes its place.

Changing the model of a retriever means encoding every document again, unless the new model's queries find
their way in the old model's vectors. They may: a merged model lies near its base.
"""

from __future__ import annotations

from embedmerge.reindexing.check import ReindexCheck, check_index

__all__ = ["ReindexCheck", "check_index"]
