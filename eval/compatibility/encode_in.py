"""A model's vectors in the environment this runs in, which has sentence-transformers and nothing of ours.

python encode_in.py MODEL TEXTS.json OUT.npy [BACKEND FILE [OPENVINO_SETTINGS]]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer


def main(
    folder: str, texts: str, out: str, backend: str = "torch", file: str = "", settings: str = ""
) -> None:
    """Encode as documents and, where there is a prompt, as queries."""
    options = {"file_name": file} if file else {}
    if settings:
        options["ov_config"] = json.loads(settings)
    further = {"backend": backend, "model_kwargs": options} if backend != "torch" else {}
    model = SentenceTransformer(folder, device="cpu", **further)
    read = json.loads(Path(texts).read_text())
    vectors = [model.encode(read)]
    if model.prompts.get("query"):
        vectors.append(model.encode(read, prompt_name="query"))
    np.save(out, np.concatenate(vectors))


if __name__ == "__main__":
    main(*sys.argv[1:])
