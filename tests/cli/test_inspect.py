from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from embedmerge.api import inspect
from embedmerge.cli import app
from embedmerge.errors import EmbedmergeError

runner = CliRunner()


def called(*arguments, columns=80):
    result = runner.invoke(app, ["inspect", *map(str, arguments)], env={"COLUMNS": str(columns)})
    return result.exit_code, result.stdout, result.stderr


def shown(*arguments, columns=80):
    code, out, err = called(*arguments, columns=columns)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= columns
    return out


def as_json(*arguments):
    code, out, err = called(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def changed(folder, target, change):
    shutil.copytree(folder, target)
    save_file(change(load_file(folder / "model.safetensors")), target / "model.safetensors")
    return target


@pytest.fixture
def permuted(expert, tmp_path):
    """The expert with the neurons of its second block in another order."""

    def permute(state):
        order = np.random.default_rng(0).permutation(64)
        inner, outer = (f"encoder.layer.1.{name}.dense" for name in ("intermediate", "output"))
        for name in (f"{inner}.weight", f"{inner}.bias"):
            state[name] = state[name][order]
        state[f"{outer}.weight"] = np.ascontiguousarray(state[f"{outer}.weight"][:, order])
        return state

    return changed(expert, tmp_path / "permuted", permute)


@pytest.mark.parametrize("columns", [80, 120])
def test_facts_then_the_map_then_the_verdict(base, expert, peer, columns):
    lines = shown(base, expert, peer, columns=columns).splitlines()
    starts = ["architecture", "Task vectors against base", "A  expert", "B  peer", "embeddings", "block 1"]
    places = [next(at for at, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert places == sorted(places)
    assert any("norm / base's" in line and "cosine" in line for line in lines)
    assert lines[-1] == "These may be merged."


def test_what_a_source_has_in_common_with_the_first_is_not_said_again(base, expert, make_checkpoint):
    cls = make_checkpoint("cls-inspected", pooling="cls")
    rows = {
        line.split()[0]: line.split()[1:] for line in shown(base, expert, cls).splitlines() if line.split()
    }
    assert rows["architecture"] == ["bert", "same", "same"]
    assert rows["pooling"] == ["mean", "same", "cls"]


def test_json_holds_every_number_of_the_diagnosis(base, expert, peer, make_expert):
    third = make_expert("third-inspected", base=base, seed=9)
    found = as_json(base, expert, peer, third)
    assert list(found) == ["sources", "mergeable", "findings", "diagnosis"]
    assert (found["mergeable"], found["findings"]) == (True, [])
    diagnosis = found["diagnosis"]
    assert diagnosis.keys() == {"base", "experts", "blocks", "model", "ranked"}
    assert (diagnosis["base"], diagnosis["experts"]) == ("base", ["expert", "peer", "third-inspected"])
    assert [block["name"] for block in diagnosis["blocks"]] == ["embeddings", "block 0", "block 1"]
    for block in (*diagnosis["blocks"], diagnosis["model"]):
        assert block.keys() == {"name", "elements", "experts", "pairs", "all_agree"}
        assert [pair["experts"] for pair in block["pairs"]] == [
            ["expert", "peer"],
            ["expert", "third-inspected"],
            ["peer", "third-inspected"],
        ]
    states = [load_file(folder / "model.safetensors") for folder in (base, expert, peer)]
    rows = [
        np.concatenate([state[name].ravel() for name in state if ".layer.1." in name]).astype(np.float64)
        for state in states
    ]
    block = diagnosis["blocks"][2]
    norm = np.linalg.norm(rows[1] - rows[0]) / np.linalg.norm(rows[0])
    assert block["experts"][0]["relative_norm"] == pytest.approx(norm, rel=1e-5)
    assert 1 < block["experts"][0]["effective_rank"] < 32
    assert 0 < block["experts"][0]["rank_share"] < 1
    vectors = rows[1] - rows[0], rows[2] - rows[0]
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    assert block["pairs"][0]["cosine"] == pytest.approx(cosine, abs=1e-5)
    assert block["pairs"][0]["sign_agreement"] == pytest.approx(
        (np.sign(vectors[0]) == np.sign(vectors[1])).mean(), abs=1e-3
    )
    assert 0 < block["all_agree"] < block["pairs"][0]["sign_agreement"]


def test_a_source_that_is_not_tuned_from_the_base_must_not_be_merged(base, expert, make_checkpoint):
    other = make_checkpoint("other-inspected", seed=4)
    text = " ".join(shown(base, expert, other).split())
    assert "error other-inspected: not tuned from base" in text
    assert text.endswith("These must not be merged.")
    found = as_json(base, expert, other)
    assert not found["mergeable"]
    assert [(finding["level"], finding["source"]) for finding in found["findings"]] == [
        ("error", "other-inspected")
    ]
    assert found["diagnosis"]["model"]["experts"][1]["relative_norm"] > 1  # the map is there all the same


def test_a_re_parametrised_source_must_not_be_merged(base, peer, permuted):
    text = " ".join(shown(base, permuted, peer).split())
    assert "error permuted: re-parametrised" in text
    assert "in block 1)" in text
    assert text.endswith("These must not be merged.")
    assert not as_json(base, permuted, peer)["mergeable"]


def test_errors_of_the_diagnosis_come_before_warnings_of_the_gate(base, make_checkpoint):
    other = make_checkpoint("prompted-inspected", seed=4, prompts={"query": "query: "})
    levels = [finding["level"] for finding in as_json(base, other)["findings"]]
    assert levels == ["error", "warning"]


def test_no_weight_is_read_where_the_gate_has_errors(base, expert, make_checkpoint, tmp_path):
    deeper = make_checkpoint("deeper-inspected", layers=3)

    def spoilt(state):
        state["encoder.layer.0.output.dense.bias"][0] = np.nan
        return state

    broken = changed(expert, tmp_path / "broken", spoilt)
    found = as_json(base, broken, deeper)
    assert (found["mergeable"], found["diagnosis"]) == (False, None)
    assert "Task vectors" not in shown(base, broken, deeper)
    code, out, err = called(base, broken)
    assert (code, out) == (2, "")
    assert "broken: tensor 'encoder.layer.0.output.dense.bias' holds NaN or infinity" in err


def test_quick_reads_no_weight(base, make_checkpoint):
    other = make_checkpoint("unread-inspected", seed=4)
    found = as_json(base, other, "--quick")
    assert (found["mergeable"], found["diagnosis"]) == (True, None)
    text = shown(base, other, "--quick")
    assert "Task vectors" not in text
    assert text.splitlines()[-1] == "These may be merged, as far as their files say; no weights were read."


def test_ranks_are_as_asked_for(base, expert):
    assert "effective rank of 32" in shown(base, expert)
    assert "effective rank" not in shown(base, expert, "--no-ranks")
    assert not as_json(base, expert, "--no-ranks")["diagnosis"]["ranked"]
    assert as_json(base, expert, "--ranks")["diagnosis"]["ranked"]


def test_one_source_has_facts_alone(base):
    text = shown(base)
    assert "architecture" in text
    assert "merged" not in text
    found = as_json(base)
    assert (found["mergeable"], found["findings"], found["diagnosis"]) == (False, [], None)


def test_a_plain_base_is_told_how_it_pools(base, expert, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(base, plain, ignore=shutil.ignore_patterns("modules.json", "1_Pooling"))
    found = as_json(plain, expert)
    assert (found["mergeable"], found["diagnosis"]) == (False, None)
    assert "--pooling" in found["findings"][0]["text"]
    found = as_json(plain, expert, "--pooling", "mean", "--normalise")
    assert (found["mergeable"], found["sources"][0]["pooling"]) == (True, "mean")
    assert found["sources"][0]["normalised"]
    code, _, err = called(plain, expert, "--normalise")
    assert code == 2
    assert "`normalise` is given without `pooling`" in err


def test_folders_of_one_name_are_told_apart(base, expert, peer, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / folder.name / "final") for folder in (expert, peer)]
    experts = as_json(base, *folders)["diagnosis"]["experts"]
    assert experts == [f"{folder} #{at}" for at, folder in enumerate(folders, 2)]


def test_a_name_with_brackets_is_no_markup(base, expert, tmp_path):
    folder = shutil.copytree(expert, tmp_path / "[red]legal")
    assert "A  [red]legal" in shown(base, folder)


def test_progress_is_told_to_the_caller(base, expert):
    seen = []
    found = inspect([str(base), str(expert)], progress=lambda *told: seen.append(told))
    assert found.mergeable
    assert {label for label, _, _ in seen} == {"reading weights"}
    assert seen[-1][1] == seen[-1][2]


def test_nothing_to_inspect_is_said():
    with pytest.raises(EmbedmergeError, match="no source"):
        inspect([])
