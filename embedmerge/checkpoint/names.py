"""One name for each tensor of an encoder, however its file was saved.

A checkpoint of BertForMaskedLM says `bert.embeddings...`, one of a whole SentenceTransformer
`0.auto_model.embeddings...`, one of AutoModel `embeddings...`. The last is the form that
`AutoModel.from_pretrained` saves and loads without a word, and the one that merged models carry.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WRAPPERS = r"(?:module\.)?(?:0\.)?(?:auto_model\.)?"
# `base_model_prefix` of the architectures in transformers.
BASE_MODELS = r"(?:model\.)?(?:(?:bert|roberta|distilbert|mpnet|electra|deberta|albert|nomic_bert)\.)?"
HEADS = ("cls.", "lm_head.", "classifier.", "qa_outputs.", "score.", "discriminator_predictions.")
WORDS = "embeddings.word_embeddings.weight"
# Output layers that share the input embedding's matrix: the embedding, and what stands beside it.
TIED = {
    "lm_head.weight": ("embed_tokens.weight", "layers."),
    "lm_head.decoder.weight": (WORDS, "embeddings."),
    "cls.predictions.decoder.weight": (WORDS, "embeddings."),
    "vocab_projector.weight": (WORDS, "embeddings."),
    "generator_lm_head.weight": (WORDS, "embeddings."),
    "decoder.weight": ("embeddings.tok_embeddings.weight", "embeddings."),
}


@dataclass(frozen=True)
class Naming:
    """What a file's tensors are called in a merged model.

    Attributes:
        canonical: Stored name -> canonical name, in the order of the file.
        left_out: Stored names of what belongs to a task head and not to the encoder.
    """

    canonical: dict[str, str]
    left_out: tuple[str, ...] = ()


def canonical_naming(stored: Iterable[str], custom_code: bool = False) -> Naming:
    """Names without prefixes, task heads left out.

    A tied matrix that was stored under its head's name alone gets the embedding's name back.

    >>> canonical_naming(["bert.pooler.dense.bias", "cls.predictions.bias"]).canonical
    {'bert.pooler.dense.bias': 'pooler.dense.bias'}

    Args:
        stored: Names in the file.
        custom_code: Whether the model's class comes with the model. What such a class calls its
            tensors is its own affair: only the wrappers of training code are taken off.
    """
    names = list(stored)
    prefix = _common_prefix(names, WRAPPERS if custom_code else WRAPPERS + BASE_MODELS)
    inside = {name: _modern(name.removeprefix(prefix)) for name in names if name.startswith(prefix)}
    if custom_code:
        return Naming(inside, tuple(name for name in names if name not in inside))
    canonical = {name: short for name, short in inside.items() if not short.startswith(HEADS)}
    canonical.update(_stored_under_its_head(names, canonical.values()))
    return Naming(canonical, tuple(name for name in names if name not in canonical))


def _common_prefix(names: list[str], pattern: str) -> str:
    """What most names begin with; a task head's names do not."""
    prefixes = Counter(match.group() for name in names if (match := re.match(pattern, name)))
    return prefixes.most_common(1)[0][0] if prefixes else ""


def _modern(name: str) -> str:
    """LayerNorm's gain and offset as they have been called since TensorFlow's names went out of use."""
    return re.sub(r"LayerNorm\.(gamma|beta)$", _layer_norm_name, name)


def _layer_norm_name(match: re.Match[str]) -> str:
    return "LayerNorm.weight" if match[1] == "gamma" else "LayerNorm.bias"


def _stored_under_its_head(names: list[str], canonical: Iterable[str]) -> dict[str, str]:
    """Output layers that hold the input embedding of a file that has no such tensor."""
    present = set(canonical)
    found: dict[str, str] = {}
    for head in names:
        embedding, companion = TIED.get(head, ("", ""))
        beside = companion and any(name.startswith(companion) for name in present)
        if beside and embedding not in present.union(found.values()):
            found[head] = embedding
    return found
