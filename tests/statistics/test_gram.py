from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedmerge.statistics import gram
from embedmerge.statistics.gram import gram_matrices, shared_inputs
from embedmerge.statistics.text import Text

LAYER = "encoder.layer.1."
SHARED = tuple(f"{LAYER}attention.self.{name}.weight" for name in ("query", "key", "value"))


def matrices(stack, texts, progress=None):
    gathered = gram_matrices(stack, texts, progress)
    return dict(zip(gathered.shapes, gathered.arrays, strict=True))


def captured(folder, texts, prompts=None, max_seq_length=None):
    """Inputs of every Linear, one text at a time, so that nothing is padded."""
    loaded = SentenceTransformer(str(folder), device="cpu")
    if max_seq_length:
        loaded.max_seq_length = max_seq_length
    inputs = {}

    def listen(name):
        def hook(_, arguments):
            rows = arguments[0].detach().double()
            inputs.setdefault(name, []).append(rows.reshape(-1, rows.shape[-1]).numpy())

        return hook

    for name, module in loaded[0].auto_model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(listen(f"{name}.weight"))
    for text in texts:
        loaded.encode([text.content], prompt=(prompts or {}).get(text.kind), show_progress_bar=False)
    return {name: np.vstack(rows) for name, rows in inputs.items()}


def assert_same(found, inputs):
    assert {name for names in found for name in names} == set(inputs)
    for names, matrix in found.items():
        for name in names:
            x = inputs[name]
            wanted = x.T @ x / len(x)
            np.testing.assert_allclose(matrix, wanted, atol=2e-5 * np.abs(wanted).max(), err_msg=name)


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
def test_is_the_mean_product_of_the_inputs_without_padding(make_checkpoint, stack_of, texts, arch):
    folder = make_checkpoint("gram", arch=arch)
    found = matrices(stack_of(folder), texts)
    assert_same(found, captured(folder, texts))
    rows = sum(len(SentenceTransformer(str(folder)).tokenizer(text.content).input_ids) for text in texts)
    assert len(captured(folder, texts)[SHARED[0]]) == rows


def test_query_key_and_value_share_the_matrix_of_their_input(base, stack_of, texts):
    groups = shared_inputs(stack_of(base), texts[:1])
    assert SHARED in groups
    assert (f"{LAYER}attention.output.dense.weight",) in groups
    assert (f"{LAYER}output.dense.weight",) in groups
    names = [name for group in groups for name in group]
    assert len(names) == len(set(names))
    found = gram_matrices(stack_of(base), texts)
    assert found.shapes[SHARED] == (32, 32)
    assert found.shapes[(f"{LAYER}output.dense.weight",)] == (64, 64)


def test_prompts_are_part_of_the_input(prompted, stack_of, texts):
    found = matrices(stack_of(prompted), texts)
    assert_same(found, captured(prompted, texts, {"query": "what is ", "document": "about the "}))
    plain = captured(prompted, texts)[SHARED[0]]
    assert np.abs(found[SHARED] - plain.T @ plain / len(plain)).max() > 1e-2


def test_texts_are_cut_at_the_length_of_the_settings(base, stack_of, texts):
    found = matrices(stack_of(base, max_seq_length=6), texts)
    assert_same(found, captured(base, texts, max_seq_length=6))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_neither_batch_nor_padding_matters(base, stack_of, texts, monkeypatch, batch):
    wanted = matrices(stack_of(base), texts)
    monkeypatch.setattr(gram, "BATCH", batch)
    for names, matrix in matrices(stack_of(base), texts).items():
        np.testing.assert_allclose(matrix, wanted[names], atol=2e-5 * np.abs(matrix).max())


def test_a_text_twice_counts_twice(base, stack_of):
    short, long = Text("a bank"), Text("river water tree bird house " * 6)
    stack = stack_of(base)
    (one,) = [matrix for names, matrix in matrices(stack, [short]).items() if names == SHARED]
    (both,) = [matrix for names, matrix in matrices(stack, [short, short, long]).items() if names == SHARED]
    (other,) = [matrix for names, matrix in matrices(stack, [long]).items() if names == SHARED]
    np.testing.assert_allclose(both, (8 * one + 32 * other) / 40, atol=2e-5 * np.abs(both).max())


@pytest.mark.parametrize("held", [1, 8 * 32**2 * 3])
def test_what_does_not_fit_waits_for_another_pass_and_comes_out_the_same(
    base, stack_of, texts, monkeypatch, held
):
    whole = matrices(stack_of(base), texts)
    monkeypatch.setattr(gram, "HELD_BYTES", held)
    seen = []
    found = matrices(stack_of(base), texts, lambda done, total: seen.append((done, total)))
    assert list(found) == list(whole)
    assert all(found[names].tobytes() == whole[names].tobytes() for names in whole)
    done, total = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == total[-1] == len(set(total)) * total[-1]
    assert total[-1] % len(texts) == 0 and total[-1] > len(texts)


def test_the_matrices_are_in_float32_symmetric_and_positive(base, stack_of, texts):
    for names, matrix in matrices(stack_of(base), texts).items():
        assert matrix.dtype == np.float32, names
        assert (matrix == matrix.T).all(), names
        assert np.linalg.eigvalsh(matrix.astype(np.float64))[0] > -1e-6 * np.abs(matrix).max(), names
