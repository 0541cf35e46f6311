"""Merges of real checkpoints: mergekit's own, and ours from the translation of the same YAML."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

pytest.importorskip("mergekit")

from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from embedmerge.api import merge
from embedmerge.errors import EmbedmergeError
from embedmerge.from_mergekit.translation import translate

LAYERS = 4
GRADIENTS = "weight: [0.2, 0.9, 0.4]", "weight: [0.8, 0.1, 0.6]"  # 1 together at every depth
UNEVEN = "weight: [0, 0.3, 1]", "weight: 0.5"
FILTERED = (
    "weight: [{filter: attention, value: [0.1, 0.7]}, {filter: dense, value: 0.6}, {value: 0.2}]",
    "weight: [{filter: attention, value: 0.9}, {filter: dense, value: [0, 1]}, {value: 0.3}]",
)


@pytest.fixture(scope="module")
def folders(make_checkpoint, make_expert):
    base = make_checkpoint("mergekit-base", layers=LAYERS)
    experts = {name: make_expert(f"mergekit-{name}", base=base, seed=seed) for seed, name in enumerate("ab")}
    return {"base": base, **experts}


def reference(folder):
    """mergekit 0.1.5 takes no plain BERT; told that it is an MPNet it looks at the tensors instead."""
    return {"model": {"path": str(folder)}, "override_architecture": "MPNetModel"}


def configuration(method, folders, *, a="", b="", base=None, parameters="", **keys):
    models = [{"model": "a", "parameters": a}, {"model": "b", "parameters": b}]
    models = [model for model in models if model["parameters"] is not None]
    if base is not None:
        models.insert(0, {"model": "base", "parameters": base})
    return {
        "merge_method": method,
        "models": [
            {
                "model": reference(folders[model["model"]]),
                "parameters": yaml.safe_load(f"{{{model['parameters']}}}"),
            }
            for model in models
        ],
        "parameters": yaml.safe_load(f"{{{parameters}}}"),
        "dtype": "float32",
        **keys,
    }


def merged_both_ways(content, folder):
    """Tensors by name, ours and mergekit's."""
    (folder / "merge.yml").write_text(yaml.safe_dump(content))
    translation = translate(folder / "merge.yml")
    recipe = translation.parsed
    merge(
        recipe.sources(),
        recipe.weighting.weights,
        folder / "ours",
        method=recipe.method.name,
        parameters=recipe.method.parameters,
        dtype=recipe.method.dtype,
    )
    options = MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(content), str(folder / "theirs"), options)
    return tuple(load_file(folder / side / "model.safetensors") for side in ("ours", "theirs"))


def assert_same(content, folder, folders, atol=2e-6):
    ours, others = merged_both_ways(content, folder)
    base = load_file(folders["base"] / "model.safetensors")
    assert ours.keys() == others.keys() == base.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], others[name], atol=atol, rtol=0, err_msg=name)
    assert max(np.abs(ours[name] - base[name]).max() for name in ours) > 1e-3  # something has moved


@pytest.mark.parametrize(
    "given",
    [
        {"base": "weight: 1", "a": "weight: 2", "b": "weight: 3"},
        {"base": "weight: 0.5", "a": "weight: 0.3", "b": "weight: 0.2", "parameters": "normalize: false"},
        {"base": "", "a": "weight: 0.3", "b": "", "parameters": "weight: 1"},
        {"base": "weight: 1e-1", "a": GRADIENTS[0], "b": GRADIENTS[1]},
        {"base": "weight: 0.1", "a": UNEVEN[0], "b": UNEVEN[1]},
        {"base": "weight: 0.1", "a": FILTERED[0], "b": FILTERED[1]},
        {"base": "weight: 0.1", "a": FILTERED[0], "b": "weight: 0.5"},
        {
            "base": "weight: 0.5",
            "a": "weight: [{filter: dense, value: 0.5}]",  # what it leaves out is said for all models
            "b": "weight: 0.5",
            "parameters": "weight: [{filter: query, value: 0.9}, {filter: '*', value: 0.1}]",
        },
    ],
)
def test_linear(given, folders, tmp_path):
    assert_same(configuration("linear", folders, **given), tmp_path, folders)


def test_linear_of_two_models_without_a_base(folders, tmp_path):
    content = configuration("linear", folders, a="weight: 1", b="weight: 3")
    assert_same(content, tmp_path, folders)
    assert translate(tmp_path / "merge.yml").recipe["base"] == {"path": str(folders["a"])}


@pytest.mark.parametrize(
    "t", ["0.3", "[0, 0.5, 0.3, 1]", "[{filter: attention, value: [1, 0]}, {value: 0.5}]"]
)
@pytest.mark.parametrize("base", [None, ""])
def test_slerp(t, base, folders, tmp_path):
    tuned = {"base": folders["a"], "b": folders["b"]}  # no tensor of zeros in either
    content = configuration(
        "slerp", tuned, base=base, a=None, parameters=f"t: {t}", base_model=reference(tuned["base"])
    )
    assert_same(content, tmp_path, tuned)


