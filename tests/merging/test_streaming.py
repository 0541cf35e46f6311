from __future__ import annotations

import math
import threading
import tracemalloc

import numpy as np
import pytest
from tiny_models import LINEARS, NAMES, SHAPES, allowed, average, merged, statistics_for, tiny_sources

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.parallel import Workers
from embedmerge.merging.registry import methods
from embedmerge.merging.streaming import HELD, Arithmetic, Streaming

SITES = [Site.of(name, shape, 2) for name, shape in SHAPES.items()]
ELEMENTS = sum(site.elements for site in SITES)
WEIGHTS = {1: [0.3, 0.7], 2: [0.2, 0.5, 0.3], 3: [0.1, 0.4, 0.3, 0.2]}
# Each with a survey of the whole model and one of a tensor, and how often it looks.
SCOPED = {"ties": 2, "localize_and_stitch": 2, "pcb": 4}

every_method = pytest.mark.parametrize("name", methods())


class Reader:
    """Sources in memory that note what is read of them."""

    def __init__(self, sources, statistics=None):
        self.sources, self.statistics = list(sources.values()), statistics
        self.names = list(sources)
        self.lock = threading.Lock()
        self.read = []
        self.asked = []

    def __call__(self, site, source, start, stop):
        with self.lock:
            self.read.append((site.name, source, start, stop))
        return self.sources[source][site.name].reshape(-1)[start:stop]

    def read_statistics(self, site, source, start, stop):
        with self.lock:
            self.asked.append((site.name, source))
        values = self.statistics[self.names[source]][site.name].reshape(-1)
        return values if values.size != site.elements else values[start:stop]


def arithmetic(name, experts, weights=None, **parameters):
    return Arithmetic.of(
        name, parameters, Coefficients.explicit(NAMES[: 1 + experts], weights or WEIGHTS[experts])
    )


def streamed(made, reader, threads=2, held=HELD, sites=SITES, progress=None):
    found = {site.name: [] for site in sites}
    names = list(made.coefficients.weights)
    known = reader.read_statistics if reader.statistics else None
    with Workers(threads) as workers:
        streaming = Streaming(made, names, reader, workers, known, held)
        streaming.survey_model(sites, progress)
        for site, start, values in streaming.slices(sites):
            assert start == sum(map(len, found[site.name]))
            assert values.ndim == 1
            found[site.name].append(values)
    return {site.name: np.concatenate(found[site.name]).reshape(site.shape) for site in sites}


@every_method
@pytest.mark.parametrize("threads", [1, 5])
def test_the_bits_do_not_depend_on_the_number_of_threads(name, threads):
    experts = allowed(name, 3)
    sources = tiny_sources(0, experts)
    known = statistics_for(name, sources)
    made = arithmetic(name, experts)
    found, wanted = (streamed(made, Reader(sources, known), count, held=120) for count in (threads, 2))
    assert all(found[key].tobytes() == wanted[key].tobytes() for key in SHAPES)


@every_method
@pytest.mark.parametrize("held", [23, 150])
def test_the_bits_do_not_depend_on_how_tensors_are_cut(name, held):
    sources = tiny_sources(1, allowed(name, 3))
    whole = merged(name, sources, WEIGHTS[len(sources) - 1])
    cut = merged(name, sources, WEIGHTS[len(sources) - 1], held=held)
    assert all(cut[key].tobytes() == whole[key].tobytes() for key in SHAPES)


def ties(sources, weights, densities):
    """TIES on whole models: among the tensors of one density the largest share of each expert's changes."""
    base, *experts = sources.values()
    scale = sum(weights[1:])
    shares = [weight / scale for weight in weights[1:]]
    trimmed = []
    for expert in experts:
        moved = {key: expert[key] - base[key] for key in SHAPES}
        for density in set(densities.values()):
            group = [key for key in SHAPES if densities[key] == density]
            sizes = np.sort(np.concatenate([np.abs(moved[key]).ravel() for key in group]))[::-1]
            smallest = sizes[math.ceil(density * len(sizes) - 1e-9) - 1]
            for key in group:
                moved[key] = np.where(np.abs(moved[key]) >= smallest, moved[key], 0)
        trimmed.append(moved)
    result = {}
    for key in SHAPES:
        stacked = np.stack([moved[key] for moved in trimmed]).astype(np.float64)
        votes = np.array(shares).reshape(-1, *[1] * base[key].ndim) * stacked
        agrees = np.sign(votes) * (np.sign(votes) == np.sign(votes.sum(axis=0))) != 0
        counted = np.array(shares).reshape(-1, *[1] * base[key].ndim) * agrees
        total = np.where(counted.sum(axis=0) > 0, counted.sum(axis=0), 1)
        result[key] = base[key] + scale * (votes * agrees).sum(axis=0) / total
    return result


