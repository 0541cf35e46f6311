from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedmerge.statistics.fisher import diagonal_fisher, signs

TEMPERATURE = 0.05
PROMPTS = {"query": "what is ", "document": "about the "}


def fisher(stack, texts, temperature=TEMPERATURE, seed=0, progress=None):
    gathered = diagonal_fisher(stack, texts, progress, temperature=temperature, seed=seed)
    return {
        name: array.astype(np.float64)
        for (name,), array in zip(gathered.shapes, gathered.arrays, strict=True)
    }


def scores(folder, texts, temperature=TEMPERATURE, prompts=None, max_seq_length=None):
    """For each text x and each other text y: p(y|x), and the gradients of log p(y|x) by parameter."""
    loaded = SentenceTransformer(str(folder), device="cpu")
    loaded.max_seq_length = max_seq_length or loaded.max_seq_length
    parameters = dict(loaded[0].auto_model.named_parameters())
    prompts = [(prompts or {}).get(text.kind, "") for text in texts]

    def embed(row):
        features = loaded.preprocess([texts[row].content], prompt=prompts[row])
        return torch.nn.functional.normalize(loaded(features)["sentence_embedding"][0], dim=0)

    with torch.no_grad():
        standing = torch.stack([embed(row) for row in range(len(texts))])
    for row in range(len(texts)):
        others = [other for other in range(len(texts)) if other != row]
        log_p = torch.log_softmax(standing[others] @ embed(row) / temperature, dim=0)
        gradients = [
            torch.autograd.grad(each, list(parameters.values()), retain_graph=True, allow_unused=True)
            for each in log_p
        ]
        by_name = {
            name: np.stack([gradient[place].double().numpy() for gradient in gradients])
            for place, name in enumerate(parameters)
            if gradients[0][place] is not None
        }
        yield log_p.detach().double().exp().numpy(), by_name


def expectation(scores):
    """E_x Σ_y p(y|x) (∂ log p(y|x) / ∂θ)², term by term."""
    terms = [
        {name: np.tensordot(p, gradients**2, 1) for name, gradients in by_name.items()}
        for p, by_name in scores
    ]
    return {name: sum(term[name] for term in terms) / len(terms) for name in terms[0]}


def assert_equal(found, wanted):
    assert set(found) == set(wanted)
    # Attention does not change with the bias of its keys: there both are rounding.
    rounding = 1e-10 * max(values.max() for values in wanted.values())
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, 1e-4, 1e-4 * values.max() + rounding, err_msg=name)


def opposite_seeds(texts):
    """Two seeds whose products of the two signs differ for every one of three texts."""
    products = {seed: tuple(signs(seed, row, 2).prod() for row in range(texts)) for seed in range(100)}
    return next(
        (one, other)
        for one in products
        for other in products
        if all(a == -b for a, b in zip(products[one], products[other], strict=True))
    )


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_over_all_signs_it_is_the_expectation_over_the_answers(
    make_checkpoint, stack_of, texts, arch, pooling
):
    # With two answers to each of three texts, two opposite draws of the signs are all there are.
    folder, few = make_checkpoint("fisher", arch=arch, pooling=pooling), texts[:3]
    one, other = (fisher(stack_of(folder), few, seed=seed) for seed in opposite_seeds(3))
    mean = {name: (one[name] + other[name]) / 2 for name in one}
    assert_equal(mean, expectation(scores(folder, few)))


def test_each_draw_is_the_square_of_one_signed_sum_for_each_text(base, stack_of, texts):
    few = texts[:5]
    wanted = {}
    for row, (p, by_name) in enumerate(scores(base, few)):
        drawn = signs(4, row, 4) * np.sqrt(p)
        for name, gradients in by_name.items():
            wanted[name] = wanted.get(name, 0) + np.tensordot(drawn, gradients, 1) ** 2 / len(few)
    assert_equal(fisher(stack_of(base), few, seed=4), wanted)


def test_over_many_seeds_the_mean_is_the_expectation(base, stack_of, texts):
    few = texts[:5]
    exact = expectation(scores(base, few))
    draws = [fisher(stack_of(base), few, seed=seed) for seed in range(30)]
    for name, values in exact.items():
        if name.endswith("key.bias"):
            continue  # its gradient is rounding: attention does not change with it
        sums = np.array([draw[name].sum() for draw in draws])
        error = sums.std(ddof=1) / np.sqrt(len(draws))
        assert abs(sums.mean() - values.sum()) < 4 * error, name
        assert error < 0.3 * values.sum(), name


def test_gradients_are_squared_for_each_text_and_not_for_their_sum(base, stack_of, texts):
    few = texts[:3]
    per_text = list(scores(base, few))
    name = "encoder.layer.1.output.dense.weight"
    summed = sum(np.tensordot(p**0.5, by_name[name], 1) for p, by_name in per_text) ** 2 / len(few)
    one, other = (fisher(stack_of(base), few, seed=seed)[name] for seed in opposite_seeds(3))
    exact = expectation(per_text)[name]
    assert np.abs((one + other) / 2 - exact).max() < 1e-3 * exact.max()
    assert np.abs(summed - exact).max() > 0.1 * exact.max()


def test_prompts_and_the_longest_length_are_those_of_the_model(prompted, stack_of, texts):
    few = texts[:3]
    assert {text.kind for text in few} == {"query", "document"}
    seeds = opposite_seeds(3)
    one, other = (fisher(stack_of(prompted, max_seq_length=7), few, seed=seed) for seed in seeds)
    mean = {name: (one[name] + other[name]) / 2 for name in one}
    assert_equal(mean, expectation(scores(prompted, few, prompts=PROMPTS, max_seq_length=7)))


def test_the_temperature_divides_the_cosines(base, stack_of, texts):
    few = texts[:3]
    one, other = (fisher(stack_of(base), few, temperature=0.5, seed=seed) for seed in opposite_seeds(3))
    mean = {name: (one[name] + other[name]) / 2 for name in one}
    assert_equal(mean, expectation(scores(base, few, temperature=0.5)))


def test_tokens_that_no_text_has_are_told_nothing_of(base, stack_of, texts):
    found = fisher(stack_of(base), texts[:4])["embeddings.word_embeddings.weight"]
    ids = SentenceTransformer(str(base)).tokenizer([text.content for text in texts[:4]])["input_ids"]
    seen = sorted({token for row in ids for token in row})
    assert sorted(np.flatnonzero(found.any(axis=1))) == seen


def test_what_no_text_reaches_has_no_information(base, stack_of, texts):
    found = fisher(stack_of(base), texts[:3])  # mean pooling leaves the pooler aside
    assert set(found) == {name for name in stack_of(base).parameters if not name.startswith("pooler.")}


def test_texts_are_counted(base, stack_of, texts):
    seen = []
    fisher(stack_of(base), texts[:4], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_seed_gives_the_same_bits_again_and_another_one_others(base, stack_of, texts):
    one, again, other = (fisher(stack_of(base), texts[:4], seed=seed) for seed in (1, 1, 2))
    assert all(one[name].tobytes() == again[name].tobytes() for name in one)
    assert any(one[name].tobytes() != other[name].tobytes() for name in one)


def test_signs_are_even_and_differ_from_text_to_text():
    drawn = np.stack([signs(0, row, 2000) for row in range(20)])
    assert set(np.unique(drawn)) == {-1, 1}
    assert np.abs(drawn.mean(axis=1)).max() < 0.1
    correlations = drawn @ drawn.T / 2000 - np.eye(20)
    assert np.abs(correlations).max() < 0.1
