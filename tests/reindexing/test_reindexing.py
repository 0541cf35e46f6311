from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from embedmerge.api import evaluate, reindex_check
from embedmerge.cli import app
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.significance import Difference
from embedmerge.evaluation.tasks import open_tasks
from embedmerge.reindexing.check import ENCODED, ROTATED, STAYING, TODAY
from embedmerge.reindexing.rotation import Rotation
from embedmerge.reindexing.sample import sampled
from embedmerge.reindexing.verdict import verdict
from embedmerge.report.reindexing import reindexing_answer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def queries_file(tmp_path: Path) -> Path:
    file = tmp_path / "queries.txt"
    file.write_text("bank loan court\n\nriver water tree\nriver water tree\ncell protein\n")
    return file


def test_the_same_model_may_stay(base: Path, collection: Path) -> None:
    found = reindex_check(str(base), str(base), str(collection))
    assert found.verdict == "stay"
    assert found.arrangements[STAYING].ndcg_at_10 == found.arrangements[ENCODED].ndcg_at_10
    assert found.arrangements[STAYING].agreement.first_ten == 100
    assert found.documents == found.documents_in_all == 60
    assert found.queries == 20


def test_a_model_of_another_space_needs_its_own_index(base: Path, make_checkpoint, collection: Path) -> None:
    other = make_checkpoint("another-space", seed=11)
    found = reindex_check(str(base), str(other), str(collection))
    staying, encoded = found.arrangements[STAYING], found.arrangements[ENCODED]
    assert staying.agreement.first_ten < 60
    assert staying.to_encoded is not None
    assert staying.ndcg_at_10 < encoded.ndcg_at_10 - 10
    assert found.verdict != "stay"


def test_ends_are_what_evaluate_says_of_the_models(base: Path, expert: Path, collection: Path) -> None:
    found = reindex_check(str(base), str(expert), str(collection))
    old, new = evaluate([str(base), str(expert)], {"target": [str(collection)]})
    assert found.arrangements[TODAY].ndcg_at_10 == old.scores[0].ndcg_at_10
    assert found.arrangements[ENCODED].ndcg_at_10 == new.scores[0].ndcg_at_10
    difference = found.arrangements[TODAY].to_encoded
    assert difference is not None
    assert difference.points == pytest.approx(old.scores[0].ndcg_at_10 - new.scores[0].ndcg_at_10, abs=1e-3)


def test_another_dimension_can_only_be_rotated(base: Path, make_checkpoint, collection: Path) -> None:
    wider = make_checkpoint("wider-vectors", hidden=48, seed=4)
    found = reindex_check(str(base), str(wider), str(collection))
    assert list(found.arrangements) == [TODAY, ROTATED, ENCODED]
    assert found.verdict in ("rotate", "re-encode", "unsure")


def test_a_rotation_finds_the_turn_between_two_spaces() -> None:
    random = np.random.default_rng(0)
    turn, _ = np.linalg.qr(random.standard_normal((8, 8)))
    old = random.standard_normal((50, 8)).astype(np.float32)
    new = (old @ turn).astype(np.float32)
    fitted = Rotation.fitted(old, new)
    unseen = random.standard_normal((5, 8)).astype(np.float32)
    np.testing.assert_allclose(fitted(unseen), unseen @ turn, atol=1e-5)


def test_a_rotation_keeps_lengths_and_angles_whatever_it_is_fitted_on() -> None:
    random = np.random.default_rng(1)
    fitted = Rotation.fitted(
        random.standard_normal((50, 8)).astype(np.float32), random.standard_normal((50, 8)).astype(np.float32)
    )
    np.testing.assert_allclose(fitted.matrix @ fitted.matrix.T, np.eye(8), atol=1e-6)


@pytest.mark.parametrize(
    ("staying", "rotated", "wanted"),
    [
        ((-0.4, 0.2), (-9, -8), "stay"),
        ((-0.6, 0.2), (-9, -8), "unsure"),
        ((-3, -2), (-0.4, 0), "rotate"),
        ((-3, -2), (-2, -0.4), "unsure"),
        ((-3, -2), (-2, -1), "re-encode"),
        (None, (-2, -1), "re-encode"),
    ],
)
def test_a_verdict_needs_the_whole_interval(
    staying: tuple[float, float] | None, rotated: tuple[float, float], wanted: str
) -> None:
    def of(ends: tuple[float, float]) -> Difference:
        return Difference(sum(ends) / 2, *ends)

    assert verdict(of(staying) if staying else None, of(rotated), margin=0.5) == wanted


