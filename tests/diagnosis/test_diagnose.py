from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from disguise import opened
from safetensors.numpy import load_file, save_file

from embedmerge.diagnosis import diagnose as module
from embedmerge.diagnosis.diagnose import diagnose, require_one_base
from embedmerge.errors import EmbedmergeError

EXPERTS = ("expert", "peer")


@pytest.fixture
def states(base, expert, peer):
    """Name -> tensor of every source, the pooler left out."""
    return [
        {
            name: value
            for name, value in load_file(folder / "model.safetensors").items()
            if "pooler" not in name
        }
        for folder in (base, expert, peer)
    ]


@pytest.fixture
def sources(base, expert, peer):
    return opened(base, expert, peer)


def in_block(name, block):
    return {
        "embeddings": name.startswith("embeddings."),
        "block 0": ".layer.0." in name,
        "block 1": ".layer.1." in name,
        "model": True,
    }[block]


def linears(states, block):
    return [
        name
        for name, value in states[0].items()
        if value.ndim == 2 and ".layer." in name and in_block(name, block)
    ]


@pytest.mark.parametrize("held", [97, 1 << 20])
def test_every_block_against_whole_matrices(held, sources, states, monkeypatch):
    monkeypatch.setattr("embedmerge.diagnosis.shared_weights.HELD", held)
    found = diagnose(sources)
    assert (found.base, found.experts) == ("base", EXPERTS)
    assert [block.name for block in found.blocks] == ["embeddings", "block 0", "block 1"]
    for block in (*found.blocks, found.model):
        rows = [
            np.concatenate([state[name].ravel() for name in states[0] if in_block(name, block.name)])
            for state in states
        ]
        vectors = [(row - rows[0]).astype(np.float64) for row in rows[1:]]
        norm = np.linalg.norm(rows[0].astype(np.float64))
        assert block.elements == rows[0].size
        for expert, vector in zip(block.experts, vectors, strict=True):
            assert expert.relative_norm == pytest.approx(np.linalg.norm(vector) / norm, rel=1e-9)
        (pair,) = block.pairs
        cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
        assert pair.cosine == pytest.approx(cosine, rel=1e-6)
        both = (vectors[0] != 0) & (vectors[1] != 0)
        same = np.sign(vectors[0]) == np.sign(vectors[1])
        assert pair.sign_agreement == pytest.approx(same[both].mean())


def test_effective_ranks_against_the_singular_values(sources, states):
    found = diagnose(sources)
    assert found.ranked
    for block in (*found.blocks, found.model):
        for at, expert in enumerate(block.experts, 1):
            ranks, shares = [], []
            for name in linears(states, block.name):
                moved = states[at][name].astype(np.float32) - states[0][name]
                singular = np.linalg.svd(moved.astype(np.float64), compute_uv=False)
                share = singular / singular.sum()
                ranks.append(np.exp(-(share * np.log(share)).sum()))
                shares.append(ranks[-1] / min(moved.shape))
            if ranks:
                assert expert.effective_rank == pytest.approx(np.mean(ranks), rel=1e-4)
                assert expert.rank_share == pytest.approx(np.mean(shares), rel=1e-4)
            else:
                assert (block.name, expert.effective_rank) == ("embeddings", None)


def test_ranks_may_be_left_out_and_are_for_wide_models(sources, monkeypatch):
    assert not diagnose(sources, ranks=False).ranked
    assert diagnose(sources, ranks=False).blocks[1].experts[0].effective_rank is None
    monkeypatch.setattr(module, "WIDEST_RANKED", 31)
    assert not diagnose(sources).ranked
    assert diagnose(sources, ranks=True).blocks[1].experts[0].effective_rank > 1
    monkeypatch.setattr(module, "WIDEST_RANKED", 32)
    assert diagnose(sources).ranked


@pytest.mark.parametrize("ranks", [True, False])
def test_progress_counts_up_to_all_there_is(ranks, sources, states):
    seen = []
    diagnose(sources, ranks, lambda done, total: seen.append((done, total)))
    elements = sum(value.size for value in states[0].values())
    twice = sum(states[0][name].size for name in linears(states, "model")) if ranks else 0
    assert {total for _, total in seen} == {elements + twice}
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == elements + twice


def test_the_base_itself_has_not_moved(base):
    found = diagnose(opened(base, base))
    (expert,) = found.model.experts
    assert (expert.relative_norm, expert.effective_rank, found.findings) == (0, None, ())


def test_more_than_two_experts_have_every_pair_and_what_all_agree_on(base, expert, peer, make_expert, states):
    third = make_expert("third", base=base, seed=7)
    vectors = [
        np.concatenate([(state[name] - states[0][name]).ravel() for name in states[0]])
        for state in (*states[1:], load_file(third / "model.safetensors"))
    ]
    found = diagnose(opened(base, expert, peer, third), ranks=False).model
    assert [pair.experts for pair in found.pairs] == list(combinations((*EXPERTS, "third"), 2))
    signs = np.sign(vectors)
    moved = (signs != 0).all(axis=0)
    agreed = moved & (signs == signs[0]).all(axis=0)
    assert found.all_agree == pytest.approx(agreed.sum() / moved.sum())


def test_the_numbers_do_not_hang_on_the_number_of_cores(sources, monkeypatch):
    found = []
    for cores in (1, 3):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        found.append(diagnose(sources))
    assert found[0] == found[1]


def test_sources_of_one_base_are_let_through(sources):
    assert require_one_base(sources) == ()


def test_sources_of_another_base_are_refused_in_one_line_that_counts_the_others(
    base, expert, make_checkpoint
):
    others = [make_checkpoint(f"other-{seed}", seed=seed) for seed in (3, 4)]
    with pytest.raises(EmbedmergeError) as caught:
        require_one_base(opened(base, expert, *others))
    text = str(caught.value)
    assert text.startswith("other-3: not tuned from base: ")
    assert text.endswith("(and 1 more: embedmerge inspect lists them)")
    assert len(text.splitlines()) == 1


def test_an_expert_that_went_far_is_let_through_with_a_warning(base, make_expert):
    far = make_expert("far", base=base, scale=0.25)
    (finding,) = require_one_base(opened(base, far))
    assert (finding.level, finding.source) == ("warning", "far")


def test_an_untouched_part_is_told_from_a_touched_one(base, tmp_path):
    """Only one Linear moved, by one direction."""
    state = load_file(base / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    random = np.random.default_rng(0)
    left, right = random.standard_normal(32), random.standard_normal(64)
    state[name] = state[name] + (0.01 * np.outer(left, right)).astype(np.float32)
    for file in ("config.json", "modules.json"):
        (tmp_path / file).write_bytes((base / file).read_bytes())
    save_file(state, tmp_path / "model.safetensors")
    embeddings, first, second = diagnose(opened(base, tmp_path)).blocks
    assert (embeddings.experts[0].relative_norm, first.experts[0].relative_norm) == (0, 0)
    assert (first.experts[0].effective_rank, embeddings.experts[0].effective_rank) == (None, None)
    assert second.experts[0].relative_norm > 0
    assert second.experts[0].effective_rank == pytest.approx(1, abs=0.01)
    assert second.experts[0].rank_share == pytest.approx(1 / 32, abs=0.001)
