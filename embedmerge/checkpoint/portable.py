"""Module files that every sentence-transformers version and other consumers can read.

sentence-transformers 5.4 and later save new class paths, a pooling config without the booleans and
no `max_seq_length`; older versions and text-embeddings-inference cannot load that. A donor saved so
is taken over in the older form, which all of them read alike. A donor in the older form is copied
byte for byte.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.layout import POOLING_BOOLEANS, Module, read_json, read_object

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.checkpoint.layout import Checkpoint

LEGACY_PREFIX = "sentence_transformers.models."
NEW_PREFIXES = ("sentence_transformers.base.modules.", "sentence_transformers.sentence_transformer.modules.")


def portable_files(donor: Checkpoint) -> dict[str, bytes]:
    """The donor's module files as the merged model carries them.

    Returns:
        Content by place below the model folder.
    """
    files = {path.relative_to(donor.folder).as_posix(): path.read_bytes() for path in donor.module_files()}
    if not any(module.type.startswith(NEW_PREFIXES) for module in donor.modules):
        return files
    files["modules.json"] = _as_json(_legacy_modules(donor))
    for module in donor.modules:
        if module.kind == "Pooling":
            files[f"{module.path}/config.json"] = _as_json(_legacy_pooling(module, donor))
    sentence_config = _place(donor.transformer, "sentence_bert_config.json")
    files[sentence_config] = _as_json(_legacy_sentence_config(donor, donor.folder / sentence_config))
    return files


def _place(module: Module, name: str) -> str:
    return f"{module.path}/{name}" if module.path else name


def _legacy_modules(donor: Checkpoint) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = read_json(donor.folder / "modules.json")
    for entry in entries:
        if entry["type"].startswith(NEW_PREFIXES):
            entry["type"] = LEGACY_PREFIX + entry["type"].rsplit(".", 1)[-1]
    return entries


def _legacy_pooling(module: Module, donor: Checkpoint) -> dict[str, Any]:
    modes = (donor.pooling or "").split("+")
    dimension = module.config.get(
        "embedding_dimension", module.config.get("word_embedding_dimension", donor.width)
    )
    return {
        "word_embedding_dimension": dimension,
        **{key: mode in modes for key, mode in POOLING_BOOLEANS.items()},
        "include_prompt": module.config.get("include_prompt", True),
        "pooling_mode": module.config.get("pooling_mode", donor.pooling),
    }


def _legacy_sentence_config(donor: Checkpoint, path: Path) -> dict[str, Any]:
    kept = {key: value for key, value in read_object(path).items() if key == "do_lower_case"}
    return {"max_seq_length": donor.max_seq_length, "do_lower_case": False, **kept}


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