def test_a_sample_keeps_what_is_relevant(collection: Path) -> None:
    (task,) = open_tasks([str(collection)], "target")
    part = sampled(task, documents=30, queries=10)
    assert len(part.texts.queries) == 10
    assert len(part.texts.documents) == 30
    for query, grades in part.texts.relevant.items():
        assert grades == task.texts.relevant[query]
        assert set(grades) <= set(part.texts.documents)
    assert part.content != task.content
    assert sampled(task, documents=60, queries=20) is task


def test_a_sample_is_reported(base: Path, expert: Path, collection: Path) -> None:
    found = reindex_check(str(base), str(expert), str(collection), documents=30, most_queries=10)
    assert (found.documents, found.documents_in_all, found.queries) == (30, 60, 10)


def test_without_judgements_the_new_ranking_is_the_truth(
    base: Path, expert: Path, collection: Path, queries_file: Path
) -> None:
    found = reindex_check(str(base), str(expert), str(collection), queries=queries_file)
    assert not found.judged
    assert found.margin == 5
    assert found.queries == 3
    assert found.documents == 60
    assert found.arrangements[ENCODED].ndcg_at_10 == 100
    assert found.arrangements[STAYING].ndcg_at_10 <= 100


def test_text_files_need_no_qrels(base: Path, expert: Path, tmp_path: Path, queries_file: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for place, text in enumerate(("bank loan law", "river tree bird", "cell gene drug", "code loop map")):
        (notes / f"{place}.txt").write_text(text)
    found = reindex_check(str(base), str(expert), str(notes), queries=queries_file)
    assert found.documents == 4
    assert found.task == "notes"


def test_the_command_says_it_in_a_table_and_as_json(base: Path, expert: Path, collection: Path) -> None:
    arguments = ["reindex-check", str(base), str(expert), str(collection)]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert TODAY in shown.stdout
    assert "20 queries over 60 documents" in " ".join(shown.stdout.split())
    assert max(map(len, shown.stdout.splitlines())) <= 80
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert facts["verdict"] in ("stay", "rotate", "re-encode", "unsure")
    assert set(facts["arrangements"]) == {TODAY, STAYING, ROTATED, ENCODED}


@pytest.mark.parametrize("content", ["", "\n \n", None, b"\xff\xfe\x00q"])
def test_a_file_without_queries_is_one_line(
    content: str | bytes | None, base: Path, collection: Path, tmp_path: Path
) -> None:
    file = tmp_path / "queries.txt"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EmbedmergeError, match=r"queries\.txt: ") as found:
        reindex_check(str(base), str(base), str(collection), queries=file)
    assert "\n" not in str(found.value)


def test_a_pattern_of_several_tasks_is_refused(
    base: Path, collection: Path, general_collection: Path, tmp_path: Path
) -> None:
    for folder in (collection, general_collection):
        (tmp_path / folder.name).symlink_to(folder)
    with pytest.raises(EmbedmergeError, match="several tasks; name one of animals, general"):
        reindex_check(str(base), str(base), "*", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Difference(2.9, 1.0, 4.8), "it is 2.9 points better than the old model"),
        (Difference(-3.1, -5.0, -1.2), "it is 3.1 points worse than the old model"),
        (Difference(0.4, -1.0, 1.8), None),
    ],
)
def test_what_the_new_model_does_in_the_old_index_is_said_where_it_is_certain(
    change: Difference, said: str | None, base: Path, expert: Path, collection: Path
) -> None:
    found = reindex_check(str(base), str(expert), str(collection))
    staying = replace(found.arrangements[STAYING], to_today=change)
    answer = reindexing_answer(replace(found, arrangements={**found.arrangements, STAYING: staying}))
    assert said in answer if said else "than the old model" not in answer
