"""Which data set on the hub a task is, for who publishes its scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.evaluation.tasks import Task


@dataclass(frozen=True)
class HubDataset:
    """A data set as mteb names it in its results.

    Attributes:
        path: Id on the hub, such as `mteb/scifact`.
        revision: Commit.
        subset: mteb's subset; several joined by a comma.
    """

    path: str
    revision: str
    subset: str


def hub_datasets(tasks: Sequence[Task]) -> dict[tuple[str, str], HubDataset]:
    """Data sets of the tasks that come from the hub, by task name and split.

    A local collection is left out, whatever it is called: its data may be others.

    Args:
        tasks: Opened tasks.
    """
    found = {}
    for task in tasks:
        # The class has what mteb's registry says; the instance may read from a cache on this machine.
        stated = type(task.mteb_task).metadata.dataset
        if task.mteb_task.__module__.startswith("mteb.") and stated.get("revision"):
            subset = ",".join(task.mteb_task.hf_subsets)
            found[task.name, task.split] = HubDataset(stated["path"], stated["revision"], subset)
    return found
