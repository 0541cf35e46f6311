"""What some work cost, in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from embedmerge.report.wording import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedmerge.evaluation.cost import Cost

HEADINGS = ("seconds", "CPU seconds", "peak MiB", "texts encoded", "from the cache")


def cost_table(costs: Mapping[str, Cost]) -> Table:
    """One row per piece of work.

    Args:
        costs: By the model's name, or what was done.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("cost", overflow="fold")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, cost in costs.items():
        table.add_row(
            one_line(name),
            f"{cost.seconds:.1f}",
            f"{cost.cpu_seconds:.1f}",
            f"{cost.peak_mib:,.0f}",
            f"{cost.encoded:,}",
            f"{cost.cache_hits:,}",
        )
    return table
