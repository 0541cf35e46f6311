"""Surveys of pools of tiny models, for tests of strategies that pick by a judge."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from conftest import sentence

from embedmerge.retrieval.encoder import Encoder, EncodingSettings
from embedmerge.sources import SourceSpec, encoder_model, open_sources
from embedmerge.weighting.examples import read_examples
from embedmerge.weighting.strategy import Evidence
from embedmerge.weighting.survey import Survey
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embedmerge.weighting.guarded import Guarded, Judge


def specs_of(base: Path, *experts: Path) -> list[SourceSpec]:
    peers = [SourceSpec(expert.name, str(expert), "peer") for expert in experts]
    return [SourceSpec("base", str(base), "base"), *peers]


def survey_of(strategy: Guarded, base: Path, *experts: Path) -> Survey:
    sources, _ = open_sources(specs_of(base, *experts))
    evidence = Evidence(sources, read_examples(strategy.examples).examples, Trials(sources, EncodingSettings()))
    return Survey(strategy, evidence)


def judge_of(survey: Survey, target: Sequence[int] | None = None) -> Judge:
    """Sees some of the target's queries, all where None, and all general ones."""
    whole = survey.landscape.quality(survey.corners[:1])
    rows = np.arange(whole.target.values.shape[1]) if target is None else np.array(target)
    return survey.judge((rows, np.arange(whole.general.values.shape[1])))


def write_examples_for(expert: Path, file: Path, number: int = 30, seed: int = 7) -> Path:
    """Examples whose positives are what one model ranks first, so that it is the one to retrieve them."""
    random = np.random.default_rng(seed)
    queries = [sentence(random, 5) for _ in range(number)]
    passages = [sentence(random, 12) for _ in range(4 * number)]
    (source,), _ = open_sources([SourceSpec("expert", str(expert), "base")])
    encoder = Encoder(encoder_model(source.checkpoint))
    first = (encoder.embed(queries) @ encoder.embed(passages).T).argmax(axis=1)
    rows = [
        {"query": query, "pos": [passages[row]], "neg": [passages[(row + 1) % len(passages)]]}
        for query, row in zip(queries, first.tolist(), strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_guard_text(file: Path, number: int = 48, seed: int = 8) -> Path:
    random = np.random.default_rng(seed)
    file.write_text("".join(sentence(random, 10) + "\n" for _ in range(number)))
    return file
