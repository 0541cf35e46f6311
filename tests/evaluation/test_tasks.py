from __future__ import annotations

import json
import shutil
from pathlib import Path

import mteb
import pytest

from embedmerge.api import evaluate
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.named import NamedTask
from embedmerge.evaluation.tasks import open_tasks

ODD = {
    "control": "\x00\x01\x08\x1b[31m court\x7f",
    "right-to-left": "مرحبا بالعالم \u202eevil\u202c שלום",
    "emoji": "👩‍👩‍👧‍👦 river 🏳️‍🌈",
    "long": "bank " * 100_000,
    "empty": "",
    "half": "half a pair \ud83d loan",
}


def test_a_folder_with_and_without_a_split(collection: Path) -> None:
    plain, dev = open_tasks([str(collection), f"{collection}:dev"], "target")
    assert (plain.name, plain.split, dev.split, dev.side) == ("animals", "test", "dev", "target")
    assert (plain.prompts, len(plain.queries)) == (None, 20)


def test_a_local_task_says_what_it_is(collection: Path) -> None:
    (task,) = open_tasks([f"{collection}"], "general")
    metadata = task.mteb_task.metadata
    assert (metadata.type, metadata.eval_langs, metadata.revision) == (
        "Retrieval",
        ["und-Zyyy"],
        task.content,
    )
    (german,) = open_tasks([f"{collection}[deu-Latn]"], "general")
    assert german.mteb_task.metadata.languages == ["deu"]
    with pytest.raises(EmbedmergeError, match="animals: xx-Yyyy: no language and script"):
        open_tasks([f"{collection}[xx-Yyyy]"], "general")


def test_an_mteb_task_by_name() -> None:
    (task,) = open_tasks(["NFCorpus"], "general")
    assert (task.name, task.split) == ("NFCorpus", "test")
    assert task.content == "mteb/nfcorpus@" + mteb.get_task("NFCorpus").metadata.revision


def test_a_benchmark_by_name_is_its_retrieval_tasks() -> None:
    tasks = open_tasks(["NanoBEIR"], "general")
    assert len(tasks) == 13
    assert {task.split for task in tasks} == {"train"}


def test_an_aggregate_is_its_parts() -> None:
    tasks = open_tasks(["CQADupstackRetrieval"], "general")
    assert len(tasks) == 12
    assert all(task.content.lower().startswith("mteb/cqadupstack") for task in tasks)


def test_languages_by_subset_or_by_code() -> None:
    by_subset, by_code, every = open_tasks(
        ["MIRACLRetrieval[de]", "MIRACLRetrieval[deu]:dev", "MIRACLRetrieval"], "general"
    )
    assert by_subset.mteb_task.hf_subsets == by_code.mteb_task.hf_subsets == ["de"]
    assert by_subset.name == by_code.name == "MIRACLRetrieval[de]"
    assert by_code.split == "dev"
    assert by_subset.content == by_code.content == every.content + "[de]"
    assert (every.name, len(every.mteb_task.hf_subsets)) == ("MIRACLRetrieval", 18)


def test_languages_of_a_benchmark_leave_its_other_tasks_out() -> None:
    german = open_tasks(["MTEB(Multilingual, v2)[deu]"], "general")
    every = open_tasks(["MTEB(Multilingual, v2)"], "general")
    assert 0 < len(german) < len(every) == 18
    for task in german:
        spoken = task.mteb_task.metadata.hf_subsets_to_langscripts
        assert all("deu-Latn" in spoken[subset] for subset in task.mteb_task.hf_subsets)


def test_mtebs_own_objects_are_left_alone() -> None:
    before = [list(task.hf_subsets) for task in mteb.get_benchmark("MTEB(Multilingual, v2)").tasks]
    open_tasks(["MTEB(Multilingual, v2)[deu]"], "general")
    benchmark = mteb.get_benchmark("MTEB(Multilingual, v2)")
    assert [list(task.hf_subsets) for task in benchmark.tasks] == before
    assert all("load_data" not in vars(task) for task in benchmark.tasks)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NFCorpu", "did you mean NFCorpus"),
        ("./nowhere", "no such folder"),
        ("no/such:test", "no such folder"),
        ("few.jsonl", "no such folder"),
        ("", "a task's name is empty"),
        ("STS12", "a STS task on text; embedmerge evaluates retrieval tasks on text"),
        ("NFCorpus:validation", "no split 'validation'"),
        ("NFCorpus[deu]", r"NFCorpus: not in deu \(its languages: eng\)"),
        ("MTEB(eng, v2)[deu]", "none of its retrieval tasks is in deu"),
    ],
)
def test_unknown_tasks_say_what_to_do(name: str, says: str) -> None:
    with pytest.raises(EmbedmergeError, match=says):
        open_tasks([name], "general")


def test_texts_of_a_local_task_as_they_are_encoded(collection: Path) -> None:
    (task,) = open_tasks([str(collection)], "general")
    rows = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    assert dict(task.texts.documents) == {row["_id"]: f"{row['title']} {row['text']}" for row in rows}
    assert tuple(task.texts.queries.values()) == task.queries
    assert "d999" not in task.texts.documents


