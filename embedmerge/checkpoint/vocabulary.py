"""The words behind the rows of the embedding table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.layout import read_json

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
        return _tokenizer_vocabulary(read_json(folder / "tokenizer.json"))
    if (folder / "vocab.txt").is_file():
        return dict(enumerate((folder / "vocab.txt").read_text(encoding="utf-8").splitlines()))
    return None


def _tokenizer_vocabulary(tokenizer: dict[str, Any]) -> dict[int, str]:
    entries = tokenizer.get("model", {}).get("vocab", {})
    if isinstance(entries, dict):
        rows = {int(row): str(token) for token, row in entries.items()}
    else:  # Unigram: a list of [token, score]
        rows = {row: str(entry[0]) for row, entry in enumerate(entries)}
    for added in tokenizer.get("added_tokens", []):
        rows[int(added["id"])] = str(added["content"])
    return rows


def special_tokens(checkpoint: Checkpoint) -> dict[str, str]:
    """Role -> token, as far as tokenizer_config.json or special_tokens_map.json says."""
    stated = dict(checkpoint.tokenizer_config)
    path = checkpoint.folder / checkpoint.transformer.path / "special_tokens_map.json"
    if path.is_file():
        stated.update(read_json(path))
    named = {role: stated[role] for role in SPECIAL_TOKENS if stated.get(role)}
    return {
        role: str(token["content"] if isinstance(token, dict) else token) for role, token in named.items()
    }


def normaliser(checkpoint: Checkpoint) -> Any:
    """The normaliser of tokenizer.json (lower-casing, accents), None where it does not say."""
    path: Path = checkpoint.folder / checkpoint.transformer.path / "tokenizer.json"
    return read_json(path).get("normalizer") if path.is_file() else None
