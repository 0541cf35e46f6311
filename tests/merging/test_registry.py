from __future__ import annotations

import pkgutil
import re

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging import methods as folder
from embedmerge.merging.modifiers import HELP
from embedmerge.merging.registry import method, methods

PROMISED = {
    *("linear", "task_arithmetic", "model_stock", "slerp", "nuslerp", "multislerp", "karcher"),
    *("ties", "dare_linear", "dare_ties", "della", "breadcrumbs", "sce", "consensus", "pcb"),
    *("localize_and_stitch", "widen", "tsv_m", "iso_c", "iso_cts", "wudi", "opcm", "dc_merge"),
    *("fisher", "regmean"),
}


def test_methods_are_known_by_their_own_names():
    assert methods().keys() >= PROMISED
    assert all(name == spec.name for name, spec in methods().items())
    assert method("linear") is methods()["linear"]


def test_every_file_of_the_folder_is_one_method():
    assert [found.name for found in pkgutil.iter_modules(folder.__path__)] == list(methods())


@pytest.mark.parametrize("name", methods())
def test_every_method_says_what_it_does_and_where_it_comes_from(name):
    spec = method(name)
    for text in (spec.summary, spec.citation):
        assert text.strip() == text
        assert len(text.splitlines()) == 1
    assert re.search(r"arXiv \d{4}\.\d{5}|doi:10\.\d{4}|CVPR", spec.citation), spec.citation
    assert re.search(r"\b(19|20)\d{2}\b", spec.citation), spec.citation
    assert spec.combine.__doc__


@pytest.mark.parametrize("name", methods())
def test_every_parameter_has_a_help_and_a_default_that_it_allows(name):
    spec = method(name)
    assert all(len(parameter.help.splitlines()) == 1 for parameter in spec.parameters.values())
    assert spec.with_defaults({}).keys() == spec.parameters.keys()


@pytest.mark.parametrize("name", methods())
def test_no_parameter_has_the_name_of_a_modifier(name):
    assert not method(name).parameters.keys() & HELP.keys()


@pytest.mark.parametrize("name", methods())
def test_words_have_choices_and_the_default_is_one_of_them(name):
    words = [one for one in method(name).parameters.values() if isinstance(one.default, str)]
    assert all(word.default in word.choices for word in words)


@pytest.mark.parametrize("name", methods())
def test_seeds_and_counts_are_whole(name):
    parameters = method(name).parameters
    assert all(parameters[one].whole for one in ("seed", "examples", "max_iter") if one in parameters)


def test_an_unknown_method_is_refused_and_the_nearest_named():
    with pytest.raises(EmbedmergeError, match=r"'linaer'.*linear"):
        method("linaer")
