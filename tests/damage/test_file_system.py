"""A full disk, a target that cannot be written, and a kill at any moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import resource, sys
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from embedmerge.cli import main
main()
"""


def command(scene, limit=0, weights="0.5,0.5"):
    return [
        sys.executable, "-c", SCRIPT, str(limit), "merge", "--base", str(scene.base),
        "--expert", f"e={scene.expert}", "--weights", weights, "-o", str(scene.output),
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_a_disk_that_is_full_leaves_nothing(scene, share):
    """The kernel refuses to let any file grow beyond a limit, as it refuses on a full disk."""
    limit = int(share * (scene.base / "model.safetensors").stat().st_size)
    done = subprocess.run(command(scene, limit), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert not any((scene.folder / "outputs").iterdir())


@pytest.mark.parametrize("parent", ["file", "/proc/nothing", "/dev/null"])
def test_a_target_that_cannot_be_written(scene, parent):
    if parent == "file":
        (scene.folder / "outputs" / "file").write_text("mine")
        parent = scene.folder / "outputs" / "file"
    arguments = [*command(scene)[:-1], f"{parent}/out"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_target_without_permission(scene):
    (scene.folder / "outputs").chmod(0o500)
    done = subprocess.run(command(scene), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_source_that_vanishes_is_one_line(scene):
    shutil.rmtree(scene.expert)
    scene.merge().require_refused()


def test_a_kill_at_any_moment_leaves_the_whole_result_or_none(scene):
    wanted = scene.folder / "wanted"
    subprocess.run([*command(scene)[:-1], str(wanted)], check=True, capture_output=True, timeout=60)
    began = time.monotonic()
    subprocess.run(command(scene), check=True, capture_output=True, timeout=60)
    whole = time.monotonic() - began
    shutil.rmtree(scene.output)
    for step in range(12):
        process = subprocess.Popen(command(scene), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * (0.45 + 0.05 * step))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        if scene.output.exists():
            assert content(scene.output) == content(wanted)
            shutil.rmtree(scene.output)
    subprocess.run(command(scene), check=True, capture_output=True, timeout=60)
    assert content(scene.output) == content(wanted)
    assert list((scene.folder / "outputs").iterdir()) == [scene.output]  # what was left over is gone


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
