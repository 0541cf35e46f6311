from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.precision import native_bf16
from embedmerge.tuning import Tuning, tune

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [*"abcdefghijklmnopqr"]
SETTINGS = Tuning(steps=6, batch_size=8, learning_rate=3e-3, max_seq_length=16, precision="fp32")


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1))


@pytest.fixture(scope="module")
def tiny(make_checkpoint: Any) -> Path:
    """A real BERT as sentence-transformers 2 saved it: `position_ids` in the file, legacy module types."""
    import torch
    from safetensors.torch import load_file, save_file

    folder: Path = make_checkpoint("tuning", words=WORDS, spread=1)
    state = load_file(folder / "model.safetensors")
    state["embeddings.position_ids"] = torch.arange(66)[None]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "README.md").write_text("The base's own card.\n")
    return folder


@pytest.fixture
def pairs() -> list[tuple[str, str]]:
    draw = random.Random(0)
    rows = [draw.sample(WORDS, 6) for _ in range(40)]
    return [(" ".join(row[:3]), " ".join(row[1:])) for row in rows]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def variant(tiny: Path, folder: Path, change: Any = None, **config: Any) -> Path:
    """A copy of the tiny model with its tensors put through `change`."""
    from safetensors.torch import save_file

    shutil.copytree(tiny, folder)
    if change is not None:
        save_file(change(tensors(folder)), folder / "model.safetensors", {"format": "pt"})
    if config:
        write_json(folder / "config_sentence_transformers.json", config)
    return folder


