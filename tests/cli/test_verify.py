from __future__ import annotations

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from embedmerge.cli import app


def called(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def model(base, expert, tmp_path):
    shutil.copytree(expert, tmp_path / "expert")
    code, _, err = called(
        *("merge", "--base", base, "--expert", f"legal={tmp_path / 'expert'}"),
        *("--weights", "0.5,0.5", "-o", tmp_path / "model"),
    )
    assert code == 0, err
    return tmp_path / "model"


def test_a_sound_model(model):
    code, out, _ = called("verify", model, "--replay")
    assert code == 0
    assert "all as recorded" in out
    assert "merged again, the same bits" in out


def test_json(model):
    code, out, _ = called("verify", model, "--replay", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["sound"] is True
    assert found["weights"] == {"base": 0.5, "legal": 0.5}
    assert found["replay"]["same"] is True
    assert "model.safetensors" in found["replay"]["compared"]


def test_an_altered_model_exits_with_1_and_names_the_file(model):
    (model / "vocab.txt").write_text("other")
    code, out, _ = called("verify", model)
    assert code == 1
    assert re.search(r"^altered +vocab\.txt", out, re.MULTILINE)
    assert "1 of" in out


def test_a_model_of_other_bits_exits_with_1(model):
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "model.safetensors").write_bytes(data)
    code, out, _ = called("verify", model, "--replay")
    assert code == 1
    assert "merged again, other bits" in out


def test_a_moved_source_is_named_and_can_be_given(model, tmp_path):
    (tmp_path / "expert").rename(tmp_path / "elsewhere")
    code, out, err = called("verify", model, "--replay")
    assert (code, out) == (2, "")
    assert "--source legal=PATH" in err
    assert called("verify", model, "--replay", "--source", f"legal={tmp_path / 'elsewhere'}")[0] == 0


@pytest.mark.parametrize("method", ["fisher", "regmean"])
def test_a_merge_with_text(base, expert, tmp_path, method):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"a river and the {word}\n" for word in "abcdefghij"))
    arguments = ("--base", base, "--expert", f"legal={expert}", "--method", method, "--text", text)
    assert called("merge", *arguments, "-o", tmp_path / "out")[0] == 0
    code, out, err = called("verify", tmp_path / "out", "--replay", "--text", text)
    assert code == 0, err
    assert "the same bits" in out
    code, _, err = called("verify", tmp_path / "out", "--replay")
    assert code == 2
    assert "--text" in err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--source", "legal=x"], "--source: says nothing without --replay"),
        (["--text", "x.txt"], "--text: says nothing without --replay"),
        (["--replay", "--source", "legal"], "--source legal: must be NAME=PATH"),
        (["--replay", "--text", "x.txt"], "no use for text"),
    ],
)
def test_bad_options_are_one_line_with_code_2(model, more, says):
    code, out, err = called("verify", model, *more)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_what_embedmerge_has_not_written_cannot_be_verified(base, tmp_path):
    for folder in (base, tmp_path / "nowhere"):
        code, _, err = called("verify", folder)
        assert code == 2
        assert err.startswith("error: ")
