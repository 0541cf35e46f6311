"""A process that is killed for real, and a run that goes on from what it left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuning_parts import PREPARATION, SETTINGS, files

import embedmerge
from embedmerge.errors import EmbedmergeError
from embedmerge.tuning.checkpoints import latest

# Slower steps than the tests' own, so that the kill meets one.
SLOW = replace(SETTINGS, steps=20, evaluations=5, batch_size=16)
PARTS = replace(PREPARATION, examples=0.2)
KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import embedmerge
from test_tuning_interrupted import PARTS, SLOW
embedmerge.tune(sys.argv[1], sys.argv[2], Path(sys.argv[3]), SLOW, PARTS, average=True)
"""


def kill_at(reached: Path, process: subprocess.Popen[bytes]) -> None:
    """Kill a process as soon as a path exists."""
    deadline = time.monotonic() + 120
    while not reached.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_to_the_same_bits(learner: Path, law: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed" / "law"
    arguments = [str(learner), str(law), str(output), str(Path(__file__).parent)]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    work = output.parent / "law-tuning"
    kill_at(work / "trainer" / "checkpoint-8", process)  # it is being written, or just was
    assert not output.exists()
    point = latest(work / "trainer")
    assert point is not None and 4 <= point.step < 20

    with pytest.raises(EmbedmergeError, match="--fresh"):
        embedmerge.tune(str(learner), str(law), output, replace(SLOW, seed=9), PARTS, average=True)
    steps: list[int] = []

    class Watcher:
        def stage(self, name: str) -> None: ...
        def progress(self, label: str, done: int, total: int) -> None:
            if label == "tuning":
                steps.append(done)

    resumed = embedmerge.tune(str(learner), str(law), output, SLOW, PARTS, average=True, watcher=Watcher())
    assert steps == list(range(point.step + 1, 21))
    whole = embedmerge.tune(str(learner), str(law), tmp_path / "whole" / "law", SLOW, PARTS, average=True)
    assert resumed.record == whole.record
    assert files(output) == files(whole.folder)
    assert files(resumed.work) == files(whole.work)


class Stopper:
    """A watcher that interrupts training after so many steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def stage(self, name: str) -> None: ...
    def progress(self, label: str, done: int, total: int) -> None:
        if label == "tuning" and done == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"learning_rate": 0.5, "stop_by": "loss", "patience": 3, "evaluations": 12, "steps": 12}, 4),
        ({"lora": 4, "lora_dropout": 0.1, "mini_batch_size": 3}, 3),
    ],
    ids=["early stopping", "LoRA in pieces"],
)
def test_what_resumes_besides_the_weights(
    learner: Path, law: Path, tmp_path: Path, change: dict[str, Any], after: int
) -> None:
    """How long nothing has got better; factors, their dropout and the state of the generator."""
    settings = replace(SETTINGS, **change)
    parts = replace(PREPARATION, negatives=0)
    with pytest.raises(KeyboardInterrupt):
        embedmerge.tune(
            str(learner), str(law), tmp_path / "a" / "law", settings, parts, watcher=Stopper(after)
        )
    assert latest(tmp_path / "a" / "law-tuning" / "trainer")
    resumed, whole = (
        embedmerge.tune(str(learner), str(law), tmp_path / name / "law", settings, parts) for name in "ab"
    )
    assert resumed.record == whole.record
    assert files(resumed.folder) == files(whole.folder)


def test_a_model_along_the_way_that_a_kill_left_out_is_written(
    learner: Path, law: Path, tmp_path: Path
) -> None:
    output = tmp_path / "law"
    with pytest.raises(KeyboardInterrupt):
        embedmerge.tune(str(learner), str(law), output, SETTINGS, PARTS, average=True, watcher=Stopper(3))
    shutil.rmtree(tmp_path / "law-tuning" / "checkpoints" / "step-000002")
    tuned = embedmerge.tune(str(learner), str(law), output, SETTINGS, PARTS, average=True)
    assert [int(folder.name[5:]) for folder in tuned.along_the_way] == [2, 4, 6, 8]


def test_half_a_checkpoint_is_none(tmp_path: Path) -> None:
    for step, content in ((5, json.dumps({"max_steps": 20})), (10, '{"max_st'), (15, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if content is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(content)
    point = latest(tmp_path)
    assert point is not None and point.step == 5 and not point.finished
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert latest(tmp_path / "nowhere") is None


def test_a_run_that_ended_early_is_not_trained_on(tmp_path: Path) -> None:
    """Killed between its last checkpoint and the model: the early stop must not be forgotten."""
    for step, stopped in ((5, False), (10, True)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        state = {
            "max_steps": 40,
            "best_model_checkpoint": "/elsewhere/checkpoint-5",
            "stateful_callbacks": {"TrainerControl": {"args": {"should_training_stop": stopped}}},
        }
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    point = latest(tmp_path)
    assert point is not None and point.finished and point.best == tmp_path / "checkpoint-5"