@pytest.mark.parametrize("held", [97, HELD])
@pytest.mark.parametrize(
    ("density", "of"),
    [
        (0.25, lambda key: 0.25),
        ({"block 0": 0.1, "*": 0.3}, lambda key: 0.1 if ".0." in key else 0.3),
        (
            {"*.bias": 1, "embeddings.*": 0.05},
            lambda key: 1 if "bias" in key else 0.05 if "emb" in key else 0.2,
        ),
        ([0.1, 0.6], lambda key: 0.1 if ".0." in key or "embeddings" in key else 0.6),
    ],
)
def test_tensors_for_which_the_same_share_holds_have_one_threshold(density, of, held):
    sources = tiny_sources(2, 3)
    wanted = ties(sources, WEIGHTS[3], {key: of(key) for key in SHAPES})
    found = merged("ties", sources, WEIGHTS[3], parameters={"density": density}, held=held)
    for key in SHAPES:
        np.testing.assert_allclose(found[key], wanted[key], atol=1e-6, err_msg=key)


def test_of_one_tensor_alone_a_threshold_is_its_own():
    sources = tiny_sources(2, 3)
    found = merged("ties", sources, WEIGHTS[3], parameters={"scope": "tensor"}, held=97)
    for key in SHAPES:
        alone = {
            name: {other: source[key] if other == key else 0 * source[key] for other in SHAPES}
            for name, source in sources.items()
        }
        densities = {other: 0.2 if other == key else 1 for other in SHAPES}
        np.testing.assert_allclose(found[key], ties(alone, WEIGHTS[3], densities)[key], atol=1e-6)


@pytest.mark.parametrize(("name", "passes"), SCOPED.items())
def test_a_survey_of_the_model_looks_at_every_element_as_often_as_it_says(name, passes):
    seen = []
    made = arithmetic(name, 2, scope="model")
    reader = Reader(tiny_sources(0, 2))
    streamed(made, reader, held=60, progress=seen.append)
    assert sum(seen) == passes * ELEMENTS
    assert sum(stop - start for _, _, start, stop in reader.read) == 3 * (passes + 1) * ELEMENTS


@pytest.mark.parametrize("name", SCOPED)
def test_where_the_survey_is_of_a_tensor_the_model_is_not_looked_at(name):
    seen = []
    made = arithmetic(name, 2, scope="tensor")
    streamed(made, Reader(tiny_sources(0, 2)), held=60, progress=seen.append)
    assert not seen


@pytest.mark.parametrize("name", [name for name, spec in methods().items() if spec.statistics is None])
def test_a_tensor_of_one_slice_is_read_once_however_often_it_is_looked_at(name):
    experts = allowed(name, 2)
    scope = {"scope": "tensor"} if "scope" in methods()[name].parameters else {}
    reader = Reader(tiny_sources(0, experts))
    streamed(arithmetic(name, experts, **scope), reader)
    assert sorted(reader.read) == sorted(
        (site.name, source, 0, site.elements) for site in SITES for source in range(experts + 1)
    )


def test_tensors_with_the_same_parameters_share_a_survey_and_no_others():
    with Workers(1) as workers:
        streaming = Streaming(
            arithmetic("ties", 2, density={"block 0": 0.1, "*.bias": 0.2}, exclude="pooler.*"),
            NAMES[:3],
            Reader(tiny_sources(0, 2)),
            workers,
        )
        surveys = streaming.model_surveys([*SITES, Site.of("encoder.layer.1.none.bias", (0,), 2)])
    groups = [[site.name for site in group] for _, group, _ in surveys]
    first = [key for key in SHAPES if ".0." in key]
    assert sorted(groups) == sorted(
        [first, [key for key in SHAPES if key not in first and "pooler" not in key]]
    )
    assert len({id(survey) for survey, _, _ in surveys}) == 2


