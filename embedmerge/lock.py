"""The lock: a recipe with every default and hash filled in. Two runs with equal locks give equal bytes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import embedmerge
from embedmerge.statistics.text import texts_sha256
from embedmerge.weighting.examples import Example, examples_sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.evaluation.tasks import Task
    from embedmerge.recipe import Recipe
    from embedmerge.sources import Source
    from embedmerge.statistics.text import Text
    from embedmerge.weighting.examples import ExampleSet

LIBRARIES = ("torch", "transformers", "sentence-transformers", "mteb", "faiss-cpu", "numpy")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that make the numbers."""
    return {name: version(name) for name in LIBRARIES}


def lock(
    recipe: Recipe,
    sources: Sequence[Source],
    examples: ExampleSet,
    tasks: Sequence[Task],
    texts: Sequence[Text] = (),
) -> dict[str, Any]:
    """Everything a run depends on, as plain values.

    The run folder and the number of threads are left out: they do not change a result.
    """
    content = recipe.model_dump(mode="json", exclude={"output": True, "encoding": {"threads"}})
    settings = recipe.encoding.settings()
    return {
        "embedmerge": embedmerge.__version__,
        "libraries": library_versions(),
        "recipe": content,
        "bf16": settings.bf16,
        **({"runtime": settings.runtime} if settings.runtime else {}),
        "sources": [
            {
                "name": source.name,
                "role": source.role,
                "path": source.spec.path,
                "revision": source.checkpoint.location.revision,
                "weights_sha256": source.weights_sha256,
                "model_sha256": source.model_sha256,
            }
            for source in sources
        ],
        "examples": _content(examples) if examples.examples else None,
        "weighting_reads": recipe.weighting.reads() or None,
        "texts": {"number": len(texts), "sha256": texts_sha256(texts)} if texts else None,
        "tasks": [
            {"name": task.name, "split": task.split, "side": task.side, "content": task.content}
            for task in tasks
        ],
    }


def _content(examples: ExampleSet) -> dict[str, Any]:
    rows = {"rows": len(examples.examples), "sha256": examples_sha256(examples.examples)}
    corpus = examples_sha256([Example(passage, ()) for passage in examples.corpus])
    return {**rows, "corpus_sha256": corpus} if examples.corpus else rows


def as_yaml(content: dict[str, Any]) -> str:
    """The lock as written to recipe.lock.yaml."""
    header = "# Written by embedmerge: the recipe with every default and hash filled in.\n"
    return header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def without_local_folders(content: dict[str, Any]) -> dict[str, Any]:
    """The lock as it may leave this machine: absolute paths cut to their last part."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(item) for key, item in value.items()}
        if isinstance(value, list):
            return [cut(item) for item in value]
        if isinstance(value, str) and Path(value).is_absolute():
            return Path(value).name
        return value

    return dict(cut(content))
