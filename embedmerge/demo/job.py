"""The main job on the embedded example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.demo.assets import prepare
from embedmerge.recipe import load_recipe
from embedmerge.run import run_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.demo.assets import DemoAssets
    from embedmerge.report.document import Report
    from embedmerge.run import Watcher


def run_demo(folder: Path, watcher: Watcher, *, fresh: bool = False) -> tuple[Report, DemoAssets]:
    """Prepare what is missing, then run the demo's recipe.

    Args:
        folder: Run folder.
        watcher: Told what goes on.
        fresh: Start the run over; what is cached beside it is kept.

    Returns:
        The report, and where the inputs lie.

    Raises:
        EmbedmergeError: The demo extra is missing, or the folder holds something else.
    """
    assets = prepare(watcher)
    recipe = load_recipe(assets.recipe).model_copy(update={"title": "embedmerge demo"})
    return run_recipe(recipe, folder, fresh=fresh, watcher=watcher), assets


def search_lines(folder: Path, assets: DemoAssets) -> str:
    """The few lines of Python that search the target corpus with the merged model."""
    return f'''import json, faiss
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{folder.resolve() / "model"}")
texts = [json.loads(line)["text"] for line in open("{assets.corpus}")]
vectors = model.encode_document(texts)
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
scores, rows = index.search(model.encode_query(["How do I sort a tensor?"]), 3)
for score, row in zip(scores[0], rows[0]):
    print(f"{{score:.3f}}", texts[row][:70])'''
