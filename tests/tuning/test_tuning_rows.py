"""Rows made of data: parts that share nothing, negatives far enough from the positives."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from tuning_parts import files

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model
from embedmerge.tuning.base_view import BaseView
from embedmerge.tuning.held_out import pool
from embedmerge.tuning.mining import training_pairs, with_negatives
from embedmerge.tuning.rows import Row, read_training_data
from embedmerge.tuning.settings import Preparation
from embedmerge.tuning.splitting import split_off


def rows(*asked: tuple[str, str]) -> list[Row]:
    return [Row(str(number), query, (passage,)) for number, (query, passage) in enumerate(asked)]


@pytest.fixture(scope="module")
def view(base: Path, law: Path) -> BaseView:
    """The passages of a collection as a base with tellable texts sees them."""
    encoder = Encoder(encoder_model(open_checkpoint(Location(str(base), base, None))))
    return BaseView(encoder, read_training_data(str(law)).corpus)


def test_queries_that_share_a_passage_are_held_out_together() -> None:
    draw = random.Random(0)
    asked = rows(*((f"query {n}", f"passage {n // 3}") for n in range(90)))
    draw.shuffle(asked)
    held_out, examples, rest = split_off(asked, (12, 9), 3)
    assert [len(part) for part in (held_out, examples, rest)] == [12, 9, 69]
    passages = [{row.pos[0] for row in part} for part in (held_out, examples, rest)]
    assert not passages[0] & passages[1] and not passages[0] & passages[2] and not passages[1] & passages[2]
    assert split_off(asked, (12, 9), 3) == [held_out, examples, rest]
    assert split_off(asked, (12, 9), 4)[0] != held_out


def test_queries_that_say_the_same_are_held_out_together() -> None:
    """All hang together by a passage, so only what says the same stays together."""
    asked = rows(*((f"Query {n // 2}" + "?" * (n % 2), "the one passage") for n in range(60)))
    held_out, rest = split_off(asked, (10,), 0)
    assert len(held_out) == 10
    assert not {row.query.strip("?") for row in held_out} & {row.query.strip("?") for row in rest}


def test_mined_negatives_keep_the_margin(view: BaseView) -> None:
    """Queries that are nearly their passage, so that others are far enough below it."""
    asked = rows(*((text.rsplit(" ", 1)[0], text) for text in view.passages[:40]))
    mined, counts = with_negatives(training_pairs(asked, 999, 0), view, Preparation(negatives=2, margin=0.02))
    assert counts.mined > 40 and counts.given == 0 and counts.mined + counts.drawn == 80
    kept, hard = 0, 0
    for query, positive, *negatives in mined:
        likeness = view.of_passages([positive, *negatives]) @ view.of_queries([query])[0]
        all_of_them = np.sort(view.of_passages(view.passages) @ view.of_queries([query])[0])[::-1]
        kept += int((likeness[1:] <= likeness[0] - 0.02 * abs(likeness[0]) + 1e-5).sum())
        hard += int((likeness[1:] >= all_of_them[21]).sum())
    assert kept >= counts.mined and hard >= counts.mined


def test_other_positives_of_a_query_are_no_negatives(view: BaseView) -> None:
    first, second, third = view.passages[:3]
    row = Row("1", "which of them", (first, second, third), (view.passages[5],))
    pairs = training_pairs([row, Row("2", "another", (view.passages[9],))], 999, 0)
    assert len(pairs) == 4
    filled, counts = with_negatives(pairs, view, Preparation(negatives=5, mine=False))
    assert counts.given == 3 and counts.drawn == 17
    assert not any({first, second, third} & set(texts[2:]) for texts in filled if texts[0] == row.query)
    assert all(len(set(texts)) == 7 for texts in filled)


def test_further_positives_need_not_be_among_the_passages(view: BaseView) -> None:
    text = view.passages[0]
    row = Row("1", text.rsplit(" ", 1)[0], (text, "a positive of a large corpus that was not drawn"))
    filled, counts = with_negatives([row], view, Preparation(margin=0))
    assert counts.mined == 1 and filled[0][2] in view.passages


def test_a_corpus_may_be_smaller_than_the_negatives_asked_for(base: Path) -> None:
    encoder = Encoder(encoder_model(open_checkpoint(Location(str(base), base, None))))
    few = BaseView(encoder, ["merge two models", "a bank loan", "a court"])
    pairs = training_pairs(rows(("merge", "merge two models"), ("loan", "a bank loan")), 9, 0)
    filled, _ = with_negatives(pairs, few, Preparation(negatives=7))
    assert [len(set(texts)) for texts in filled] == [4, 4]


def test_held_out_queries_compete_with_what_the_base_ranks_high(
    view: BaseView, law: Path, tmp_path: Path
) -> None:
    own = read_training_data(str(law)).rows[:3]
    made = pool(own, view, 20, 0)
    assert len(made.passages) == len(set(made.passages)) == 20
    for row, places in zip(own, made.relevant, strict=True):
        assert tuple(made.passages[place] for place in places) == row.pos
        likeness = view.of_passages(view.passages) @ view.of_queries([row.query])[0]
        best = [view.passages[place] for place in np.argsort(-likeness)[:4]]
        assert set(best) <= set(made.passages)
    made.write(tmp_path / "held-out")
    assert set(files(tmp_path / "held-out")) == {"corpus.jsonl", "queries.jsonl", "qrels/dev.tsv"}
