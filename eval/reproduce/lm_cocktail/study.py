"""LM-Cocktail's study at a size that fits two cores: eight domains, experts hot enough to forget.

    python eval/reproduce/lm_cocktail/study.py STAGE --work FOLDER --data-dir FOLDER

Stages, each resumable: tune, encode, calibrate, choose, scales,
encode-tests, test, truth, fronts, blocks, tables; `all` runs them in turn,
but for blocks, and in the small setting calibrate and scales.
"""

from __future__ import annotations

import argparse
import os
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from blocks import blocks
from calibrate import calibrate
from choose import FEW, OURS, choose, rows_of
from domains import Pair, tested_queries, training_rows, write_cut
from experts import anchor, merged_pool, tune_experts
from fronts import fronts
from memory import RememberingTrials
from pools import drawn, guard_task, read_pool, write_pool
from scales import scales
from setting import REPORTED, SMALL, Setting, Size
from tables import tables
from testing import test, truth

from embedmerge.demo.assets import embedded_base
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.collection import Collection, read_collection
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.weighting.guard import Guard
from embedmerge.weighting.pool import Pool
from embedmerge.weighting.strategy import MethodChoice
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from embedmerge.sources import Source
    from embedmerge.weighting.examples import Example


class Study:
    """What every stage needs.

    Args:
        work: Scratch folder; what is finished stays there.
        data: Folder of the collections; not needed where all are harvested.
        setting: What the study is about.
    """

    def __init__(self, work: Path, data: Path | None, setting: Setting = REPORTED) -> None:
        self.work = work / setting.name
        self.data = data or self.work
        self.setting = setting
        self.base = embedded_base()

    def sources(self, *experts: str, pool: str | None = None) -> list[Source]:
        """Base, experts, and the merge of all experts by a method, opened."""
        folders = tune_experts(self)
        named = {name: folders[name] for name in experts}
        if pool:
            named[pool] = merged_pool(self, pool)
        specs = [SourceSpec(name, str(folder), "peer") for name, folder in named.items()]
        opened, _ = open_sources([SourceSpec("base", str(self.base), "base"), *specs])
        return opened

    def anchored(self, target: str, pool: str) -> list[Source]:
        """The model half-way from the base to a merge of all experts in the base's place, and one expert."""
        specs = [
            SourceSpec("base", str(anchor(self, pool)), "base"),
            SourceSpec(target, str(tune_experts(self)[target]), "target"),
        ]
        return open_sources(specs)[0]

    def trials(self, sources: Sequence[Source]) -> RememberingTrials:
        """Encoders that share one memory."""
        return RememberingTrials(sources, self.setting.encoding, EmbeddingCache.of_user())

    def forgetful(self, sources: Sequence[Source]) -> Trials:
        """The same with encoders as they are."""
        return Trials(sources, self.setting.encoding, EmbeddingCache.of_user())

    def write_pools(self) -> None:
        """Mine the examples' negatives."""
        base = self.trials(self.sources()).of_source(self.sources()[0])
        for name in self.setting.targets:
            write_pool(self, name, base)

    @cached_property
    def tested(self) -> set[str]:
        """Queries of the test splits, which nothing is tuned or chosen on."""
        return tested_queries(self.setting.collections, self.data, self.work)

    def training_rows(self, name: str) -> tuple[list[Pair], list[Pair], Collection]:
        """As `domains.training_rows`."""
        return training_rows(name, self.data, self.work, self.tested)

    def remember(self, texts: Sequence[str], method: str = "linear") -> None:
        """Encode texts with base, experts and the midpoint of each expert with the base, by a method."""
        trials = self.trials(self.sources(*self.setting.targets))
        for number, encode in enumerate(self._models(trials, method), 1):
            encode(texts)
            models = 1 + 2 * len(self.setting.targets)
            print(f"{method}: encoded {len(texts)} texts with model {number} of {models}", flush=True)

    @staticmethod
    def _models(trials: RememberingTrials, method: str) -> Iterator:
        keeps = MethodChoice(method).keeps_sources
        for source in trials.sources if keeps else trials.sources[:1]:
            yield trials.of_source(source).pooled
        names = [source.name for source in trials.sources]
        for name in names[1:]:
            for share in (0.5,) if keeps else (0.5, 1.0):
                weights = dict.fromkeys(names, 0.0) | {"base": 1 - share, name: share}
                with trials.of_mixture(Mixture(Coefficients(weights), method, dtype="float32")) as encoder:
                    yield encoder.pooled

    def pool_texts(self) -> list[str]:
        """Every text that weights may be chosen on."""
        targets = self.setting.targets
        examples = [example for name in targets for example in self._drawn(name)]
        texts = [text for example in examples for text in (example.query, *example.pos, *example.neg)]
        guard = [text for ground in Guard().grounds() for text in ground.queries]
        if any(OURS[row].guard == "domains" for row in rows_of(self)):
            tasks = tuple(guard_task(self, name) for name in targets)
            grounds = Guard(tasks=tasks).grounds()
            texts += [text for ground in grounds for text in (*ground.queries, *ground.passages)]
        return list(dict.fromkeys([*guard, *texts, *texts_of(self.strangers().values())]))

    def _drawn(self, name: str) -> list[Example]:
        """A domain's examples of all draws."""
        pool = read_pool(self, name)
        draws = product((FEW, *self.setting.sizes), self.setting.seeds)
        return [example for number, seed in draws for example in drawn(pool, number, seed)]

    def test_texts(self) -> list[str]:
        """Every text of the test sets."""
        return list(dict.fromkeys(texts_of(self.tests().values())))

    def tests(self) -> dict[str, Pool]:
        """The cut-down test sets."""
        return {name: self._cut(name, "test", self.setting.tests) for name in self.setting.collections}

    def strangers(self) -> dict[str, Pool]:
        """Cut-down splits of collections that nothing is reported on."""
        return {
            name: self._cut(name, split, self.setting.looked_at)
            for name, split in self.setting.strangers.items()
        }

    def stranger_tasks(self) -> list[str]:
        """The strangers as tasks for a guard."""
        size = self.setting.looked_at
        return [
            f"{write_cut(name, split, size, self.data, self.work)}:{split}"
            for name, split in self.setting.strangers.items()
        ]

    def _cut(self, name: str, split: str, size: Size) -> Pool:
        folder = write_cut(name, split, size, self.data, self.work)
        return Pool.of_collection(read_collection(folder, split))


