from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import encoder_model
from embedmerge.statistics.fisher import diagonal_fisher
from embedmerge.statistics.gathering import statistics_of
from embedmerge.statistics.gram import gram_matrices
from embedmerge.statistics.store import StatisticsStore
from embedmerge.statistics.text import Text

SETTINGS = {"temperature": 0.05, "seed": 0.0, "examples": 256.0, "alpha": 0.9, "normalise": False}
DENSE = "encoder.layer.0.output.dense.weight"


@pytest.fixture
def store(tmp_path):
    return StatisticsStore(tmp_path / "statistics")


def opened(folder):
    return open_checkpoint(locate(str(folder)))


def gathered(folder, store, texts, kind="gram", donor=None, settings=None, **encoding):
    """Statistics, and whether the model was loaded for them."""
    encoder = Encoder(encoder_model(opened(folder)), EncodingSettings(**encoding))
    found = statistics_of(encoder, opened(donor or folder), kind, texts, settings or SETTINGS, store)
    return found, encoder.loaded


def read(found):
    with TensorReader() as reader:
        return {name: reader.read_float32(location, 0, None) for name, location in found.items()}


def files(store):
    return sorted(path.name for path in store.folder.iterdir())


@pytest.mark.parametrize("kind", ["gram", "fisher"])
def test_what_the_pass_gives_lies_on_disk(base, stack_of, texts, store, kind):
    found = read(gathered(base, store, texts, kind)[0])
    if kind == "gram":
        wanted = gram_matrices(stack_of(base), texts)
    else:
        wanted = diagonal_fisher(stack_of(base), texts, temperature=0.05, seed=0)
    assert set(found) == {name for names in wanted.shapes for name in names}
    for names, array in zip(wanted.shapes, wanted.arrays, strict=True):
        for name in names:
            np.testing.assert_allclose(found[name], array.ravel(), rtol=1e-4, atol=1e-5 * array.max())


@pytest.mark.parametrize("kind", ["gram", "fisher"])
def test_the_second_time_they_come_from_the_store_without_the_model(base, texts, store, kind, tmp_path):
    first, loaded = gathered(base, store, texts, kind)
    assert loaded
    second, loaded = gathered(base, store, texts, kind)
    assert not loaded
    assert second == first
    moved = shutil.copytree(base, tmp_path / "other name")
    third, loaded = gathered(moved, StatisticsStore(store.folder), texts, kind)
    assert (third, loaded) == (first, False)
    assert len(files(store)) == 1


@pytest.mark.parametrize("kind", ["gram", "fisher"])
def test_other_text_weights_lengths_and_kinds_have_statistics_of_their_own(base, expert, texts, store, kind):
    gathered(base, store, texts, kind)
    turned = [*texts[:-1], Text(texts[-1].content, "query")]
    for number, (folder, given, encoding) in enumerate(
        [
            (base, texts[1:], {}),
            (base, turned, {}),
            (expert, texts, {}),
            (base, texts, {"max_seq_length": 6}),
        ],
        2,
    ):
        _, loaded = gathered(folder, store, given, kind, base, **encoding)
        assert loaded
        assert len(files(store)) == number
    _, loaded = gathered(base, store, texts, "gram" if kind == "fisher" else "fisher")
    assert loaded


def test_a_setting_counts_where_it_is_used(base, texts, store):
    gathered(base, store, texts, "gram")
    gathered(base, store, texts, "fisher")
    assert len(files(store)) == 2
    other = {**SETTINGS, "alpha": 0.1, "normalise": True, "examples": 9.0}
    assert gathered(base, store, texts, "fisher", settings=other)[1] is False
    for name in ("temperature", "seed"):
        changed = {**SETTINGS, name: 3.0}
        assert gathered(base, store, texts, "gram", settings=changed)[1] is False
        assert gathered(base, store, texts, "fisher", settings=changed)[1] is True


def test_a_damaged_file_is_gathered_again(base, texts, store):
    found, _ = gathered(base, store, texts)
    before = read(found)
    (path,) = store.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    again, loaded = gathered(base, store, texts)
    assert loaded
    assert all(before[name].tobytes() == values.tobytes() for name, values in read(again).items())


@pytest.mark.parametrize("kind", ["gram", "fisher"])
def test_the_number_of_threads_does_not_matter(make_checkpoint, texts, tmp_path, kind):
    folder = make_checkpoint("wide", hidden=256, layers=1)  # wide enough for torch to share out the work
    threads = torch.get_num_threads()
    contents = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            store = StatisticsStore(tmp_path / str(number))
            gathered(folder, store, texts, kind)
            (path,) = store.folder.iterdir()
            contents.append((path.name, path.read_bytes()))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert contents[0] == contents[1]


@pytest.mark.parametrize(("kind", "what"), [("gram", "torch.nn.Linear"), ("fisher", "parameter")])
def test_a_block_s_tensor_that_the_class_does_not_have_is_refused(base, texts, store, tmp_path, kind, what):
    folder = shutil.copytree(base, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.1.adapter.weight"] = np.zeros((4, 4), np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbedmergeError) as caught:
        gathered(folder, store, texts, kind)
    assert str(caught.value) == (
        f"model: encoder.layer.1.adapter.weight is no {what} of its bert class, so nothing can be learnt "
        "of it from text; take a method that needs none, such as linear"
    )
    assert not store.folder.exists() or not files(store)
