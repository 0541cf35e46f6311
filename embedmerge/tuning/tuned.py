"""What a tuning leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.report.document import Report
    from embedmerge.tuning.record import Record


@dataclass(frozen=True)
class Tuned:
    """A tuned model on disk.

    Attributes:
        folder: The model.
        work: The folder beside it, with the held-out queries.
        record: What it was made from and how.
        along_the_way: Models along the way, the earliest first, where they were asked for.
        notes: What was left out of the data and why.
        run: The run folder, as `embedmerge run` leaves it, where it was merged with the base.
        report: The report of that run.
    """

    folder: Path
    work: Path
    record: Record
    along_the_way: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    run: Path | None = None
    report: Report | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """As `--json` says it."""
        from embedmerge.report.serialise import to_json

        return {
            "model": str(self.folder),
            "work": str(self.work),
            "along_the_way": [str(folder) for folder in self.along_the_way],
            "tuning": self.record.facts,
            "run": str(self.run) if self.run else None,
            "report": to_json(self.report) if self.report else None,
        }


@dataclass(frozen=True)
class Kept:
    """What is kept besides the tuned model.

    Attributes:
        along_the_way: Whether the model of every look at the held-out queries is.
        adapter: Whether the LoRA adapter is.
    """

    along_the_way: bool = False
    adapter: bool = False
