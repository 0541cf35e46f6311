"""A base, two experts that know something and two that are noise, for strategies that pick by a judge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from found_examples import write_examples_for
from words import sentence

from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.weighting.examples import load_examples
from embedmerge.weighting.ground import Retrieval
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.guarded import Judge
from embedmerge.weighting.landscape import Landscape
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.weighting.ground import Measure

NAMES = ["base", "first", "second", "noise", "static"]
ONE, OTHER = 24, 16  # examples whose answers are what `first` and what `second` rank highest


@dataclass(frozen=True, eq=False)
class FiveSources:
    """What the tests of one session share.

    Attributes:
        folders: The models, base first.
        examples: All examples in one file.
        text: Guard text.
        landscape: With the two kinds of examples as two grounds, and the guard text.
    """

    folders: list[Path]
    examples: Path
    text: Path
    landscape: Landscape

    @property
    def specs(self) -> list[SourceSpec]:
        return specs_of(*self.folders)

    def judge(
        self,
        budget: float = 10.0,
        objective: Measure = "loss",
        live: Sequence[int] = range(5),
        target: Sequence[int] = range(ONE + OTHER),
        general: Sequence[int] = range(32),
    ) -> Judge:
        guard = Guard(text=str(self.text), budget=budget)
        return Judge(self.landscape, guard, objective, list(live), np.array(target), np.array(general))


@cache
def five_sources(base: Path, make_expert: Callable[..., Path]) -> FiveSources:
    """Made once for all tests of a session."""
    scales = {"first": 0.1, "second": 0.1, "noise": 0.5, "static": 0.7}
    experts = [
        make_expert(f"five-{name}", base=base, seed=seed, scale=scale)
        for seed, (name, scale) in enumerate(scales.items(), 1)
    ]
    folder = base.parent / "five-examples"
    folder.mkdir()
    parts = [
        write_examples_for(experts[0], folder / "first.jsonl", ONE, seed=7, passages_each=2),
        write_examples_for(experts[1], folder / "second.jsonl", OTHER, seed=9, passages_each=2),
    ]
    examples = folder / "examples.jsonl"
    examples.write_text("".join(part.read_text() for part in parts))
    random = np.random.default_rng(8)
    text = folder / "guard.txt"
    text.write_text("".join(sentence(random, 10) + "\n" for _ in range(32)))
    folders = [base, *experts]
    grounds = [Retrieval(part.stem, Pool.of_examples(load_examples(part))) for part in parts]
    return FiveSources(folders, examples, text, landscape_of(folders, grounds, Guard(text=str(text))))


def specs_of(base: Path, *experts: Path) -> list[SourceSpec]:
    named = zip(NAMES[1:], experts, strict=False)
    return [SourceSpec("base", str(base), "base"), *(SourceSpec(name, str(at), "peer") for name, at in named)]


def landscape_of(folders: Sequence[Path], grounds: Sequence[Retrieval], guard: Guard) -> Landscape:
    sources, _ = open_sources(specs_of(*folders))
    landscape = Landscape(Trials(sources, EncodingSettings()), grounds, guard.grounds())
    landscape.bend()
    return landscape
