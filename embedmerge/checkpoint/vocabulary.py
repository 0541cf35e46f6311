"""The words behind the rows of the embedding table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.text_files import read_object, read_text
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.checkpoint.layout import Checkpoint

SPECIAL_TOKENS = ("cls_token", "sep_token", "pad_token", "mask_token", "unk_token", "bos_token", "eos_token")


def vocabulary(checkpoint: Checkpoint) -> dict[int, str] | None:
    """Token of each row, by row; None where the folder holds no tokenizer that says.

    Reads tokenizer.json (WordPiece, BPE, Unigram and added tokens alike), else vocab.txt.
    """
    folder = checkpoint.folder / checkpoint.transformer.path
    if (folder / "tokenizer.json").is_file():
        return _tokenizer_vocabulary(folder / "tokenizer.json")
    if (folder / "vocab.txt").is_file():
        return dict(enumerate(read_text(folder / "vocab.txt").splitlines()))
    return None


def _tokenizer_vocabulary(path: Path) -> dict[int, str]:
    tokenizer = read_object(path)
    try:
        entries = tokenizer["model"]["vocab"]
        if isinstance(entries, dict):
            rows = {int(row): str(token) for token, row in entries.items()}
        else:  # Unigram: a list of [token, score]
            rows = {row: str(entry[0]) for row, entry in enumerate(entries)}
        added = {int(token["id"]): str(token["content"]) for token in tokenizer.get("added_tokens") or []}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        msg = f"{path}: no tokenizer with a vocabulary; fetch or save the model again"
        raise EmbedmergeError(msg) from error
    return {**rows, **added}


def special_tokens(checkpoint: Checkpoint) -> dict[str, str]:
    """Role -> token, as far as tokenizer_config.json or special_tokens_map.json says."""
    stated = dict(checkpoint.tokenizer_config)
    path = checkpoint.folder / checkpoint.transformer.path / "special_tokens_map.json"
    stated.update(read_object(path))
    named = {role: stated[role] for role in SPECIAL_TOKENS if stated.get(role)}
    return {
        role: str(token["content"] if isinstance(token, dict) else token) for role, token in named.items()
    }


def normaliser(checkpoint: Checkpoint) -> Any:
    """The normaliser of tokenizer.json (lower-casing, accents), None where it does not say."""
    return read_object(checkpoint.folder / checkpoint.transformer.path / "tokenizer.json").get("normalizer")
