from __future__ import annotations

import numpy as np
import pytest

from embedmerge.checkpoint.reading import TensorReader
from embedmerge.statistics.gathered import Gathered
from embedmerge.statistics.store import StatisticsStore

QUERY, KEY, DENSE = "layer.0.query.weight", "layer.0.key.weight", "2_Dense/linear.weight"


@pytest.fixture
def store(tmp_path):
    return StatisticsStore(tmp_path / "statistics")


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in ((3, 3), (5,))]


@pytest.fixture
def gathered(arrays):
    return Gathered({(QUERY, KEY): (3, 3), (DENSE,): (5,)}, iter(arrays))


def read(locations, name):
    with TensorReader() as reader:
        return reader.read_float32(locations[name], 0, None)


def test_what_is_stored_is_found_under_each_name(store, gathered, arrays):
    path = store.path({"model": "a"})
    assert store.load(path) is None
    store.store(path, gathered)
    found = StatisticsStore(store.folder).load(path)
    assert set(found) == {QUERY, KEY, DENSE}
    assert read(found, QUERY).tobytes() == read(found, KEY).tobytes() == arrays[0].tobytes()
    assert read(found, DENSE).tobytes() == arrays[1].tobytes()


def test_tensors_with_one_array_have_it_once_on_disk(store, gathered):
    path = store.path({"model": "a"})
    store.store(path, gathered)
    assert path.stat().st_size < 4 * (9 + 5) + 400


def test_the_file_depends_on_the_content_alone(store):
    paths = [store.path(content) for content in ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1, "b": [3]})]
    assert paths[0] == paths[1] != paths[2]
    assert paths[0].parent == store.folder


@pytest.mark.parametrize("damage", [b"", b"no safetensors file", None])
def test_a_damaged_file_is_as_good_as_none(store, gathered, damage):
    path = store.path({"model": "a"})
    store.store(path, gathered)
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert store.load(path) is None


def test_a_pass_that_breaks_off_leaves_nothing_behind(store):
    def arrays():
        yield np.zeros((3, 3), np.float32)
        raise KeyboardInterrupt

    path = store.path({"model": "a"})
    with pytest.raises(KeyboardInterrupt):
        store.store(path, Gathered({(QUERY,): (3, 3), (DENSE,): (5,)}, arrays()))
    assert store.load(path) is None
    assert not any(store.folder.iterdir())
