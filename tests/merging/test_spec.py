from __future__ import annotations

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.spec import MethodSpec, Parameter, method, methods


@pytest.fixture
def trimming():
    parameters = {"density": Parameter(0.5, "share kept"), "rescale": Parameter(True, "whether to rescale")}
    return MethodSpec("trimming", lambda tensors, coefficients: tensors[0], "x", "y", parameters)


def test_methods_are_known_by_their_own_names():
    assert "linear" in methods()
    assert all(name == spec.name for name, spec in methods().items())
    assert method("linear") is methods()["linear"]


def test_every_method_says_what_it_does_and_where_it_comes_from():
    for spec in methods().values():
        assert spec.summary
        assert "arXiv" in spec.citation
        assert all(parameter.help for parameter in spec.parameters.values())


def test_an_unknown_method_is_refused_and_the_known_ones_named():
    with pytest.raises(EmbedmergeError, match=r"'linaer'.*linear"):
        method("linaer")


def test_defaults_fill_in_what_is_not_given(trimming):
    assert trimming.with_defaults({"density": 0.2}) == {"density": 0.2, "rescale": True}
    assert trimming.with_defaults({}) == {"density": 0.5, "rescale": True}


def test_a_false_parameter_is_given_all_the_same(trimming):
    assert trimming.with_defaults({"rescale": False, "density": 0})["rescale"] is False


def test_an_unknown_parameter_is_refused_and_the_known_ones_named(trimming):
    with pytest.raises(EmbedmergeError, match=r"trimming.*'densty'.*density, rescale"):
        trimming.with_defaults({"densty": 0.2})
    with pytest.raises(EmbedmergeError, match=r"linear.*'density'.*none"):
        method("linear").with_defaults({"density": 0.2})
