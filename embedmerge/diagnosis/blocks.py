"""Blocks by name, from the embeddings to what stands behind the last transformer block."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from embedmerge.merging.anatomy import Site

EMBEDDINGS, BLOCK, HEAD = "embeddings", "block", "head"


def block_name(site: Site) -> str:
    """The block a tensor belongs to: `embeddings`, `block 0` and so on, or `head` for what comes behind.

    >>> from embedmerge.merging.anatomy import Site
    >>> block_name(Site.of("encoder.layer.3.output.dense.weight", (4, 4), 12))
    'block 3'
    """
    if site.block is not None:
        return f"{BLOCK} {site.block}"
    return EMBEDDINGS if site.depth == 0 or (site.kind == "embedding" and not site.head) else HEAD


def sites_by_block(sites: Iterable[Site]) -> dict[str, list[Site]]:
    """The tensors of every block, from the embeddings to the head."""
    found: dict[str, list[Site]] = {}
    for site in sites:
        found.setdefault(block_name(site), []).append(site)
    return {name: found[name] for name in sorted(found, key=_order)}


def in_words(blocks: Iterable[str]) -> str:
    """Names of blocks in few words.

    >>> in_words(["block 0", "block 2", "embeddings", "block 1", "block 5"])
    'embeddings, blocks 0-2, 5'
    """
    groups: Mapping[str, list[int]] = {EMBEDDINGS: [], BLOCK: [], HEAD: []}
    for name in sorted(set(blocks), key=_order):
        groups[name.partition(" ")[0]].append(_order(name)[1])
    word = "blocks" if len(groups[BLOCK]) > 1 else "block"
    numbered = [f"{word} {_runs(groups[BLOCK])}"] if groups[BLOCK] else []
    return ", ".join([*[EMBEDDINGS] * len(groups[EMBEDDINGS]), *numbered, *[HEAD] * len(groups[HEAD])])


def _runs(numbers: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _order(name: str) -> tuple[int, int]:
    kind, _, number = name.partition(" ")
    return (EMBEDDINGS, BLOCK, HEAD).index(kind), int(number or 0)
