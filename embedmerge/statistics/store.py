"""Statistics on disk, keyed by content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.atomic import new_file
from embedmerge.checkpoint.reading import TensorLocation
from embedmerge.checkpoint.tensors import SafetensorsFile, SafetensorsWriter, TensorInfo
from embedmerge.digest import content_digest
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.statistics.gathered import Gathered

BETWEEN_NAMES = " "  # no tensor's name has one


class StatisticsStore:
    """One safetensors file for each source, text and setting; an array is named after all its tensors.

    Args:
        folder: Where the files lie; created on the first store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, content: dict[str, Any]) -> Path:
        """The file for statistics that depend on this content, and on nothing else."""
        return self.folder / f"{content_digest(content)}.safetensors"

    def load(self, path: Path) -> dict[str, TensorLocation] | None:
        """Where the statistics of each tensor lie, or None where there is no file or it is damaged."""
        try:
            with SafetensorsFile(path) as file:
                tensors = file.tensors.items()
        except EmbedmergeError:
            return None
        return {
            name: TensorLocation(path, info, stored)
            for stored, info in tensors
            for name in stored.split(BETWEEN_NAMES)
        }

    def store(self, path: Path, gathered: Gathered) -> None:
        """Write statistics array by array; the file appears when it is whole."""
        infos = [
            TensorInfo(BETWEEN_NAMES.join(names), "F32", shape) for names, shape in gathered.shapes.items()
        ]
        with new_file(path) as beside, SafetensorsWriter(beside, infos) as writer:
            for array in gathered.arrays:
                writer.append(array)