@pytest.mark.parametrize(
    "given",
    [
        {"a": "weight: 0.7", "b": "weight: 0.6"},
        {"a": "weight: 0.7", "b": "weight: -0.6", "parameters": "lambda: 1.3"},
        {"a": "weight: 2", "b": "weight: 3", "parameters": "normalize: true, lambda: [0.5, 1.5]"},
        {"a": "weight: 1", "b": "weight: -1", "parameters": "normalize: true"},  # a sum of 0 divides nothing
        {"a": UNEVEN[0], "b": UNEVEN[1]},
        {"a": UNEVEN[0], "b": UNEVEN[1], "parameters": "normalize: true"},
        {"a": FILTERED[0], "b": "weight: [{filter: query, value: 0.9}, {value: 0.1}]"},
        {"a": "weight: 0.7", "b": None, "parameters": "lambda: [{filter: output, value: 0.5}]"},
    ],
)
def test_task_arithmetic(given, folders, tmp_path):
    content = configuration("task_arithmetic", folders, **given, base_model=reference(folders["base"]))
    assert_same(content, tmp_path, folders)


@pytest.mark.parametrize(
    "given",
    [
        {"a": "weight: 1", "b": "weight: 1"},
        {"a": "weight: 0.7, density: 0.5", "b": "weight: 0.2, density: 0.5", "parameters": "lambda: 0.8"},
        {"a": "weight: 0.7", "b": "weight: -0.2", "parameters": "density: 0.25, normalize: false, lambda: 2"},
        {"a": UNEVEN[0], "b": UNEVEN[1], "parameters": "density: [0.25, 0.5, 0.5, 0.75]"},
        {"a": UNEVEN[0], "b": "weight: 0", "parameters": "density: 0.5"},  # all weights are 0 at depth 0
        {"a": UNEVEN[0], "b": UNEVEN[1], "parameters": "density: 0.5, normalize: false"},
        {"a": FILTERED[0], "b": "weight: [-1, 1]", "parameters": "lambda: [1, 2], normalize: false"},
        {"a": "weight: 0", "b": "weight: 0.5", "parameters": "lambda: 0.7, normalize: false"},
        {"a": "weight: 0.7, density: 0.25", "b": "weight: 0.6", "parameters": "rescale: false"},
        {"a": "weight: 0, density: 0.25", "b": "weight: 0.6, density: 0.5"},
        {
            "a": "weight: 0.7, density: [{filter: attention, value: 0.5}]",  # the rest is said for all models
            "b": "weight: 0.6, density: [{filter: dense, value: [0.25, 0.5, 0.5, 0.75]}, {value: 1}]",
            "parameters": "density: [0, 0.25, 0.5, 0.75], normalize: false",
        },
        {
            "a": FILTERED[0],
            "b": FILTERED[1],
            "parameters": "density: [{filter: dense, value: 0.5}], int8_mask: true, rescale: false",
        },
    ],
)
def test_ties(given, folders, tmp_path):
    content = configuration("ties", folders, **given, base_model=reference(folders["base"]))
    assert_same(content, tmp_path, folders)


def test_three_models_each_with_a_gradient_or_a_filter_of_its_own(folders, make_expert, tmp_path):
    # As in the example of mergekit's README, with shares of which every tensor has a whole number.
    third = make_expert("mergekit-c", base=folders["base"], seed=7)
    own = {
        "a": "density: [1, 0.75, 0.5, 0.25], weight: 1.0",
        "b": "density: 0.5, weight: [0, 0.3, 0.7, 1]",
        "c": "density: 0.25, weight: [{filter: intermediate, value: 0.5}, {value: 0}]",
    }
    three = {**folders, "c": third}
    content = configuration("ties", folders, base_model=reference(folders["base"]))
    content["models"] = [
        {"model": reference(three[name]), "parameters": yaml.safe_load(f"{{{parameters}}}")}
        for name, parameters in own.items()
    ]
    content["parameters"] = {"normalize": True, "int8_mask": True}
    assert_same(content, tmp_path, folders)
    first, second, last = translate(tmp_path / "merge.yml").recipe["experts"]
    assert translate(tmp_path / "merge.yml").recipe["method"]["parameters"]["density"] == {
        f"expert {first['name']}": {"blocks 0-999": [1, 0.75, 0.5, 0.25], "*": 1},
        f"expert {second['name']}": 0.5,
        f"expert {last['name']}": 0.25,
    }


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
@pytest.mark.parametrize("rescale", ["true", "false"])
def test_dare_that_drops_all_of_one_model_here_and_of_another_there(method, rescale, folders, tmp_path):
    # With densities of 0 and 1 chance decides nothing, so that both must give the same.
    given = {
        "a": "weight: 0.7, density: [{filter: attention, value: 0}, {value: 1}]",
        "b": "weight: [0.6, 0.2], density: [{filter: output.dense, value: 0}]",
        "parameters": f"rescale: {rescale}",
    }
    content = configuration(method, folders, **given, base_model=reference(folders["base"]))
    assert_same(content, tmp_path, folders)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
