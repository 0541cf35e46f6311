"""Experts that are merged first, and the fine-tune weighed against that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from embedmerge import SourceSpec, merge
from embedmerge.errors import EmbedmergeError
from embedmerge.recipe import Recipe, parse_recipe
from embedmerge.report.serialise import from_json
from embedmerge.run import run_recipe
from embedmerge.verification import replay, verify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def content(
    base: Path,
    expert: Path,
    peer: Path,
    collection: Path,
    general_collection: Path,
    examples_file: Path,
) -> dict[str, Any]:
    return {
        "base": str(base),
        "experts": [{"path": str(expert), "name": "legal", "role": "target"}, str(peer)],
        "anchor": "iso_cts",
        "weighting": {"strategy": "front", "examples": str(examples_file)},
        "evaluation": {"target": [str(collection)], "general": [str(general_collection)]},
    }


def explicit(content: dict[str, Any], **changes: Any) -> Recipe:
    return parse_recipe({**content, "weighting": {"weights": {"legal": 0.3}}, "evaluation": {}, **changes})


def test_one_command_gives_what_two_merges_give(
    content: dict[str, Any], tmp_path: Path, base: Path, expert: Path, peer: Path
) -> None:
    run_recipe(explicit(content), tmp_path / "run")
    three = [
        SourceSpec("base", str(base), "base"),
        SourceSpec("legal", str(expert), "peer"),
        SourceSpec(peer.name, str(peer), "peer"),
    ]
    first = merge(three, [0.0, 0.5, 0.5], tmp_path / "first", method="iso_cts", parameters={"scale": 0.5})
    two = [SourceSpec("anchor", str(first.folder), "base"), SourceSpec("legal", str(expert), "target")]
    merge(two, [0.7, 0.3], tmp_path / "second")
    names = "model.safetensors"
    assert (tmp_path / "run" / "model" / names).read_bytes() == (tmp_path / "second" / names).read_bytes()


def test_weights_are_chosen_against_the_anchor_and_models_compared_with_the_base(
    content: dict[str, Any], tmp_path: Path
) -> None:
    run_recipe(parse_recipe(content), tmp_path / "run")
    report = from_json(json.loads((tmp_path / "run" / "report.json").read_text()))
    assert list(report.weights) == ["anchor", "legal"]
    assert report.comparison is not None
    assert report.comparison.base == "base"
    assert {"base", "legal", "anchor", "uniform", "placebo", "merged"} <= set(report.comparison.models)
    assert report.weighting.selection is not None
    assert report.weighting.selection.candidates[0].name == "anchor"
    assert report.roles["anchor"] == "merged first"
    page = (tmp_path / "run" / "report.html").read_text()
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for text in (page, card):
        assert "2 experts were merged first, by iso_cts (scale 0.5)" in text


def test_a_finished_run_goes_on_from_its_anchor(content: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_recipe(explicit(content), folder)
    anchor = folder / "candidates" / "anchor" / "model.safetensors"
    written = anchor.stat().st_mtime_ns
    (folder / "weights.json").unlink()
    run_recipe(explicit(content), folder)
    assert anchor.stat().st_mtime_ns == written


def test_the_model_is_made_again_from_the_anchor(content: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_recipe(explicit(content), folder)
    verified = verify(folder / "model")
    assert verified.is_sound
    with pytest.raises(EmbedmergeError, match="--source anchor=PATH"):
        replay(verified)
    moved = {"anchor": str(folder / "candidates" / "anchor"), "legal": content["experts"][0]["path"]}
    assert replay(verified, moved).is_same
    assert verify(folder / "candidates" / "anchor").is_sound


@pytest.mark.parametrize(("scale", "step"), [(None, 0.5), (1.0, 1.0)])
def test_it_stops_half_way_unless_told_otherwise(
    content: dict[str, Any], tmp_path: Path, base: Path, scale: float | None, step: float
) -> None:
    """`linear` shows it: the anchor lies at that share of the way to the experts' average."""
    parameters = {} if scale is None else {"scale": scale}
    run_recipe(explicit(content, anchor={"name": "linear", "parameters": parameters}), tmp_path / "run")
    paths = [base, *(expert["path"] if isinstance(expert, dict) else expert for expert in content["experts"])]
    start, *ends = (load_file(f"{path}/model.safetensors") for path in paths)
    found = load_file(tmp_path / "run" / "candidates" / "anchor" / "model.safetensors")
    for name, value in found.items():
        if value.dtype.kind == "f":
            average = np.mean([end[name] for end in ends], axis=0)
            np.testing.assert_allclose(value, start[name] + step * (average - start[name]), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experts": ["peer-a", "peer-b"]}, "anchor: .*role target and a peer"),
        ({"experts": [{"path": "legal", "role": "target"}]}, "anchor: .*role target and a peer"),
        ({"anchor": "fisher"}, "anchor: fisher needs text"),
        ({"anchor": "iso_ct"}, "iso_cts"),
        ({"anchor": {"name": "iso_cts", "parameters": {"scales": 1}}}, "scales"),
        ({"anchor": {"method": "iso_cts"}}, "anchor.method: unknown key"),
        ({"weighting": {"weights": {"peer": 0.3}}}, "no source is named 'peer'"),
        ({"base": {"path": "b", "name": "anchor"}}, "'anchor' is a name of the report's"),
    ],
)
def test_what_does_not_fit_is_said(content: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(EmbedmergeError, match=said):
        parse_recipe({**content, **changes})