def test_only_the_weights_differ(
    tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    steps = []
    before = files(tiny)
    out = tune(tiny, pairs, tmp_path / "expert", SETTINGS, lambda step, total: steps.append((step, total)))
    assert capfd.readouterr() == ("", "")
    assert out == tmp_path / "expert"
    assert steps == [(i, 6) for i in range(1, 7)]
    assert files(tiny) == before
    after = files(out)
    assert set(after) == set(before)
    assert [name for name in before if before[name] != after[name]] == ["model.safetensors"]
    old, new = tensors(tiny), tensors(out)
    assert list(old) == list(new)
    assert all(old[name].dtype == new[name].dtype and old[name].shape == new[name].shape for name in old)
    assert torch.equal(old["embeddings.position_ids"], new["embeddings.position_ids"])
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert {name for name in old if "encoder" in name and not name.endswith("key.bias")} <= changed
    assert SentenceTransformer(str(out)).max_seq_length == 48
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expert"]


def test_same_seed_same_bytes(tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    written = [
        files(tune(tiny, pairs, tmp_path / str(i), replace(SETTINGS, seed=seed)))["model.safetensors"]
        for i, seed in enumerate((3, 3, 4))
    ]
    assert written[0] == written[1]
    assert written[0] != written[2]


def margin(folder: Path, pairs: list[tuple[str, str]]) -> float:
    """How much closer a query is to its own document than to the others."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder))
    scores = model.encode([pair[0] for pair in pairs]) @ model.encode([pair[1] for pair in pairs]).T
    return float(scores.diagonal().mean() - scores.mean())


def test_learns(tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    out = tune(tiny, pairs, tmp_path / "expert", replace(SETTINGS, steps=20))
    assert margin(out, pairs) > margin(tiny, pairs) + 0.05


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"batch_size": 80}, {"precision": "auto"}])
def test_other_settings(
    tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path, settings: dict[str, Any]
) -> None:
    out = tune(tiny, pairs, tmp_path / "expert", replace(SETTINGS, steps=2, **settings))
    assert {str(tensor.dtype) for tensor in tensors(out).values()} == {"torch.float32", "torch.int64"}


def test_negatives_and_prompts_count(tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=2)
    rows = [(query, document, " ".join(WORDS[-3:])) for query, document in pairs]
    prompted = variant(tiny, tmp_path / "prompted", prompts={"query": "a ", "document": "b c "})
    spelled = [(f"a {query}", f"b c {document}") for query, document in pairs]
    plain = tune(tiny, pairs, tmp_path / "plain", settings)
    negatives = tune(tiny, rows, tmp_path / "negatives", settings)
    prompts = tune(prompted, pairs, tmp_path / "prompts", settings)
    by_hand = tune(tiny, spelled, tmp_path / "by_hand", settings)
    weights = [files(folder)["model.safetensors"] for folder in (plain, negatives, prompts, by_hand)]
    assert len(set(weights)) == 3
    assert weights[2] == weights[3]


def test_older_names_are_kept(tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    import torch

    def older(current: dict[str, Any]) -> dict[str, Any]:
        renamed = {f"bert.{name}": tensor for name, tensor in current.items() if "pooler" not in name}
        head = {"cls.predictions.bias": torch.ones(7)}
        return {k.replace("LayerNorm.weight", "LayerNorm.gamma"): v for k, v in renamed.items()} | head

    base = variant(tiny, tmp_path / "base", older)
    out = tune(base, pairs, tmp_path / "expert", replace(SETTINGS, steps=2))
    old, new = tensors(base), tensors(out)
    assert set(old) == set(new)
    assert torch.equal(new["cls.predictions.bias"], torch.ones(7))
    name = "bert.encoder.layer.0.output.LayerNorm.gamma"
    assert not torch.equal(old[name], new[name])


def test_stale_weights_are_left_behind(tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    base = variant(tiny, tmp_path / "base")
    torch.save(tensors(base), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    (base / "onnx").mkdir()
    (base / "onnx" / "model.onnx").write_bytes(b"old")
    for name in ("tuning.json", "embedmerge.json", "recipe.lock.yaml"):
        (base / name).write_text("how the base was made")
    out = tune(base, pairs, tmp_path / "from_bin", replace(SETTINGS, steps=2))
    assert set(files(out)) == set(files(tiny))
    half = variant(tiny, tmp_path / "half")
    rounded = {k: v.half() if v.is_floating_point() else v for k, v in tensors(half).items()}
    save_file(rounded, half / "model.safetensors", {"format": "pt"})
    out = tune(half, pairs, tmp_path / "from_half", replace(SETTINGS, steps=2))
    assert {str(tensor.dtype) for tensor in tensors(out).values()} == {"torch.float32", "torch.int64"}


def poisoned(current: dict[str, Any]) -> dict[str, Any]:
    current["encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    return current


def test_a_loss_that_is_no_number(tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    with pytest.raises(EmbedmergeError, match=r"step 1: .*lower learning rate"):
        tune(variant(tiny, tmp_path / "nan", poisoned), pairs, tmp_path / "expert", SETTINGS)
    with pytest.raises(EmbedmergeError, match=r"step [2-6]: .*lower learning rate"):
        tune(tiny, pairs, tmp_path / "expert", replace(SETTINGS, learning_rate=1e38, warmup_ratio=0.0))
    with pytest.raises(EmbedmergeError, match=r"step 1: .*lower learning rate"):
        tune(
            tiny, pairs, tmp_path / "expert", replace(SETTINGS, steps=1, learning_rate=1e39, warmup_ratio=0.0)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["nan"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pairs": []}, "pairs"),
        ({"pairs": [("a", "b"), ("a", "b", "c")]}, "same number of negatives"),
        ({"pairs": [("a",), ("b",)]}, "pairs"),
        ({"steps": 0}, "steps"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"temperature": float("nan")}, "temperature"),
        ({"warmup_ratio": 2.0}, "warmup_ratio"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_refusals(
    tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    rows = change.pop("pairs", pairs)
    with pytest.raises(EmbedmergeError, match=words):
        tune(tiny, rows, tmp_path / "expert", replace(SETTINGS, **change))
    assert not list(tmp_path.iterdir())


def test_refused_folders(tiny: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(EmbedmergeError, match="not empty"):
        tune(tiny, pairs, tmp_path / "taken", SETTINGS)
    with pytest.raises(EmbedmergeError, match=r"modules\.json"):
        tune(tmp_path, pairs, tmp_path / "expert", SETTINGS)


def test_native_bf16() -> None:
    import torch

    assert isinstance(native_bf16(), bool)
    assert native_bf16("cuda:0") in {False, torch.cuda.is_available()}
    assert native_bf16("mps") is False
