"""Writes a random BERT-base as a sentence-transformers folder, and experts that differ from it by noise."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, BertTokenizerFast


def main() -> None:
    """Folders from the command line, the base first."""
    base, *experts = map(Path, sys.argv[1:])
    write_base(base)
    state = load_file(base / "model.safetensors")
    for seed, folder in enumerate(experts):
        shutil.copytree(base, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
        generator = torch.Generator().manual_seed(seed)
        moved = {
            name: value + 0.002 * torch.randn(value.shape, generator=generator)
            for name, value in state.items()
        }
        save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})


def write_base(folder: Path) -> None:
    """CLS pooling and normalisation, as BGE has them."""
    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = special + [f"w{row}" for row in range(BertConfig().vocab_size - len(special))]
    tokenizer = Tokenizer(models.WordPiece({word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 512, "do_lower_case": false}')
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 768, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir(exist_ok=True)


if __name__ == "__main__":
    main()
