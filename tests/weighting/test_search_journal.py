from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.weighting.quality import Quality, Side
from embedmerge.weighting.search.journal import Journal, Record
from embedmerge.weighting.search.space import Point

CONTENT = {"sources": ["a", "b"], "seed": 0}
GROUPS = np.zeros(5, dtype=np.int64), np.array([0, 0, 1])


def quality(seed: int) -> Quality:
    values = np.random.default_rng(seed).normal(size=(2, 5))
    return Quality(Side(values[:1], GROUPS[0]), Side(values[1:, :3], GROUPS[1]))


def records(number: int = 3) -> list[Record]:
    made = []
    for seed in range(number):
        objective = quality(seed)
        reported = quality(100 + seed) if seed % 2 else objective
        made.append(Record(Point((0.5 - seed / 7, 0.5 + seed / 7), {"scale": seed / 3}), objective, reported))
    return made


def opened(path: Path | None, content: dict[str, object] | None = None) -> Journal:
    return Journal(path, content or CONTENT, quality(0))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "search.journal"
    with opened(path) as journal:
        for record in records():
            journal.add(record)
    return path


def require_equal(found: dict[str, Record], wanted: list[Record]) -> None:
    assert list(found) == [record.point.key for record in wanted]
    for own, other in zip(found.values(), wanted, strict=True):
        assert own.point == other.point
        for mine, theirs in ((own.objective, other.objective), (own.reported, other.reported)):
            np.testing.assert_array_equal(mine.target.values, theirs.target.values)
            np.testing.assert_array_equal(mine.general.values, theirs.general.values)
            np.testing.assert_array_equal(mine.general.groups, theirs.general.groups)


def test_records_come_back_bit_for_bit(written: Path) -> None:
    with opened(written) as journal:
        require_equal(journal.records, records())


@pytest.mark.parametrize("lost", [1, 2, 40, 200])
def test_a_last_line_that_was_cut_off_is_dropped_and_written_again(written: Path, lost: int) -> None:
    whole = written.read_bytes()
    assert lost < len(whole.splitlines(keepends=True)[-1])
    written.write_bytes(whole[:-lost])
    with opened(written) as journal:
        require_equal(journal.records, records()[:2])
        journal.add(records()[2])
    assert written.read_bytes() == whole


def test_a_header_that_was_cut_off_is_written_again(written: Path) -> None:
    header = written.read_bytes().splitlines(keepends=True)[0]
    for kept in (0, 1, len(header) - 1):
        written.write_bytes(header[:kept])
        with opened(written) as journal:
            assert journal.records == {}
        assert written.read_bytes() == header


def test_a_damaged_line_is_named(written: Path) -> None:
    header, first, *others = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join([header, first[:30] + b"\n", *others]))
    with pytest.raises(EmbedmergeError, match=r"search\.journal:2: not a record"), opened(written):
        pass


def test_another_searchs_journal_and_any_other_file_are_refused_untouched(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(EmbedmergeError, match="not this search's journal"), opened(written, {"seed": 1}):
        pass
    assert written.read_bytes() == before
    for content in (b"my notes", b"my notes\n", b'{"query": "what"}\n'):
        written.write_bytes(content)
        with pytest.raises(EmbedmergeError, match="not this search's journal"), opened(written):
            pass
        assert written.read_bytes() == content


def test_only_one_may_write(written: Path) -> None:
    with opened(written), pytest.raises(EmbedmergeError, match="another process"), opened(written):
        pass


def test_without_a_file_nothing_is_kept() -> None:
    with opened(None) as journal:
        journal.add(records()[0])
        assert len(journal.records) == 1
