"""Tiny real checkpoints: random weights, real tokenizers built in memory, no network."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
from loopback_hub import LoopbackHub
from safetensors.numpy import load_file, save_file
from words import WORDS, sentence, write_collection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOOLEANS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
}


class MakeCheckpoint(Protocol):
    """Builds a sentence-transformers folder in the legacy layout."""

    def __call__(self, name: str, **changes: Any) -> Path: ...


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Builds folders; every keyword has a default."""
    root = tmp_path_factory.mktemp("checkpoints")

    def make(
        name: str,
        *,
        arch: str = "bert",
        seed: int = 0,
        layers: int = 2,
        hidden: int = 32,
        words: list[str] | None = None,
        pooling: str = "mean",
        normalise: bool = True,
        prompts: dict[str, str] | None = None,
        max_seq_length: int = 48,
        spread: float = 8,
    ) -> Path:
        folder = root / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        _save_transformer(folder, arch, seed, layers, hidden, words or WORDS, spread)
        _save_modules(folder, hidden, pooling, normalise, prompts, max_seq_length)
        return folder

    return make


@pytest.fixture(scope="session")
def make_expert(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Builds copies of a base with seeded noise on every float tensor."""
    root = tmp_path_factory.mktemp("experts")

    def make(name: str, *, base: Path, seed: int = 1, scale: float = 0.02) -> Path:
        folder = root / name
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(base, folder)
        noise = np.random.default_rng(seed)
        tensors = load_file(folder / "model.safetensors")
        moved = {
            key: (value + scale * noise.standard_normal(value.shape)).astype(value.dtype)
            if value.dtype.kind == "f"
            else value
            for key, value in sorted(tensors.items())
        }
        save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


@pytest.fixture(scope="session")
def base(make_checkpoint: MakeCheckpoint) -> Path:
    """A mean-pooled, normalising BERT of two layers. Read only."""
    return make_checkpoint("base")


@pytest.fixture(scope="session")
def expert(make_expert: MakeCheckpoint, base: Path) -> Path:
    """The base after some tuning. Read only."""
    return make_expert("expert", base=base, seed=1)


@pytest.fixture(scope="session")
def peer(make_expert: MakeCheckpoint, base: Path) -> Path:
    """The base after other tuning. Read only."""
    return make_expert("peer", base=base, seed=2)


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder of 60 documents, with 20 test and 20 dev queries. Read only."""
    return write_collection(tmp_path_factory.mktemp("collections") / "animals", seed=5)


@pytest.fixture(scope="session")
def general_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another BEIR folder. Read only."""
    return write_collection(tmp_path_factory.mktemp("collections") / "general", seed=6)


@pytest.fixture(scope="session")
def examples_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve examples with eight negatives each. Read only."""
    random = np.random.default_rng(3)
    rows = []
    for _ in range(12):
        passage = sentence(random, 12)
        rows.append(
            {
                "query": " ".join(passage.split()[:4]),
                "pos": [passage],
                "neg": [sentence(random, 12) for _ in range(8)],
            }
        )
    path = tmp_path_factory.mktemp("examples") / "few.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def loopback_hub() -> Iterator[LoopbackHub]:
    """A hub on this machine that serves nothing yet."""
    hub = LoopbackHub()
    yield hub
    hub.close()


def _save_transformer(
    folder: Path, arch: str, seed: int, layers: int, hidden: int, words: list[str], spread: float
) -> None:
    import torch
    from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

    tokens = _wordpiece(folder, words) if arch == "bert" else _unigram(folder, words)
    shape = {
        "vocab_size": tokens,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 66,
    }
    torch.manual_seed(seed)
    if arch == "bert":
        model = BertModel(BertConfig(**shape))
    else:
        special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
        model = XLMRobertaModel(XLMRobertaConfig(**shape, **special))
    # Freshly initialised transformers give nearly equal vectors for all texts.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(spread)
    model.save_pretrained(folder)


def _wordpiece(folder: Path, words: list[str]) -> int:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [
        *special,
        *words,
        *dict.fromkeys(letters),
        *(f"##{letter}" for letter in letters),
        *"0123456789",
    ]
    vocabulary = {token: row for row, token in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "model_max_length": 64,
            "do_lower_case": True,
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        },
    )
    return len(vocabulary)


def _unigram(folder: Path, words: list[str]) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    scored = [(token, 0.0) for token in special] + [
        (f"▁{word}", -float(row % 7)) for row, word in enumerate(words)
    ]
    scored += [(letter, -12.0) for letter in "▁abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(models.Unigram([*scored, ("<mask>", 0.0)], unk_id=3))
    tokenizer.add_special_tokens([*special, "<mask>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 64,
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
        },
    )
    return len(scored) + 1


def _save_modules(
    folder: Path,
    hidden: int,
    pooling: str,
    normalise: bool,
    prompts: dict[str, str] | None,
    max_seq_length: int,
) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + (
        [("2_Normalize", "Normalize")] if normalise else []
    )
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(kinds)
    ]
    _write_json(folder / "modules.json", modules)
    flags = {key: mode == pooling for mode, key in BOOLEANS.items()}
    _write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": hidden, **flags, "pooling_mode_mean_sqrt_len_tokens": False},
    )
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False}
    )
    settings: dict[str, Any] = {"__version__": {"sentence_transformers": "2.2.2"}}
    if prompts:
        settings["prompts"] = prompts
    _write_json(folder / "config_sentence_transformers.json", settings)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2))
