from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.lineage import (
    BLOCK,
    FollowingDigest,
    combined_sha256,
    file_sha256,
    files_sha256,
    model_sha256,
    weights_sha256,
)


def opened(folder):
    return open_checkpoint(Location(str(folder), Path(folder), None))


@pytest.fixture
def copy(tmp_path, base):
    return Path(shutil.copytree(base, tmp_path / "copy"))


@pytest.mark.parametrize("content", [b"", b"abc", bytes(3_000_000)])
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_files_are_named_by_their_place_and_sorted(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/x", "a", "c"):
        (tmp_path / name).write_text(name)
    digests = files_sha256(tmp_path, [tmp_path / name for name in ("c", "b/x", "a")])
    assert list(digests) == ["a", "b/x", "c"]
    assert digests["b/x"] == hashlib.sha256(b"b/x").hexdigest()


def test_the_combined_digest_is_what_sha256sum_output_hashes_to():
    digests = {"b": "22", "a": "11"}
    assert combined_sha256(digests) == hashlib.sha256(b"11  a\n22  b\n").hexdigest()
    assert combined_sha256(digests) != combined_sha256({"a": "22", "b": "11"})
    assert combined_sha256(digests) != combined_sha256({"a": "11"})


def test_a_copy_has_the_same_digests(base, copy):
    assert weights_sha256(opened(copy)) == weights_sha256(opened(base))
    assert model_sha256(opened(copy)) == model_sha256(opened(base))


def test_other_weights_change_both_digests(base, expert):
    assert weights_sha256(opened(expert)) != weights_sha256(opened(base))
    assert model_sha256(opened(expert)) != model_sha256(opened(base))


def test_one_changed_byte_of_weights_changes_both_digests(base, copy):
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert weights_sha256(opened(copy)) != weights_sha256(opened(base))
    assert model_sha256(opened(copy)) != model_sha256(opened(base))


@pytest.mark.parametrize("name", ["vocab.txt", "1_Pooling/config.json", "config_sentence_transformers.json"])
def test_a_changed_module_file_changes_the_models_digest_only(base, copy, name):
    (copy / name).write_text((copy / name).read_text() + " ")
    assert weights_sha256(opened(copy)) == weights_sha256(opened(base))
    assert model_sha256(opened(copy)) != model_sha256(opened(base))


def test_a_card_changes_neither_digest(base, copy):
    (copy / "README.md").write_text("# A card")
    assert weights_sha256(opened(copy)) == weights_sha256(opened(base))
    assert model_sha256(opened(copy)) == model_sha256(opened(base))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
@pytest.mark.parametrize("places", [[], [0], [7, 3, 7], [BLOCK, 2 * BLOCK + 1, 5], [10**9]])
def test_a_following_digest_is_that_of_the_file(tmp_path, size, places):
    path = tmp_path / "weights"
    path.write_bytes(np.random.default_rng(size).bytes(size))
    with FollowingDigest(path) as digest:
        for place in places:
            digest.follow(place)
            assert digest.lag(place) <= 0 or place > size
        assert digest.finish() == file_sha256(path)