def texts_of(pools: Iterable[Pool]) -> list[str]:
    """Queries and passages."""
    return [text for pool in pools for text in (*pool.queries, *pool.passages)]


def main() -> None:
    """Run stages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("EMBEDMERGE_DATA"))
    parser.add_argument(
        "--small", action="store_true", help="three harvested domains, some 1,200 CPU seconds"
    )
    parser.add_argument("--seed", type=int, default=0, help="of tuning; each has its own test queries")
    options = parser.parse_args()
    torch.set_num_threads(2)
    setting = SMALL if options.small else REPORTED
    study = Study(options.work, options.data_dir, setting.again(options.seed) if options.seed else setting)
    in_turn = [name for name in STAGES if name not in study.setting.left_out]
    for name in in_turn if options.stage == "all" else [options.stage]:
        STAGES[name](study)


def encode(study: Study) -> None:
    """Mine examples, and encode everything that weights may be chosen on."""
    study.write_pools()
    study.remember(study.pool_texts())


def encode_tests(study: Study) -> None:
    """Encode the test sets; nothing is scored."""
    study.remember(study.test_texts())


STAGES = {
    "tune": tune_experts,
    "encode": encode,
    "calibrate": calibrate,
    "choose": choose,
    "scales": scales,
    "encode-tests": encode_tests,
    "test": test,
    "truth": truth,
    "fronts": fronts,
    "blocks": blocks,
    "tables": tables,
}

if __name__ == "__main__":
    main()
