from __future__ import annotations

import math
from dataclasses import replace

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.merging.spec import MethodSpec, Parameter

SITE = Site.of("encoder.layer.1.output.dense.weight", (4, 4), 3)


@pytest.fixture
def trimming():
    parameters = {
        "density": Parameter(0.5, "share kept", 0, 1),
        "rescale": Parameter(True, "whether to rescale"),
        "agg": Parameter("mean", "what is made of them", choices=("mean", "sum")),
        "seed": Parameter(0, "number", 0, whole=True),
        "scope": Parameter("model", "over what", choices=("model", "tensor")),
    }
    return MethodSpec("trimming", lambda part, **_: part.base, "x", "y", parameters=parameters)


def refused(spec, **given):
    with pytest.raises(EmbedmergeError) as caught:
        spec.with_defaults(given)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("method trimming: ")
    return message


def test_defaults_fill_in_what_is_not_given(trimming):
    wanted = {"density": 0.2, "rescale": True, "agg": "mean", "seed": 0, "scope": "model"}
    assert trimming.with_defaults({"density": 0.2}) == wanted
    assert trimming.with_defaults({}) == {**wanted, "density": 0.5}


def test_what_is_false_or_zero_is_given_all_the_same(trimming):
    found = trimming.with_defaults({"rescale": False, "density": 0})
    assert found["rescale"] is False
    assert found["density"] == 0


def test_an_unknown_parameter_is_refused_and_the_nearest_named(trimming):
    message = refused(trimming, densty=0.2)
    assert "no parameter 'densty'" in message
    assert "density" in message


def test_a_misspelt_modifier_is_told_as_well(trimming):
    assert "clamp" in refused(trimming, clam=0.2)


@pytest.mark.parametrize("density", [-0.1, 1.1, {"block 0": 0.5, "*": 2}, [0.5, 3]])
def test_a_number_out_of_bounds_is_refused_wherever_it_stands(trimming, density):
    assert "density: must be between 0 and 1" in refused(trimming, density=density)


@pytest.mark.parametrize("density", ["much", None, True, math.nan, math.inf, [], {}, [0.1, "x"], {"*": []}])
def test_what_is_no_number_is_refused(trimming, density):
    assert "no finite number" in refused(trimming, density=density)


def test_numbers_may_be_written_as_text_as_yaml_reads_some_of_them(trimming):
    assert trimming.with_defaults({"density": "1e-3"})["density"] == 1e-3


@pytest.mark.parametrize("seed", [[0, 1], {"block 0": 1}])
def test_a_whole_parameter_does_not_differ_from_tensor_to_tensor(trimming, seed):
    assert "one number for all tensors" in refused(trimming, seed=seed)


@pytest.mark.parametrize("rescale", [1, 0.0, "yes", None])
def test_a_switch_is_true_or_false(trimming, rescale):
    assert "must be true or false" in refused(trimming, rescale=rescale)


@pytest.mark.parametrize("agg", ["median", 1, None])
def test_a_word_is_one_of_the_choices(trimming, agg):
    assert "must be one of mean, sum" in refused(trimming, agg=agg)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [((), "any number"), ((1,), "at least 1"), ((-math.inf, 2), "at most 2"), ((0, 1), "between 0 and 1")],
)
def test_bounds_are_told_in_words(bounds, words):
    assert Parameter(1.0, "x", *bounds).range == words


def test_parameters_come_to_one_number_for_a_tensor(trimming):
    parameters = trimming.with_defaults({"density": {"block 1": 0.2, "*": 0.7}, "agg": "sum"})
    assert trimming.for_tensor(parameters, SITE, ["legal"]) == {
        "density": 0.2,
        "rescale": True,
        "agg": "sum",
        "seed": 0.0,
        "scope": "model",
    }


def test_the_default_holds_where_no_selector_fits(trimming):
    parameters = trimming.with_defaults({"density": {"block 2": 0.2}})
    assert trimming.for_tensor(parameters, SITE, ["legal"])["density"] == 0.5


def test_what_may_differ_from_expert_to_expert_comes_to_one_number_for_each(trimming):
    spec = replace(trimming, parameters={"epsilon": Parameter(0.5, "x", 0, 1, by_expert=True)})

    def epsilon(given, *experts):
        parameters = spec.with_defaults({"epsilon": given})
        return spec.for_tensor(parameters, SITE, experts)["epsilon"]

    assert epsilon(0.1, "legal", "code") == (0.1, 0.1)
    given = {"expert code": {"block 1": 0.2, "*": 0.3}, "block 1": 0.4, "expert news": {"block 2": 0.9}}
    assert epsilon(given, "code", "legal", "news") == (0.2, 0.4, 0.5)
    assert epsilon({"expert code": [0.0, 1.0]}, "legal", "code") == (0.5, 0.5)
    with pytest.raises(EmbedmergeError, match="must be between 0 and 1, not 2"):
        epsilon({"expert code": {"block 1": 2}})
    with pytest.raises(EmbedmergeError, match=r"epsilon: no expert is named 'cod'; did you mean 'code'\?"):
        spec.require_named(spec.with_defaults({"epsilon": {"expert cod": 0.1}}), ["legal", "code"])


@pytest.mark.parametrize("name", ["density", "seed"])
def test_all_else_is_the_same_for_all_experts(trimming, name):
    assert "experts are not told apart here" in refused(trimming, **{name: {"expert legal": 0.5, "*": 0.1}})


def test_the_scope_of_the_survey_is_the_methods_or_the_users(trimming):
    assert trimming.survey_scope(trimming.with_defaults({})) == "model"
    assert trimming.survey_scope(trimming.with_defaults({"scope": "tensor"})) == "tensor"
    fixed = MethodSpec("fixed", trimming.combine, "x", "y")
    assert fixed.survey_scope({}) == "tensor"


@pytest.mark.parametrize(("bounds", "counts"), [((2, None), (2, 5)), ((1, 1), (1,)), ((2, 3), (2, 3))])
def test_experts_within_the_bounds_are_taken(bounds, counts):
    spec = MethodSpec("pair", lambda part, **_: part.base, "x", "y", experts=bounds)
    for count in counts:
        spec.require_experts(count)


@pytest.mark.parametrize(
    ("bounds", "count", "words"),
    [((2, None), 1, "at least 2"), ((1, 1), 2, "exactly 1"), ((2, 2), 3, "exactly 2")],
)
def test_too_few_or_too_many_experts_are_refused(bounds, count, words):
    spec = MethodSpec("pair", lambda part, **_: part.base, "x", "y", experts=bounds)
    with pytest.raises(EmbedmergeError, match=rf"method pair: .*{words}.* not {count}"):
        spec.require_experts(count)
