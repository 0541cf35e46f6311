from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.statistics.text import Text


def vectors(stack, texts):
    with torch.no_grad():
        return stack.vectors(stack.features(texts)).numpy()


@pytest.fixture(scope="module")
def headed(base, tmp_path_factory):
    """The base with a Dense head between pooling and normalisation. Read only."""
    folder = tmp_path_factory.mktemp("headed") / "model"
    loaded = SentenceTransformer(str(base), device="cpu")
    torch.manual_seed(0)
    modules = [loaded[0], loaded[1], Dense(32, 12), loaded[2]]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_those_of_sentence_transformers(make_checkpoint, stack_of, texts, arch, pooling):
    prompts = {"query": "what is ", "document": "about the "}
    folder = make_checkpoint("stacked", arch=arch, pooling=pooling, prompts=prompts, normalise=False)
    loaded = SentenceTransformer(str(folder), device="cpu")
    for kind, encode in (("query", loaded.encode_query), ("document", loaded.encode_document)):
        chosen = [text for text in texts if text.kind == kind]
        wanted = encode([text.content for text in chosen], normalize_embeddings=True)
        np.testing.assert_allclose(vectors(stack_of(folder), chosen), wanted, atol=2e-6)


def test_a_prompt_that_pooling_leaves_out_is_left_out(prompted, stack_of, texts, tmp_path):
    folder = shutil.copytree(prompted, tmp_path / "model")
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    queries = [text for text in texts if text.kind == "query"]
    loaded = SentenceTransformer(str(folder), device="cpu")
    wanted = loaded.encode_query([text.content for text in queries])
    np.testing.assert_allclose(vectors(stack_of(folder), queries), wanted, atol=2e-6)
    assert np.abs(vectors(stack_of(prompted), queries) - wanted).max() > 1e-2


@pytest.mark.parametrize("length", [8, 20])
def test_texts_are_cut_at_the_length_of_the_settings(base, stack_of, length):
    long = Text("river water tree bird house " * 10)
    stack = stack_of(base, max_seq_length=length)
    assert stack.features([long])["input_ids"].shape == (1, length)
    loaded = SentenceTransformer(str(base), device="cpu")
    loaded.max_seq_length = length
    np.testing.assert_allclose(vectors(stack, [long]), loaded.encode([long.content]), atol=2e-6)


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
def test_parameters_have_the_names_and_shapes_of_the_tensors_on_disk(make_checkpoint, stack_of, arch):
    folder = make_checkpoint("named", arch=arch)
    stored = load_file(folder / "model.safetensors")
    found = {name: tuple(parameter.shape) for name, parameter in stack_of(folder).parameters.items()}
    assert found == {name: values.shape for name, values in stored.items() if values.dtype.kind == "f"}


def test_linears_are_named_after_their_weights_in_the_order_of_the_model(base, stack_of):
    stack = stack_of(base)
    assert list(stack.linears)[:6] == [
        f"encoder.layer.0.{name}.weight"
        for name in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        )
    ]
    for name, linear in stack.linears.items():
        assert stack.parameters[name] is linear.weight


def test_a_head_is_named_after_its_folder_in_the_base(headed, stack_of):
    stack = stack_of(headed)
    (place,) = [
        module.path for module in open_checkpoint(locate(str(headed))).modules if module.kind == "Dense"
    ]
    assert f"{place}/linear.weight" in stack.linears
    assert {f"{place}/linear.weight", f"{place}/linear.bias"} < set(stack.parameters)
    assert stack.vectors(stack.features([Text("a bank")])).shape == (1, 12)


def test_everything_is_in_float32_and_wants_gradients(make_checkpoint, stack_of, tmp_path):
    folder = make_checkpoint("half")
    loaded = SentenceTransformer(str(folder), device="cpu").half()
    loaded.save(str(tmp_path / "half"))
    stack = stack_of(tmp_path / "half")
    assert {parameter.dtype for parameter in stack.parameters.values()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in stack.parameters.values())
    assert not stack.model.training


def test_batches_hold_texts_of_one_kind_and_every_text_once(base, stack_of, texts):
    batches = list(stack_of(base).batches(texts, 3))
    assert all(len({text.kind for text in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == 3
    assert sorted(text.content for batch in batches for text in batch) == sorted(
        text.content for text in texts
    )
    documents = [len(text.content) for batch in batches for text in batch if text.kind == "document"]
    assert documents == sorted(documents)
