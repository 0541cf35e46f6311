"""Fine-tune an encoder on one domain with the sentence-transformers trainer.

The result is the base folder with other weights: every other file is the base's own, byte for byte, and the
weights file has the base's tensor names. So the expert differs from its base in what training changed and in
nothing else, pools and prompts as the base does, and can be merged with it without a translation of names.
"""

from __future__ import annotations

from embedmerge.tuning.pairs import tune
from embedmerge.tuning.settings import Preparation, Tuning

__all__ = ["Preparation", "Tuning", "tune"]
