from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from embedmerge.cli import app

if TYPE_CHECKING:
    from pathlib import Path

runner = CliRunner()


def called(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_merge(base: Path, expert: Path, peer: Path, tmp_path: Path) -> None:
    code, out, _ = called(
        "merge", "--base", base, "--expert", expert, "--expert", f"other={peer}",
        "--method", "linear", "--weights", "0.5,0.3,0.2", "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert found["weights"] == {"base": 0.5, "expert": 0.3, "other": 0.2}
    assert (found["method"], found["parameters"], found["warnings"]) == ("linear", {}, [])
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode("river").shape == (32,)


def test_merge_by_name_with_a_method_its_parameters_and_shards(base, expert, peer, tmp_path) -> None:
    code, out, err = called(
        "merge", "--base", base, "--expert", f"legal={expert}", "--expert", f"code={peer}",
        "--method", "ties", "--param", "density=0.4", "--param", "lines=0.5", "--param", "scope=tensor",
        "--weights", "{legal: {block 0: 0.3, '*': 0.5}, code: [0.1, 0.4]}", "--shard-size", "20KB",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, err
    assert out.strip().endswith("out: ties, base what is left, legal by tensor, code by tensor")
    manifest = json.loads((tmp_path / "out" / "embedmerge.json").read_text())
    assert manifest["parameters"] == {"density": 0.4, "scope": "tensor", "agg": "mean"}
    assert manifest["modifiers"] == {"lines": 0.5}
    assert manifest["weights_by_tensor"] == {"legal": {"block 0": 0.3, "*": 0.5}, "code": [0.1, 0.4]}
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 1
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode("river").shape == (32,)


def test_evaluate(base: Path, expert: Path, collection: Path) -> None:
    code, out, _ = called(
        "evaluate", base, expert, "--task", collection, "--task", f"{collection}:dev", "--json"
    )
    models = json.loads(out)["models"]
    assert code == 0
    assert [model["model"] for model in models] == [str(base), str(expert)]
    row = models[0]["tasks"][1]
    assert (row["task"], row["split"]) == ("animals", "dev")
    assert 0 < row["ndcg_at_10"] <= 100
    with open(row["per_query"]) as file:  # noqa: PTH123
        assert len(json.load(file)["per_query"]) == 20
    code, out, _ = called("evaluate", base, expert, "--task", collection)
    assert code == 0
    assert "expert" in out
    code, out, _ = called("evaluate", base, "--task", f"{collection}:dev", "--backend", "openvino", "--json")
    assert (code, json.loads(out)["models"][0]["tasks"][0]["ndcg_at_10"]) == (0, row["ndcg_at_10"])


def test_inspect(base: Path, expert: Path, make_checkpoint) -> None:
    code, out, _ = called("inspect", base, expert, "--json")
    found = json.loads(out)
    assert (code, found["mergeable"], found["sources"][0]["layers"]) == (0, True, 2)
    deeper = make_checkpoint("deeper-cli", layers=3)
    code, out, _ = called("inspect", base, deeper)
    assert code == 0
    assert "must not be merged" in out
    assert "layers 3" in " ".join(out.split())


def test_run_and_its_resumption(
    tmp_path: Path, base: Path, expert: Path, collection: Path, examples_file: Path
) -> None:
    recipe = {
        "base": str(base),
        "experts": [{"path": str(expert), "role": "target"}],
        "weighting": {"strategy": "cocktail", "examples": str(examples_file)},
        "evaluation": {"target": [str(collection)]},
        "output": {"folder": str(tmp_path / "run")},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, out, _ = called("run", tmp_path / "recipe.yaml")
    assert code == 0
    assert str(tmp_path / "run" / "model") in out
    code, out, _ = called("run", tmp_path / "recipe.yaml", "--json")
    assert (code, json.loads(out)["title"]) == (0, "recipe")


def bad_calls(tmp_path: Path, base: Path, expert: Path, other: Path, bad: Path) -> dict[str, list[object]]:
    out = ["-o", tmp_path / "out"]
    pair = ["--base", base, "--expert", expert]
    return {
        "no such folder": ["merge", "--base", "/no/where", "--expert", expert, "--weights", "0.5,0.5", *out],
        "must be 1": ["merge", *pair, "--weights", "0.5,0.4", *out],
        "one each": ["merge", *pair, "--weights", "1", *out],
        "must be numbers": ["merge", *pair, "--weights", "half,half", *out],
        "linear is nothing without them": ["merge", *pair, *out],
        "no mapping that YAML can read": ["merge", *pair, "--weights", "{expert: [", *out],
        "no source is named 'expart'": ["merge", *pair, "--weights", "{expart: 0.5}", *out],
        "--shard-size 2XB": ["merge", *pair, "--weights", "0.5,0.5", "--shard-size", "2XB", *out],
        "more than nothing": ["merge", *pair, "--weights", "0.5,0.5", "--shard-size", "0", *out],
        "did you mean 'density'": ["merge", *pair, "--method", "ties", "--param", "densty=0.2", *out],
        "must be NAME=VALUE": ["merge", *pair, "--method", "ties", "--param", "density", *out],
        "needs unlabelled text": ["merge", *pair, "--method", "fisher", *out],
        "no such merging method": ["merge", *pair, "--weights", "0.5,0.5", "--method", "dare-ties", *out],
        "--dtype int8": ["merge", *pair, "--weights", "0.5,0.5", "--dtype", "int8", *out],
        "give at least one": ["merge", "--base", base, "--weights", "1", *out],
        "layers 3": ["merge", "--base", base, "--expert", other, "--weights", "0.5,0.5", *out],
        "two sources have this": ["merge", *pair, "--expert", expert, "--weights", "0.5,0.3,0.2", *out],
        "is a bare one": ["weigh", *pair, "--examples", bad],
        "no such examples file": ["weigh", *pair, "--examples", tmp_path / "none.jsonl"],
        "this strategy needs it": ["weigh", *pair],
        "no such strategy": ["weigh", *pair, "--strategy", "guess"],
        "no expert has this name": ["weigh", *pair, "--examples", bad, "--target", "nobody"],
        "--task: give at least one": ["evaluate", base],
        "must be auto, fp32 or bf16": ["evaluate", base, "--task", tmp_path, "--precision", "fp8"],
        "must be torch, onnx or openvino": ["evaluate", base, "--task", tmp_path, "--backend", "tensorrt"],
        "device abacus: cannot be used": ["evaluate", base, "--task", tmp_path, "--device", "abacus"],
        "device cuda:97: cannot be": ["weigh", *pair, "--examples", bad, "--device", "cuda:97"],
        "no qrels": ["evaluate", base, "--task", tmp_path],
        "no such file": ["run", tmp_path / "none.yaml", *out],
        "neither modules.json nor config.json": ["inspect", tmp_path],
    }


def test_bad_input_is_one_line_with_code_2_and_nothing_written(
    tmp_path: Path, base: Path, expert: Path, make_checkpoint
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query": "q", "pos": "p"}\n')
    other = make_checkpoint("deeper-bad", layers=3)
    for says, arguments in bad_calls(tmp_path, base, expert, other, bad).items():
        code, out, err = called(*arguments)
        assert (code, out) == (2, ""), (says, err)
        assert says in err
        assert len(err.strip().splitlines()) == 1, err
        assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


def test_a_full_target_is_refused_and_left_alone(base: Path, expert: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    code, _, err = called("merge", "--base", base, "--expert", expert, "--weights", "0.5,0.5", "-o", tmp_path)
    assert code == 2
    assert "not empty" in err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = runner.invoke(app, ["--debug", "inspect", str(tmp_path)])
    assert type(result.exception).__name__ == "EmbedmergeError"


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["merge"], ["weigh"], ["evaluate"], ["inspect"], ["demo"], ["methods"], ["verify"]],
)
def test_help_needs_no_heavy_library(command: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['embedmerge', *sys.argv[1:]]\n"
        "from embedmerge.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'mteb', 'faiss', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_importing_the_package_imports_no_torch() -> None:
    code = "import embedmerge, sys; embedmerge.merge; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