@pytest.mark.parametrize(
    ("density", "looks"),
    [
        ({"expert legal": 0.1, "*": 0.3}, 1),  # all tensors alike: all sources are looked at together
        ({"expert legal": {"block 0": 0.1, "*": 0.3}, "*": 0.2}, 2),  # each expert alone, beside the base
    ],
)
def test_shares_of_each_expert_are_surveyed_apart_only_where_tensors_differ_too(density, looks):
    reader, seen = Reader(tiny_sources(0, 2)), []
    streamed(arithmetic("ties", 2, density=density), reader, held=60, progress=seen.append)
    passes = SCOPED["ties"]
    assert sum(seen) == looks * passes * ELEMENTS
    sources = {1: 3 * passes + 3, 2: 2 * 2 * passes + 3}[looks]
    assert sum(stop - start for _, _, start, stop in reader.read) == sources * ELEMENTS


def test_a_parameter_of_an_expert_that_there_is_none_of_is_refused():
    with pytest.raises(EmbedmergeError, match=r"density: no expert is named 'lgal'; did you mean 'legal'\?"):
        arithmetic("ties", 2, density={"expert lgal": 0.1, "*": 0.2})
    with pytest.raises(EmbedmergeError, match="no expert is named 'base'"):
        arithmetic("ties", 2, density={"expert base": 0.1})


@pytest.mark.parametrize("name", ["linear", "tsv_m", "sce", "ties"])
def test_a_method_that_surveys_no_model_has_no_survey_of_it(name):
    scope = {"scope": "tensor"} if name == "ties" else {}
    with Workers(1) as workers:
        streaming = Streaming(arithmetic(name, 2, **scope), NAMES[:3], Reader(tiny_sources(0, 2)), workers)
        assert streaming.model_surveys(SITES) == []


@every_method
def test_no_more_is_read_at_once_than_is_to_be_held(name):
    experts, spec = allowed(name, 2), methods()[name]
    sources = tiny_sources(0, experts)
    reader = Reader(sources, statistics_for(name, sources))
    streamed(arithmetic(name, experts), reader, held=64)
    step = 64 // (experts + 2)
    for key, _, start, stop in reader.read:
        if spec.cut == "tensor" and (key in LINEARS or not spec.matrices):
            assert (start, stop) == (0, math.prod(SHAPES[key]))
        elif spec.cut == "rows":
            columns = SHAPES[key][-1]
            assert start % columns == stop % columns == 0
            assert stop - start <= max(step, columns)
        else:
            assert stop - start <= step


class Endless:
    """Sources of one large tensor that is made where it is read."""

    def __init__(self):
        self.values = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32)
        self.statistics = None

    def __call__(self, site, source, start, stop):
        return np.resize(np.roll(self.values, source + start), stop - start)


