"""What came of indexing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.bundle.intake import Intake
    from embedmerge.bundle.manifest import Manifest
    from embedmerge.bundle.remarks import Remarks
    from embedmerge.retrieval.counts import Counts


@dataclass(frozen=True)
class Indexed:
    """A bundle as it is now, and what was done to it.

    Attributes:
        folder: The bundle.
        documents: Documents in it.
        passages: Passages in it.
        added: New documents.
        updated: Documents whose text is another than it was.
        removed: Documents that are not in it any more.
        unchanged: Documents of the corpus that were in it already.
        encoded: Passages that were encoded.
        cached: Passages whose vectors were known from before.
        kind: Of the index.
        chunking: How documents are cut, in words.
        layouts: Libraries whose own files are in it.
        notes: What was left out, and why.
    """

    folder: Path
    documents: int
    passages: int
    added: int
    updated: int
    removed: int
    unchanged: int
    encoded: int
    cached: int
    kind: str
    chunking: str
    layouts: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        folder: Path,
        manifest: Manifest,
        remarks: Remarks,
        *,
        intake: Intake | None = None,
        counts: Counts | None = None,
        removed: int = 0,
    ) -> Indexed:
        """What came of a change of a bundle, with a corpus or without."""
        return cls(
            folder,
            manifest.index.documents,
            manifest.index.passages,
            added=intake.added if intake else 0,
            updated=len(intake.updated) if intake else 0,
            removed=removed,
            unchanged=intake.unchanged if intake else 0,
            encoded=counts.encoded if counts else 0,
            cached=counts.hits if counts else 0,
            kind=manifest.index.kind,
            chunking=str(manifest.chunking),
            layouts=manifest.layouts,
            notes=remarks.lines,
        )
