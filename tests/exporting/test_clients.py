from __future__ import annotations

import numpy as np
import pytest
import torch
from FlagEmbedding import FlagModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from embedmerge import SourceSpec, merge

TEXTS = ["how do i merge two models", "the river bank", "a judge read the contract " * 3]


@pytest.fixture(scope="module", params=[("bert", "cls"), ("xlm-roberta", "cls"), ("bert", "mean")])
def exported(request, tmp_path_factory, make_checkpoint):
    """A merge whose base sentence-transformers 6.2 has saved, and its pooling."""
    arch, pooling = request.param
    root = tmp_path_factory.mktemp("clients")
    legacy = make_checkpoint(f"clients-{arch}-{pooling}", arch=arch, pooling=pooling)
    SentenceTransformer(str(legacy), device="cpu").save_pretrained(str(root / "native"))
    sources = [SourceSpec(name, str(root / "native"), role) for name, role in (("a", "base"), ("b", "peer"))]
    return merge(sources, [0.5, 0.5], root / "merged").folder, pooling


def test_transformers_auto_classes(exported):
    folder, pooling = exported
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    vectors = hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)
    found = torch.nn.functional.normalize(vectors, dim=1).numpy()
    assert np.abs(found - SentenceTransformer(str(folder), device="cpu").encode(TEXTS)).max() < 1e-6


def test_flag_embedding(exported):
    folder, pooling = exported
    model = FlagModel(str(folder), pooling_method=pooling, use_fp16=False, devices="cpu")
    found = model.encode_corpus(TEXTS)
    assert np.abs(found - SentenceTransformer(str(folder), device="cpu").encode(TEXTS)).max() < 1e-6
