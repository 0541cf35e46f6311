"""What a transformer's config.json says of its architecture, whatever that architecture calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.text_files import stated_integer

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {
    "layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    "hidden size": ("hidden_size", "dim", "d_model", "n_embd"),
    "attention heads": ("num_attention_heads", "n_heads", "n_head"),
    "key-value heads": ("num_key_value_heads",),
    "attention head size": ("head_dim",),
    "feed-forward size": ("intermediate_size", "hidden_dim", "n_inner"),
    "embedding size": ("embedding_size",),
    "vocabulary size": ("vocab_size",),
    "positions": ("max_position_embeddings", "n_positions"),
    "segments": ("type_vocab_size",),
}
# The same weights compute something else under another value of these.
MEANINGS = {
    "activation": ("hidden_act", "hidden_activation", "activation", "activation_function"),
    "position embedding": ("position_embedding_type",),
    "relative attention": ("relative_attention",),
    "relative position terms": ("pos_att_type",),
    "position buckets": ("position_buckets",),
    "rotated fraction of a head": ("rotary_emb_fraction", "partial_rotary_factor"),
    "causal attention": ("is_causal", "is_decoder"),
    "pre-normalisation": ("prenorm",),
    "global attention every so many layers": ("global_attn_every_n_layers",),
}
# They compute nearly the same.
NUANCES = {
    "normalisation epsilon": ("layer_norm_eps", "norm_eps", "rms_norm_eps", "layer_norm_epsilon"),
    "attention window": ("sliding_window", "local_attention"),
    "Matryoshka dimensions": ("matryoshka_dimensions", "matryoshka_dims"),
}


def first_stated(config: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """The value of the first of these keys that is stated, None where none is."""
    return next((config[key] for key in keys if config.get(key) is not None), None)


def require_sizes(config: dict[str, Any], path: Path) -> None:
    """Refuse a config.json whose sizes are no whole numbers.

    Args:
        config: Its content.
        path: The file, for the message.

    Raises:
        EmbedmergeError: Names the key.
    """
    for keys in (*SIZES.values(), ("pad_token_id",)):
        for key in keys:
            stated_integer(config, key, path)


def rope_bases(config: dict[str, Any]) -> dict[str, float]:
    """Base of the rotary position embedding by kind of layer; `""` where all layers share one.

    >>> rope_bases({"rope_theta": 1e6}) == rope_bases({"rope_parameters": {"rope_theta": 1e6}})
    True
    """
    older = {
        "": first_stated(config, ("rope_theta", "rotary_emb_base")),
        "full_attention": config.get("global_rope_theta"),
        "sliding_attention": config.get("local_rope_theta"),
    }
    newer = {kind: parameters.get("rope_theta") for kind, parameters in _rope_parameters(config).items()}
    return {kind: base for kind, base in {**older, **newer}.items() if base is not None}


def rope_scaling(config: dict[str, Any]) -> dict[str, Any]:
    """How rotary positions are stretched to longer texts, empty where they are not."""
    scaling: dict[str, Any] = {}
    for kind, parameters in _rope_parameters(config).items():
        how = parameters.get("rope_type") or parameters.get("type")
        if how not in (None, "default"):
            kept = {key: value for key, value in parameters.items() if key not in ("rope_theta", "type")}
            scaling[kind] = {**kept, "rope_type": how}
    return scaling


def _rope_parameters(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One mapping for all layers or by kind of layer; before transformers 5, the scaling alone."""
    found = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(found, dict):
        return {}
    nested = {kind: parameters for kind, parameters in found.items() if isinstance(parameters, dict)}
    return nested if nested and len(nested) == len(found) else {"": found}
