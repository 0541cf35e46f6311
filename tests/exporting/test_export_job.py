from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer
from typer.testing import CliRunner

onnxruntime = pytest.importorskip("onnxruntime", reason="extra onnx")
openvino = pytest.importorskip("openvino", reason="extra openvino")
pytest.importorskip("onnxscript", reason="extra onnx")

from embedmerge import EmbedmergeError, SourceSpec, merge
from embedmerge.api import export
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.cli import app
from embedmerge.exporting import fidelity
from embedmerge.exporting.fidelity import Fidelity
from embedmerge.exporting.runtimes import Target
from embedmerge.exporting.served import ServedEncoder
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model
from embedmerge.verification import verify

TEXTS = ["the river bank", "a judge read the contract in court and then the bank " * 3, "price"]


def opened(folder):
    return encoder_model(open_checkpoint(locate(str(folder))))


def wanted(folder):
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


def features(folder):
    return dict(
        AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, truncation=True, return_tensors="np")
    )


def pooled(hidden, mask):
    """Mean pooling and normalisation, by hand."""
    mean = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def merged(tmp_path_factory, base, expert):
    """A merged model and what was exported into it."""
    folder = tmp_path_factory.mktemp("runtimes") / "model"
    sources = [SourceSpec("base", str(base), "base"), SourceSpec("expert", str(expert), "target")]
    merge(sources, [0.5, 0.5], folder)
    found = {
        (backend, precision): export(str(folder), backend, precision=precision)
        for backend, precision in (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"))
    }
    return folder, found


def test_files_lie_where_sentence_transformers_looks_for_them(merged):
    folder, found = merged
    assert {each.place for each in found.values()} == {
        "onnx/model.onnx",
        "onnx/model_qint8_avx512_vnni.onnx",
        "openvino/openvino_model.xml",
    }
    assert all((folder / each.place).is_file() for each in found.values())
    assert (folder / "openvino" / "openvino_model.bin").is_file()


def test_onnx_runtime_gives_the_models_vectors(merged):
    folder, _ = merged
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    assert [each.name for each in session.get_outputs()] == ["last_hidden_state"]
    given = features(folder)
    hidden = session.run(None, {each.name: given[each.name] for each in session.get_inputs()})[0]
    assert np.abs(pooled(hidden, given["attention_mask"]) - wanted(folder)).max() < 1e-5


def test_openvino_gives_the_models_vectors(merged):
    folder, _ = merged
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / "openvino" / "openvino_model.xml", "CPU", exact)
    given = features(folder)
    hidden = compiled({each.any_name: given[each.any_name] for each in compiled.inputs})["last_hidden_state"]
    assert np.abs(pooled(hidden, given["attention_mask"]) - wanted(folder)).max() < 1e-5


def test_int8_is_smaller_and_near(merged):
    folder, found = merged
    int8 = found["onnx", "int8"]
    assert int8.bytes < found["onnx", "fp32"].bytes
    assert 0.9 < int8.fidelity.cosine < 0.999999
    run = Target("onnx", "int8").load(folder / int8.place)
    vectors = ServedEncoder(opened(folder), run).embed(TEXTS)
    assert 1e-5 < np.abs(vectors - wanted(folder)).max() < 0.2


def test_fp32_is_exact(merged):
    _, found = merged
    for backend in ("onnx", "openvino"):
        exact = found[backend, "fp32"].fidelity
        assert exact.cosine > 0.999999 and exact.noise < 1e-3


def test_the_manifest_knows_the_new_files(merged):
    folder, _ = merged
    verification = verify(folder)
    assert verification.is_sound
    assert "onnx/model.onnx" in verification.manifest.files


def test_the_torch_model_is_what_it_was(merged, base, expert, tmp_path):
    folder, _ = merged
    sources = [SourceSpec("base", str(base), "base"), SourceSpec("expert", str(expert), "target")]
    again = merge(sources, [0.5, 0.5], tmp_path / "again").folder
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert np.array_equal(wanted(again), wanted(folder))


