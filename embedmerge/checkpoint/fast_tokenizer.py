"""tokenizer.json for a donor that has only the older vocabulary files.

text-embeddings-inference and FastEmbed read no other tokenizer; transformers makes this one anew from the
vocabulary each time such a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "tokenizer.json"
VOCABULARIES = ("vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")


def made_tokenizer(folder: Path) -> bytes | None:
    """The content of the tokenizer.json that transformers makes of a folder's vocabulary.

    Args:
        folder: Of the transformer.

    Returns:
        None where there is one already, where there is no vocabulary, or where transformers knows no fast
        tokenizer for it.
    """
    if (folder / NAME).exists() or not any((folder / name).is_file() for name in VOCABULARIES):
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, ImportError, KeyError):  # a class that comes with the model, or none
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return None if backend is None else backend.to_str(pretty=True).encode()
