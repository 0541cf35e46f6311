"""Held-out queries with the passages they are to be found among: what tuning stops by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedmerge.atomic import new_folder
from embedmerge.tuning.base_view import some_passages
from embedmerge.weighting.pool import first_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embedmerge.tuning.base_view import BaseView
    from embedmerge.tuning.rows import Row

HARD = 8  # passages of a query's that the base ranks first and that are in the pool
SPLIT = "dev"


@dataclass(frozen=True)
class HeldOut:
    """Queries that are not trained on.

    Attributes:
        rows: The queries with what is relevant to them.
        passages: Everything they are to be found among.
    """

    rows: tuple[Row, ...]
    passages: tuple[str, ...]

    @cached_property
    def relevant(self) -> tuple[tuple[int, ...], ...]:
        """Places of each query's relevant passages."""
        place = {text: number for number, text in enumerate(self.passages)}
        return tuple(tuple(place[text] for text in row.pos) for row in self.rows)

    def evaluator(self, batch_size: int) -> Any:
        """sentence-transformers' evaluator of nDCG@10, every judged passage counting the same."""
        from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

        return InformationRetrievalEvaluator(
            queries={f"q{number}": row.query for number, row in enumerate(self.rows)},
            corpus={f"d{number}": text for number, text in enumerate(self.passages)},
            relevant_docs={
                f"q{number}": {f"d{place}" for place in places} for number, places in enumerate(self.relevant)
            },
            ndcg_at_k=[10],
            mrr_at_k=[10],
            map_at_k=[10],
            accuracy_at_k=[10],
            precision_recall_at_k=[10],
            batch_size=batch_size,
            write_csv=False,
        )

    def write(self, folder: Path) -> None:
        """Write it as a BEIR folder with the split `dev`, for weights to be chosen on."""
        lines = [
            f"q{number}\td{place}\t1\n" for number, places in enumerate(self.relevant) for place in places
        ]
        with new_folder(folder) as target:
            (target / "qrels").mkdir()
            header = "query-id\tcorpus-id\tscore\n"
            (target / "qrels" / f"{SPLIT}.tsv").write_text(header + "".join(lines), encoding="utf-8")
            passages = ({"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(self.passages))
            queries = ({"_id": f"q{n}", "text": row.query} for n, row in enumerate(self.rows))
            for name, rows in (("corpus", passages), ("queries", queries)):
                text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                (target / f"{name}.jsonl").write_text(text, encoding="utf-8")


def pool(rows: Sequence[Row], view: BaseView, most: int, seed: int) -> HeldOut:
    """The held-out queries among what is relevant to them, what the base ranks high, and a draw of the rest.

    Args:
        rows: Held-out rows.
        view: Passages to choose from, the relevant ones among them.
        most: Passages at most; the relevant ones are in whatever it says.
        seed: Of the draw.
    """
    chosen = dict.fromkeys(text for row in rows for text in (*row.pos, *row.neg))
    if len(view.passages) > most:
        queries = view.of_queries([row.query for row in rows])
        ranked = first_ranks(queries, view.of_passages(view.passages), depth=HARD)
        # The first of every query, then the second, and so on.
        for text in (view.passages[place] for place in ranked.T.ravel().tolist()):
            if len(chosen) < most:
                chosen.setdefault(text)
    return HeldOut(tuple(rows), tuple(some_passages(list(chosen), view.passages, most, seed)))
