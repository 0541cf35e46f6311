"""What transformers 5 writes into config.json and tokenizer_config.json, as earlier versions read it.

Both forms stand side by side where that is possible, so the newer version loads the same model. Earlier
versions, text-embeddings-inference and infinity either stop at the newer form or, worse, fall back on a
default: a model with another `rope_theta` gives other vectors without a word.
"""

from __future__ import annotations

from typing import Any

NEW_TOKENIZER, OLD_TOKENIZER = "TokenizersBackend", "PreTrainedTokenizerFast"
# What the base of the rotary angles is called in models whose layers differ: of full, of sliding attention.
ROTARY_BASES = {
    "modernbert": ("global_rope_theta", "local_rope_theta"),
    "gemma3_text": ("rope_theta", "rope_local_base_freq"),
}
FULL, SLIDING = "full_attention", "sliding_attention"


def with_older_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json with the keys for rotary positions that versions before transformers 5 read.

    >>> with_older_config({"rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}})
    {'rope_parameters': {'rope_theta': 1000000.0, 'rope_type': 'default'}, 'rope_theta': 1000000.0}

    Args:
        config: As the donor has it; comes back equal where nothing is missing.
    """
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return config
    if "rope_theta" in rope:
        older = {"rope_theta": rope["rope_theta"]}
        if rope.get("rope_type", "default") != "default":
            older["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    else:
        older = _layered(config, rope)
    return config | {key: value for key, value in older.items() if key not in config}


def _layered(config: dict[str, Any], rope: dict[str, Any]) -> dict[str, Any]:
    names = ROTARY_BASES.get(str(config.get("model_type")))
    if names is None:
        return {}
    by_kind = [(name, rope.get(kind)) for name, kind in zip(names, (FULL, SLIDING), strict=True)]
    older = {
        name: its["rope_theta"] for name, its in by_kind if isinstance(its, dict) and "rope_theta" in its
    }
    return older | _period(config)


def _period(config: dict[str, Any]) -> dict[str, int]:
    """Every which layer of a ModernBERT attends to the whole text, from its list of layers."""
    layers = config.get("layer_types")
    if config.get("model_type") != "modernbert" or not isinstance(layers, list):
        return {}
    period = next((row for row, kind in enumerate(layers) if row and kind == FULL), len(layers))
    regular = all((kind == FULL) == (row % period == 0) for row, kind in enumerate(layers))
    return {"global_attn_every_n_layers": period} if layers and regular else {}


def with_older_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json as versions before transformers 5 read it.

    >>> with_older_tokenizer({"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<q>"]})
    {'tokenizer_class': 'PreTrainedTokenizerFast', 'additional_special_tokens': ['<q>']}

    Args:
        config: As the donor has it; comes back equal where it is in the earlier form.
    """
    older = dict(config)
    if older.get("tokenizer_class") == NEW_TOKENIZER:
        older["tokenizer_class"] = OLD_TOKENIZER
    if isinstance(older.get("extra_special_tokens"), list):  # a mapping is the earlier form
        tokens = older.pop("extra_special_tokens")
        if tokens:
            older.setdefault("additional_special_tokens", tokens)
    return older