def test_texts_outlive_the_data_that_mteb_unloads(collection: Path) -> None:
    before, after = open_tasks([str(collection)] * 2, "general")
    wanted = before.texts.documents["d1"]
    for task in (before, after):
        task.mteb_task.load_data()
        task.mteb_task.unload_data()
    assert before.texts.documents["d1"] == after.texts.documents["d1"] == wanted


def test_texts_of_several_languages_have_them_in_their_ids() -> None:
    from datasets import Dataset

    (task,) = open_tasks(["MIRACLRetrieval[de,fr]"], "general")
    corpus = Dataset.from_list([{"id": "1", "title": None, "text": " a text "}])
    queries = Dataset.from_list([{"id": "q", "text": "what", "instruction": "briefly"}])
    table = {"corpus": corpus, "queries": queries, "relevant_docs": {}, "top_ranked": None}
    task.mteb_task.dataset = {"de": {"dev": table}, "fr": {"dev": table}}
    task.mteb_task.data_loaded = True
    assert dict(task.texts.documents) == {"de/1": "a text", "fr/1": "a text"}
    assert dict(task.texts.queries) == {"de/q": "what briefly", "fr/q": "what briefly"}


def test_prompts_are_carried_as_far_as_they_are_given(collection: Path) -> None:
    entry = NamedTask.model_validate(
        {"task": str(collection), "split": "dev", "prompts": {"query": "find: "}}
    )
    (task,) = open_tasks([entry], "general")
    assert (task.split, task.prompts) == ("dev", {"query": "find: "})
    none = NamedTask.model_validate({"task": "NFCorpus", "prompts": {"query": "", "document": None}})
    assert open_tasks([none], "general")[0].prompts == {"query": ""}


def test_odd_texts_are_scored(base: Path, collection: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(collection, tmp_path / "odd")
    with (folder / "corpus.jsonl").open("a") as corpus, (folder / "queries.jsonl").open("a") as queries:
        for name, text in ODD.items():
            corpus.write(json.dumps({"_id": name, "text": text}) + "\n")
            queries.write(json.dumps({"_id": name, "text": text[:200]}) + "\n")
    with (folder / "qrels" / "test.tsv").open("a") as qrels:
        qrels.writelines(f"{name}\t{name}\t1\n" for name in ODD)
    (found,) = evaluate([str(base)], {"general": [str(folder)]}, store=tmp_path / "scores")
    scores = found.scores[0].per_query
    assert len(scores) == 26
    assert all(0 <= scores[name] <= 100 for name in ODD)
    plain = evaluate([str(base)], {"general": [str(collection)]}, store=tmp_path / "scores")[0].scores[0]
    assert all(scores[query] <= score + 1e-3 for query, score in plain.per_query.items())


def rank_among(folder: Path, lists: dict[str, list[str]]) -> None:
    (folder / "candidates").mkdir()
    lines = [
        f"{query} Q0 {document} {rank} {1 / rank} bm25\n"
        for query, documents in lists.items()
        for rank, document in enumerate(documents, 1)
    ]
    (folder / "candidates" / "test.trec").write_text("".join(lines))


def test_candidates_alone_are_ranked(base: Path, collection: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(collection, tmp_path / "animals")
    rank_among(folder, {f"q{number}": [f"d{number}"] for number in range(2, 40, 2)} | {"q4": ["d5", "d6"]})
    (task,) = open_tasks([str(folder)], "general")
    assert task.mteb_task.metadata.type == "Reranking"
    (found,) = evaluate([str(base)], {"general": [str(folder)]}, store=tmp_path / "scores")
    wanted = dict.fromkeys((f"q{number}" for number in range(0, 40, 2)), 100.0) | {"q0": 0.0, "q4": 0.0}
    assert found.scores[0].per_query == wanted
    assert task.notes[1] == "animals:test: 1 queries have no candidates; they score 0"


def test_all_documents_as_candidates_score_as_the_whole_corpus(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(collection, tmp_path / "animals")
    everything = [f"d{number}" for number in range(60)]
    rank_among(folder, {f"q{number}": everything for number in range(0, 40, 2)})
    tasks = {"target": [str(folder)], "general": []}
    listed = evaluate([str(base)], tasks, store=tmp_path / "scores")[0].scores[0]
    whole = evaluate([str(base)], {"general": [str(collection)]}, store=tmp_path / "scores")[0].scores[0]
    assert listed.per_query == pytest.approx(whole.per_query, abs=1e-3)


def test_mtebs_result_files_and_tables_take_a_local_task(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    (task,) = open_tasks([str(collection)], "general")
    model = SentenceTransformerEncoderWrapper(SentenceTransformer(str(base), device="cpu"))
    result = mteb.evaluate(model, task.mteb_task, cache=None, co2_tracker=False, show_progress_bar=False)
    (written,) = result.task_results
    written.to_disk(tmp_path / "animals.json")
    read = mteb.TaskResult.from_disk(tmp_path / "animals.json")
    assert (read.dataset_revision, read.get_score()) == (task.content, written.get_score())
    assert result.to_dataframe().iloc[0]["task_name"] == "animals"
