"""Weights by every rule the study compares, from five, twenty and a hundred examples, five draws of each."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from domains import TARGETS
from pools import SEEDS, drawn, read_pool

from embedmerge.atomic import write_json
from embedmerge.weighting.frank_wolfe import FrankWolfe
from embedmerge.weighting.front import Front
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.strategy import Evidence
from embedmerge.weighting.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from study import Study

    from embedmerge.weighting.examples import Example

LM_TWO, LM_ALL = "LM_Cocktail, 2 models", "LM_Cocktail, all"
TWO, ALL, WITHOUT = "front, 2 models", "frank_wolfe, all", "frank_wolfe, without the fine-tune"
LABELLED = ", guard with labels"
SMALL_POOL = 4  # sources up to which the front is a grid
OURS = (TWO, TWO + LABELLED, ALL, ALL + LABELLED, WITHOUT, WITHOUT + LABELLED)
POOL_SIZES = (20, 5, 100)  # the first is what the tables compare by target
FIRST = (POOL_SIZES[0], SEEDS[0])
FEW = 5  # examples that LM-Cocktail's paper takes
TEMPERATURE = 5.0  # its default


def choose(study: Study) -> None:
    """Every cell that is not there yet, the dear ones last, so that what is there covers all targets."""
    study.remember(study.pool_texts())
    for row, number, seed in cells():
        for target in TARGETS:
            examples = read_pool(target, study.work)
            path = study.work / "choices" / target / f"{row}.{number}.{seed}.json"
            if path.exists():
                continue
            began = time.perf_counter()
            weights = chosen(study, row, target, drawn(examples, number, seed))
            seconds = round(time.perf_counter() - began, 1)
            write_json(path, {"weights": weights, "seconds": seconds})
            print(target, row, number, seed, seconds, {k: v for k, v in weights.items() if v}, flush=True)


def cells() -> Iterator[tuple[str, int, int]]:
    """Row, number of examples, seed; first one draw of every row."""
    yield LM_TWO, 0, 0
    yield LM_ALL, FEW, SEEDS[0]
    yield from ((row, POOL_SIZES[0], SEEDS[0]) for row in OURS)
    rest = [(number, seed) for seed in SEEDS for number in POOL_SIZES if (number, seed) != FIRST]
    yield from ((row, *draw) for row in (TWO, TWO + LABELLED) for draw in rest)
    yield from ((LM_ALL, FEW, seed) for seed in SEEDS[1:])
    yield from ((row, *draw) for draw in rest for row in OURS if not row.startswith(TWO))


def chosen(study: Study, row: str, target: str, examples: Sequence[Example]) -> dict[str, float]:
    """Weights of one cell."""
    if row == LM_TWO:
        return {"base": 0.5, target: 0.5}
    if row == LM_ALL:
        return lm_cocktail(study, examples)
    peers = [name for name in TARGETS if name != target]
    unlabelled = row.removesuffix(LABELLED)
    experts = {TWO: [target], ALL: list(TARGETS), WITHOUT: peers}[unlabelled]
    tasks = () if row == unlabelled else tuple(study.guard_task(name) for name in peers)
    return guarded(study, experts, examples, Guard(tasks=tasks))


def guarded(
    study: Study, experts: Sequence[str], examples: Sequence[Example], guard: Guard
) -> dict[str, float]:
    """Front's pick for two models and frank_wolfe's for pools, from the surrogate alone."""
    sources = study.sources(*experts)
    strategy = (Front if len(sources) <= SMALL_POOL else FrankWolfe)(examples="drawn", guard=guard)
    survey = Survey(strategy, Evidence(sources, examples, study.trials(sources)))
    judged = sum(len(ground.queries) for ground in guard.grounds())
    weights = strategy.pick(survey.judge((np.arange(len(examples)), np.arange(judged))))
    return {source.name: round(float(weight), 4) for source, weight in zip(sources, weights, strict=True)}


def lm_cocktail(study: Study, examples: Sequence[Example]) -> dict[str, float]:
    """What LM_Cocktail 0.0.4 itself computes for the base and all experts."""
    import LM_Cocktail.utils as reference
    from transformers import AutoModel, AutoTokenizer

    folders = {source.name: str(source.checkpoint.folder) for source in study.sources(*TARGETS)}
    rows = [{"query": each.query, "pos": list(each.pos), "neg": list(each.neg)} for each in examples]
    random.seed(0)
    weights = reference.compute_weights(
        AutoModel.from_pretrained(folders["base"]).eval(),
        AutoTokenizer.from_pretrained(folders["base"]),
        [AutoModel.from_pretrained(folder).state_dict() for folder in folders.values()],
        "encoder",
        rows,
        temperature=TEMPERATURE,
        max_input_length=128,
    )
    return {name: round(float(weight), 6) for name, weight in zip(folders, weights, strict=True)}


def read_choices(study: Study) -> list[dict[str, Any]]:
    """The cells that are there for every target: target, row, number of examples, seed and weights."""
    found = []
    for row, number, seed in cells():
        paths = {name: study.work / "choices" / name / f"{row}.{number}.{seed}.json" for name in TARGETS}
        if not all(path.exists() for path in paths.values()):
            continue
        for target, path in paths.items():
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append({"target": target, "row": row, "examples": number, "seed": seed, **content})
    return found


def key_of(weights: dict[str, float]) -> str:
    """A file name for a mixture."""
    return "-".join(f"{name}{weight:g}" for name, weight in weights.items() if weight)
