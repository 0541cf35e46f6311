"""Module files that every sentence-transformers version and other consumers can read.

sentence-transformers 5.4 and later save new class paths, a pooling config without the booleans and
no `max_seq_length`, and transformers 5 has names of its own in config and tokenizer; older versions and
text-embeddings-inference cannot load that. A donor saved so is taken over in the older form, which all
of them read alike, and so is a donor without module files whose pooling the user has stated. Files that
are in the older form are copied byte for byte.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.fast_tokenizer import made_tokenizer
from embedmerge.checkpoint.layout import LEGACY_PREFIX, Module
from embedmerge.checkpoint.older_forms import with_older_config, with_older_tokenizer
from embedmerge.checkpoint.pooling import POOLING_BOOLEANS
from embedmerge.checkpoint.text_files import read_bytes, read_json, read_object

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.checkpoint.layout import Checkpoint

NEW_PREFIXES = ("sentence_transformers.base.modules.", "sentence_transformers.sentence_transformer.modules.")


def portable_files(donor: Checkpoint, dtype: str | None = None) -> dict[str, bytes]:
    """The donor's module files as the merged model carries them.

    Args:
        donor: Whose they are.
        dtype: Type of the merged weights where it is not the donor's: `float32`, `float16`, `bfloat16`.

    Returns:
        Content by place below the model folder.
    """
    files = {path.relative_to(donor.folder).as_posix(): read_bytes(path) for path in donor.module_files()}
    place, config = _place(donor.transformer, "config.json"), _encoder_config(donor, dtype)
    if place not in files or config != donor.config:  # the folder of an adapter has none
        files[place] = _as_json(config)
    tokenizer = with_older_tokenizer(donor.tokenizer_config)
    if tokenizer != donor.tokenizer_config:
        files[_place(donor.transformer, "tokenizer_config.json")] = _as_json(tokenizer)
    if made := made_tokenizer(donor.folder / donor.transformer.path):
        files[_place(donor.transformer, "tokenizer.json")] = made
    sentence_config = _place(donor.transformer, "sentence_bert_config.json")
    content = _legacy_sentence_config(donor, donor.folder / sentence_config)
    if "modules.json" in files and not any(module.type.startswith(NEW_PREFIXES) for module in donor.modules):
        if sentence_config in files and _lacks_length(donor.folder / sentence_config, content):
            files[sentence_config] = _as_json(content)
        return files
    files["modules.json"] = _as_json(_legacy_modules(donor))
    for module in donor.modules:
        if module.kind == "Pooling":
            files[_place(module, "config.json")] = _as_json(_legacy_pooling(module, donor))
    files[sentence_config] = _as_json(content)
    return files


def _lacks_length(path: Path, older: dict[str, Any]) -> bool:
    """Whether a donor in the older form leaves the length open that its other files state."""
    return read_object(path).get("max_seq_length") is None and older["max_seq_length"] is not None


def _is_renamed(donor: Checkpoint) -> bool:
    """Whether the merged weights are those of the bare encoder and the donor's are not."""
    encoder = donor.tensors[donor.transformer.path]
    return bool(donor.left_out) or any(location.stored != name for name, location in encoder.items())


def _encoder_config(donor: Checkpoint, dtype: str | None) -> dict[str, Any]:
    """The donor's config, where it would have the merged weights loaded as something else, put right.

    BertForMaskedLM without its head is a BertModel, and transformers 5 loads weights in the type named.
    """
    config = with_older_config(dict(donor.config))
    classes = config.get("architectures")
    if _is_renamed(donor) and isinstance(classes, list):
        config["architectures"] = [
            re.sub(r"(For[A-Z]\w*|LMHeadModel)$", "Model", str(name)) for name in classes
        ]
    return config | ({key: dtype for key in ("dtype", "torch_dtype") if key in config} if dtype else {})


def _place(module: Module, name: str) -> str:
    return f"{module.path}/{name}" if module.path else name


def _legacy_modules(donor: Checkpoint) -> list[dict[str, Any]]:
    listed = donor.folder / "modules.json"
    if not listed.is_file():
        rows = enumerate(donor.modules)
        return [{"idx": i, "name": str(i), "path": each.path, "type": each.type} for i, each in rows]
    entries: list[dict[str, Any]] = read_json(listed)
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
