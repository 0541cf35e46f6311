from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuning_parts import PREPARATION, SETTINGS, files, write_rows

import embedmerge
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection
from embedmerge.tuning import Preparation
from embedmerge.tuning.rows import read_training_data
from embedmerge.tuning.same_text import comparable


@pytest.fixture(scope="module")
def run(learner: Path, law: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tuned model with models along the way."""
    output = tmp_path_factory.mktemp("runs") / "law"
    return embedmerge.tune(
        str(learner), str(law), output, SETTINGS, replace(PREPARATION, examples=0.2), average=True
    )


def test_the_model_is_the_base_with_other_weights_and_a_record(run: Any, learner: Path) -> None:
    made, before = files(run.folder), files(learner)
    assert set(made) == set(before) | {"tuning.json"}
    assert {name for name in before if made[name] != before[name]} == {"model.safetensors"}


def test_the_record_says_what_was_done(run: Any, law: Path) -> None:
    record = json.loads((run.folder / "tuning.json").read_text())
    assert record == json.loads(json.dumps(run.record.facts))
    assert record["data"]["sha256"] == read_collection(law, "train").sha256
    counts = record["counts"]
    assert (counts["queries"], counts["training queries"]) == (40, 24)
    assert (counts["held-out queries"], counts["example queries"]) == (8, 8)
    assert counts["negatives"]["mined"] > 0 and sum(counts["negatives"].values()) == counts["pairs"]
    assert [look["step"] for look in record["held_out"]] == [0, 2, 4, 6, 8]
    assert record["losses"][-1]["loss"] < record["losses"][0]["loss"]
    assert record["settings"]["learning_rate"] == 3e-3 and record["versions"]["torch"]


def test_nothing_held_out_was_trained_on_or_is_tested(run: Any, law: Path) -> None:
    parts = {
        name: {comparable(query["text"]) for query in read_collection(run.work / name, "dev").queries}
        for name in ("held-out", "examples")
    }
    whole = {comparable(row.query) for row in read_training_data(str(law)).rows}
    tested = {comparable(query["text"]) for query in read_collection(law, "test").queries}
    assert not parts["held-out"] & parts["examples"] and len(whole) == 40
    assert all(part <= whole and not part & tested and len(part) == 8 for part in parts.values())


def test_models_along_the_way_are_whole_and_can_be_weighed(run: Any, learner: Path, tmp_path: Path) -> None:
    from embedmerge.weighting.registry import parse_strategy

    assert [int(folder.name[5:]) for folder in run.along_the_way] == [2, 4, 6, 8]
    assert all(set(files(folder)) == set(files(learner)) for folder in run.along_the_way)
    best = run.work / "checkpoints" / f"step-{run.record.step:06d}" / "model.safetensors"
    assert best.read_bytes() == (run.folder / "model.safetensors").read_bytes()
    guard = tmp_path / "guard.txt"
    guard.write_text("".join(f"{text}\n" for text in read_collection(run.work / "examples").texts.values()))
    sources = [embedmerge.SourceSpec("base", str(learner), "base")] + [
        embedmerge.SourceSpec(folder.name, str(folder), "peer") for folder in run.along_the_way
    ]
    for strategy in ("greedy", "frank_wolfe"):
        chosen = parse_strategy(
            strategy,
            {"examples": f"{run.work / 'examples'}:dev", "guard": {"text": str(guard), "budget": 9.0}},
        )
        weights = embedmerge.weigh(sources, chosen).coefficients.weights
        assert sum(weights.values()) == pytest.approx(1)
        assert max(list(weights.values())[1:]) > 0


def test_the_same_run_again_does_nothing_and_another_is_refused(run: Any, learner: Path, law: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    again = embedmerge.tune(
        str(learner), str(law), run.folder, SETTINGS, replace(PREPARATION, examples=0.2), average=True
    )
    assert again.record == run.record
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    with pytest.raises(EmbedmergeError, match="not empty"):
        embedmerge.tune(str(learner), str(law), run.folder, replace(SETTINGS, seed=5), PREPARATION)


def test_only_an_unfinished_run_keeps_its_checkpoints(run: Any) -> None:
    left = {path.name for path in run.work.iterdir()}
    assert left == {".running", "run.json", "held-out", "examples", "checkpoints"}


def test_fresh_starts_over(learner: Path, law: Path, tmp_path: Path) -> None:
    short = replace(SETTINGS, steps=2, evaluations=1)
    first = embedmerge.tune(str(learner), str(law), tmp_path / "law", short, PREPARATION)
    other = embedmerge.tune(
        str(learner), str(law), tmp_path / "law", replace(short, seed=1), PREPARATION, fresh=True
    )
    assert first.record.sha256 != other.record.sha256
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(EmbedmergeError, match="no tuned model"):
        embedmerge.tune(str(learner), str(law), tmp_path / "mine", short, PREPARATION, fresh=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_stops_when_the_held_out_queries_get_no_better(learner: Path, law: Path, tmp_path: Path) -> None:
    hot = replace(SETTINGS, steps=12, evaluations=12, patience=2, learning_rate=0.5, stop_by="loss")
    tuned = embedmerge.tune(
        str(learner), str(law), tmp_path / "law", hot, Preparation(held_out=0.2, negatives=0)
    )
    losses = {look["step"]: look["loss"] for look in tuned.record.held_out if look["step"]}
    assert tuned.record.steps < 12
    assert tuned.record.step == min(losses, key=lambda step: losses[step])


def test_negatives_of_the_data_come_before_mined_ones(
    learner: Path, lawful_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = [dict(row) for row in lawful_rows]
    rows[3]["neg"] = []
    path = write_rows(tmp_path / "law.jsonl", rows)
    short = replace(SETTINGS, steps=1, evaluations=1)
    tuned = embedmerge.tune(
        str(learner), str(path), tmp_path / "law", short, Preparation(negatives=2, held_out=0, margin=0)
    )
    counts = tuned.record.counts["negatives"]
    assert counts["given"] in (14, 16) and sum(counts.values()) == 16  # eight rows of the forty are drawn
    assert tuned.record.held_out == () and tuned.record.gained is None


def test_lora_is_merged_by_its_products(learner: Path, law: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from sentence_transformers import SentenceTransformer

    settings = replace(SETTINGS, lora=4, steps=4, evaluations=2, learning_rate=1e-2)
    tuned = embedmerge.tune(
        str(learner), str(law), tmp_path / "law", settings, PREPARATION, keep_adapter=True
    )
    assert set(files(tuned.folder)) == set(files(learner)) | {"tuning.json"}
    reference = SentenceTransformer(str(learner))
    reference[0].auto_model = PeftModel.from_pretrained(
        reference[0].auto_model, str(tuned.work / "adapter")
    ).merge_and_unload()
    texts = ["merge two models", "a bank loan"]
    ours = torch.tensor(SentenceTransformer(str(tuned.folder)).encode(texts))
    assert torch.allclose(ours, torch.tensor(reference.encode(texts)), atol=1e-5)
    assert not torch.allclose(ours, torch.tensor(SentenceTransformer(str(learner)).encode(texts)), atol=1e-3)


def test_matryoshka_trains_the_first_numbers(learner: Path, law: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=2, evaluations=1, batch_size=8, mini_batch_size=4)
    preparation = replace(PREPARATION, negatives=0)
    whole = embedmerge.tune(str(learner), str(law), tmp_path / "whole", settings, preparation)
    nested = embedmerge.tune(
        str(learner), str(law), tmp_path / "nested", replace(settings, matryoshka=(16, 8)), preparation
    )
    assert nested.record.losses[0]["loss"] > whole.record.losses[0]["loss"]  # three losses in place of one


def test_pieces_and_gradient_checkpointing_change_nothing(learner: Path, law: Path, tmp_path: Path) -> None:
    """No dropout in the comparison: pieces draw other masks."""
    import numpy as np
    from safetensors.numpy import load_file

    calm = tmp_path / "calm"
    calm.mkdir()
    for path in learner.rglob("*"):
        if path.is_file():
            (calm / path.relative_to(learner)).parent.mkdir(exist_ok=True)
            (calm / path.relative_to(learner)).write_bytes(path.read_bytes())
    config = json.loads((calm / "config.json").read_text())
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (calm / "config.json").write_text(json.dumps(config))
    whole = replace(SETTINGS, steps=2, evaluations=1, learning_rate=1e-4)
    weights = []
    for name, settings in (
        ("whole", whole),
        ("pieces", replace(whole, mini_batch_size=3)),
        ("again", replace(whole, gradient_checkpointing=True)),
    ):
        tuned = embedmerge.tune(str(calm), str(law), tmp_path / name, settings, PREPARATION)
        weights.append(load_file(tuned.folder / "model.safetensors"))
    for other in weights[1:]:
        assert all(np.abs(other[name] - weights[0][name]).max() < 1e-4 for name in other)