def test_a_file_that_is_there_is_kept(merged):
    folder, _ = merged
    before = (folder / "onnx" / "model.onnx").read_bytes()
    with pytest.raises(EmbedmergeError, match=r"model\.onnx: is there already"):
        export(str(folder), "onnx")
    assert (folder / "onnx" / "model.onnx").read_bytes() == before


def test_cls_pooling_and_no_token_types_into_a_folder_of_its_own(make_checkpoint, tmp_path):
    donor = make_checkpoint("runtimes-xlm", arch="xlm-roberta", pooling="cls", prompts={"query": "what is "})
    before = sorted(path.name for path in donor.iterdir())
    result = CliRunner().invoke(
        app, ["export", str(donor), "--backend", "onnx", "-o", str(tmp_path / "out"), "--json"]
    )
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["lowest_cosine"] > 0.999999 and facts["file"] == "onnx/model.onnx"
    assert sorted(path.name for path in donor.iterdir()) == before
    assert np.array_equal(wanted(tmp_path / "out"), wanted(donor))
    run = Target("onnx").load(tmp_path / "out" / "onnx" / "model.onnx")
    assert np.abs(ServedEncoder(opened(donor), run).embed(TEXTS) - wanted(donor)).max() < 1e-5


def test_another_models_file_is_seen(merged, expert):
    folder, _ = merged
    model = opened(expert)
    run = Target("onnx").load(folder / "onnx" / "model.onnx")
    found = Fidelity.of(ServedEncoder(model, run), Encoder(model))
    with pytest.raises(EmbedmergeError, match=r"the exported file is off: .* at least 0\.99999 is wanted"):
        found.require("fp32")


def test_what_is_off_is_not_kept(base, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(base, tmp_path / "model"))
    before = sorted(folder.rglob("*"))
    monkeypatch.setitem(fidelity.LOWEST, "fp32", 1.1)
    with pytest.raises(EmbedmergeError, match="nothing was kept"):
        export(str(folder), "onnx")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "tensorrt"], "--backend tensorrt: there is none"),
        (
            ["--backend", "onnx", "--precision", "int4"],
            "--precision int4: there is none; did you mean 'int8'",
        ),
        (["--backend", "onnx", "--precision", "int8", "--cpu", "avx3"], "did you mean 'avx2'"),
        (["--backend", "openvino", "--cpu", "avx2"], "--cpu: says nothing but with --backend onnx"),
    ],
)
def test_bad_options_are_one_line(base, options, message):
    result = CliRunner().invoke(app, ["export", str(base), *options])
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_a_missing_library_names_its_extra(base, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(EmbedmergeError, match=r"nncf is not installed; pip install 'embedmerge\[openvino\]'"):
        export(str(base), "openvino", precision="int8")


def test_code_of_strangers_is_not_run(base, tmp_path):
    folder = Path(shutil.copytree(base, tmp_path / "custom"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "m.Model"}}))
    with pytest.raises(EmbedmergeError, match="its class comes with the model"):
        export(str(folder), "onnx")


def test_int8_names_its_processor():
    places = [Target("onnx", "int8", cpu).place for cpu in ("avx2", "arm64")]
    assert places == ["onnx/model_quint8_avx2.onnx", "onnx/model_qint8_arm64.onnx"]
    assert Target("openvino", "int8").place == "openvino/openvino_model_qint8_quantized.xml"


def test_openvino_in_int8_is_calibrated(base, tmp_path):
    pytest.importorskip("nncf", reason="extra openvino")
    found = export(str(base), "openvino", precision="int8", output=tmp_path / "out")
    assert 0.9 < found.fidelity.cosine < 0.999999
    model = openvino.Core().read_model(tmp_path / "out" / found.place)
    assert any(each.get_type_name() == "FakeQuantize" for each in model.get_ops())
