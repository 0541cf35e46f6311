"""What a person sees while a command works: progress on standard error, results on standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from embedmerge.api import Merged


def print_json(value: Any) -> None:
    """JSON alone on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_merged(merged: Merged) -> None:
    """The merged model on standard output, what the gate saw on standard error."""
    for warning in merged.warnings:
        sys.stderr.write(f"note: {warning}\n")
    varying = merged.weights_by_tensor
    shares = (
        f"{name} by tensor" if name in varying else f"{name} {weight:g}"
        for name, weight in list(merged.weights.items())[1 if varying else 0 :]
    )
    left = f"{next(iter(merged.weights))} what is left, " if varying else ""
    sys.stdout.write(f"{merged.folder}: {merged.method}, {left}{', '.join(shares)}\n")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the progress bars and notices of the libraries off the screen; ours say what goes on."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Screen:
    """Progress bars on standard error, one per label; a `Watcher` of a run.

    Use as a context manager.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tasks: dict[str, TaskID] = {}
        self._progress: Progress | None = None
        self._libraries = quiet_libraries()

    def __enter__(self) -> Self:
        self._libraries.__enter__()
        if sys.stderr.isatty() and not self._quiet:
            self._progress = _bars()
            self._progress.start()
        return self

    def __exit__(self, *details: Any) -> None:
        if self._progress:
            self._progress.stop()
        self._libraries.__exit__(*details)

    def stage(self, name: str) -> None:
        """Say which stage begins."""
        if self._progress:
            self._progress.console.print(f"[dim]{name}[/dim]")
        elif not self._quiet:
            sys.stderr.write(f"{name}\n")

    def progress(self, label: str, done: int, total: int) -> None:
        """Move the bar of this label, and take it away when it is full."""
        if self._progress is None:
            return
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[label], completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._tasks.pop(label))


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