def peak(name, experts, elements):
    site = Site.of("encoder.layer.0.output.dense.weight", (elements // 1000, 1000), 1)
    weights = [0.0] + [1 / experts] * experts
    coefficients = Coefficients(dict(zip(map(str, range(experts + 1)), weights, strict=True)))
    made = Arithmetic.of(name, {}, coefficients)
    tracemalloc.start()
    try:
        with Workers(2) as workers:
            streaming = Streaming(made, list(coefficients.weights), Endless(), workers)
            streaming.survey_model([site])
            assert sum(values.size for _, _, values in streaming.slices([site])) == elements
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


COUNTS = 8 << 20  # bytes: what the slices in work count of an expert in search of its threshold


@pytest.mark.parametrize("experts", [2, 8])
@pytest.mark.parametrize(("name", "each"), [("linear", 0), ("dare_ties", 0), ("della", 0), ("ties", COUNTS)])
def test_memory_is_that_of_a_few_slices_however_large_the_tensor(name, each, experts):
    elements = 4_000_000
    bound = 4 * 3 * elements / 2  # bytes: half of three sources, though there may be nine
    assert peak(name, experts, elements) < bound + (experts - 2) * each


def test_statistics_are_not_asked_for_where_a_source_does_not_count():
    sources = tiny_sources(0, 2)
    reader = Reader(sources, statistics_for("fisher", sources))
    streamed(arithmetic("fisher", 2, [0.0, 1.0, 0.0]), reader)
    assert {source for _, source in reader.asked} == {1}


@pytest.mark.parametrize("name", ["linear", "ties", "tsv_m", "fisher"])
def test_an_expert_that_does_not_count_is_read_all_the_same_so_that_nan_in_it_is_found(name):
    sources = tiny_sources(0, 2)
    reader = Reader(sources, statistics_for(name, sources))
    streamed(arithmetic(name, 2, [0.5, 0.5, 0.0]), reader)
    assert {(key, source) for key, source, _, _ in reader.read} == {
        (key, source) for key in SHAPES for source in range(3)
    }


@pytest.mark.parametrize("name", ["ties", "consensus", "sce", "model_stock", "widen", "tsv_m", "dare_ties"])
def test_an_expert_may_count_in_some_tensors_and_not_in_others(name):
    sources = tiny_sources(0, 3)
    coefficients = Coefficients.named(NAMES[:4], {"legal": 0.3, "code": 0.3, "bio": {"block 0": 0.3, "*": 0}})
    found = streamed(Arithmetic.of(name, {}, coefficients), Reader(sources), held=120)
    whole = streamed(Arithmetic.of(name, {}, coefficients), Reader(sources))
    for key in SHAPES:
        assert found[key].tobytes() == whole[key].tobytes()
        assert np.isfinite(found[key]).all()
    everywhere = merged(name, sources, [0.1, 0.3, 0.3, 0.3])
    for key in (key for key in SHAPES if ".0." in key):
        np.testing.assert_allclose(found[key], everywhere[key], atol=1e-6)


def test_a_tensor_without_statistics_is_averaged():
    sources = tiny_sources(0, 2)
    for name in (name for name, spec in methods().items() if spec.statistics):
        known = statistics_for(name, sources)
        gone = LINEARS[0]
        told = {
            source: {key: values for key, values in kept.items() if key != gone}
            for source, kept in known.items()
        }
        found = merged(name, sources, WEIGHTS[2], told)
        np.testing.assert_allclose(found[gone], average(sources, WEIGHTS[2], gone), atol=1e-6)
        other = LINEARS[1]
        assert np.abs(found[other] - average(sources, WEIGHTS[2], other)).max() > 1e-3


@pytest.mark.parametrize("name", [name for name, spec in methods().items() if spec.statistics])
def test_statistics_that_nobody_has_are_asked_for_in_one_line(name):
    with pytest.raises(EmbedmergeError, match=rf"method {name}: needs statistics of every source"):
        streamed(arithmetic(name, 2), Reader(tiny_sources(0, 2)))


def test_modifiers_are_told_from_parameters():
    made = arithmetic("ties", 2, density=0.5, scale=0.5, exclude="*.bias")
    assert made.parameters["density"] == 0.5
    assert made.modifiers.changed == {"scale": 0.5, "exclude": ["*.bias"]}


def test_weights_may_differ_from_tensor_to_tensor():
    sources = tiny_sources(0, 2)
    coefficients = Coefficients.named(NAMES[:3], {"legal": {"block 0": 0.9, "*": 0.2}, "code": [0.1, 0.5]})
    found = streamed(Arithmetic.of("linear", {}, coefficients), Reader(sources))
    for key in SHAPES:
        legal, code = 0.9 if ".0." in key else 0.2, 0.1 if ".0." in key or "embeddings" in key else 0.5
        plain = average(sources, [1 - legal - code, legal, code], key)
        np.testing.assert_allclose(found[key], plain, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "count"), [("slerp", 2), ("nuslerp", 1), ("nuslerp", 3), ("model_stock", 1)]
)
def test_a_number_of_experts_that_a_method_is_not_for_is_refused(name, count):
    with pytest.raises(EmbedmergeError, match=f"method {name}: wants"):
        arithmetic(name, count)


def test_an_error_while_reading_reaches_the_caller():
    def read(site, source, start, stop):
        raise EmbedmergeError("legal: the file has shrunk")

    for name in ("linear", "ties", "tsv_m"):
        with Workers(2) as workers, pytest.raises(EmbedmergeError, match="the file has shrunk"):
            streaming = Streaming(arithmetic(name, 2), NAMES[:3], read, workers)
            streaming.survey_model(SITES)
            list(streaming.slices(SITES))