@pytest.mark.parametrize(
    "given",
    [
        {"a": "weight: 0.7", "b": "weight: 0.6"},
        {"a": "weight: 0.7", "b": "weight: 0.6", "parameters": "density: 1, normalize: true, lambda: 0.5"},
        {"a": UNEVEN[0], "b": UNEVEN[1], "parameters": "rescale: false, lambda: [0.5, 1]"},
        {"a": UNEVEN[0], "b": UNEVEN[1], "parameters": "normalize: true"},
    ],
)
def test_dare_where_nothing_is_dropped(method, given, folders, tmp_path):
    content = configuration(method, folders, **given, base_model=reference(folders["base"]))
    assert_same(content, tmp_path, folders)


@pytest.mark.parametrize(("rescale", "wanted"), [("", "l1"), (", rescale: false", "none")])
def test_dare_that_drops_has_mergekit_s_density_and_rescaling(rescale, wanted, folders, tmp_path):
    parameters = f"density: 0.4{rescale}"
    content = configuration(
        "dare_linear", folders, a="weight: 1", b=None, parameters=parameters, base_model="x/y"
    )
    (tmp_path / "merge.yml").write_text(yaml.safe_dump(content))
    method = translate(tmp_path / "merge.yml").recipe["method"]
    assert method["parameters"] == {"density": 0.4, "rescale": wanted}


def test_one_block_has_the_last_number_of_a_gradient_and_what_is_no_block_the_first(
    make_checkpoint, make_expert, tmp_path
):
    base = make_checkpoint("mergekit-shallow", layers=1)
    expert = make_expert("mergekit-shallow-expert", base=base)
    folders = {"base": base, "a": expert}
    content = configuration("linear", folders, base="weight: 1", a="weight: [1, 3]", b=None)
    assert_same(content, tmp_path, folders)


def test_results_are_stored_in_out_dtype_rounded_once(folders, tmp_path):
    content = configuration("linear", folders, base="weight: 1", a="weight: 1", b=None, out_dtype="float16")
    assert_same(content, tmp_path, folders, atol=2**-8)  # one step of float16 at the largest weights
    stored = load_file(tmp_path / "ours" / "model.safetensors").values()
    assert {tensor.dtype for tensor in stored} == {np.dtype(np.float16)}


@pytest.mark.parametrize(
    ("says", "method", "given"),
    [
        (
            r"models\[0\]\.parameters\.weight: missing, and ties needs it",
            "ties",
            {"b": "weight: 1"},
        ),
        (
            r"models\[0\]\.parameters\.weight: says nothing for other tensors; end with a `value`",
            "ties",
            {"a": "weight: [{filter: dense, value: 1}]", "b": "weight: 1"},
        ),
        (r"base_model\.parameters\.weight: missing", "linear", {"a": "weight: 1", "b": "weight: 1"}),
        (
            r"add up to 1 everywhere, not to 1\.2",
            "linear",
            {"base": "weight: 0.2", "a": "weight: [0, 1]", "b": "weight: [0.8, 0]",
             "parameters": "normalize: false"},
        ),
        (r"add up to 0, by which", "linear", {"base": "weight: 0", "a": "weight: 1", "b": "weight: -1"}),
        (
            r"add up to 0, by which",
            "linear",
            {"base": "weight: 0", "a": "weight: [0, 1]", "b": "weight: [0, 2]"},
        ),
        (
            r"different filters, which cannot be taken together",
            "ties",
            {"a": FILTERED[0], "b": "weight: [{filter: query, value: 0.9}, {value: 0.1}]"},
        ),
        (r"sum that may vanish where a weight is negative", "ties", {"a": "weight: -1", "b": "weight: 1"}),
        (
            r"density: must be between 0 and 1, not 7",
            "dare_ties",
            {"a": "weight: 1, density: [0, 7]", "b": "weight: 1"},
        ),
        (
            r"parameters\.rescale: enlarges what ties has trimmed",
            "ties",
            {"a": "weight: 1", "b": "weight: 1", "parameters": "rescale: true, density: 0.5"},
        ),
        (r"parameters\.t: missing, and slerp needs it", "slerp", {"b": None}),
        (r"models: slerp takes one beside the base, not 2", "slerp", {"parameters": "t: 0.5"}),
        (
            r"density: must be between 0 and 1, not 1\.5",
            "ties",
            {"a": "weight: 1", "b": "weight: 1", "parameters": "density: 1.5"},
        ),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_in_one_line(says, method, given, folders, tmp_path):
    content = configuration(method, folders, **given, base_model=reference(folders["base"]))
    (tmp_path / "merge.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(EmbedmergeError, match=says) as caught:
        translate(tmp_path / "merge.yml")
    assert len(str(caught.value).splitlines()) == 1


def test_the_base_is_opened_only_where_a_sum_of_weights_changes_over_the_depth(folders, tmp_path):
    def translated(weights):
        content = configuration("ties", folders, a=weights[0], b=weights[1], base_model="no/where")
        (tmp_path / "merge.yml").write_text(yaml.safe_dump(content))
        return translate(tmp_path / "merge.yml")

    assert translated(GRADIENTS).recipe["base"] == {"path": "no/where"}
    with pytest.raises(EmbedmergeError, match=r"merge\.yml: no/where: no such folder"):
        translated(UNEVEN)
