from __future__ import annotations

import json
import shutil
from pathlib import Path

import mteb
import pytest

import embedmerge
from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.named import NamedTask
from embedmerge.evaluation.suites import Suite, bundled_suites, in_data_dir, open_sides
from embedmerge.recipe import load_recipe, read_suite

ROOT = Path(embedmerge.__file__).parent.parent


def sides(tasks) -> dict[str, list[str]]:
    return {side: [task.name for task in tasks if task.side == side] for side in ("target", "general")}


@pytest.fixture
def data(collection: Path, general_collection: Path, tmp_path: Path) -> Path:
    """A data folder with two collections and something else."""
    for folder in (collection, general_collection):
        shutil.copytree(folder, tmp_path / "data" / folder.name)
    (tmp_path / "data" / "notes").mkdir()
    (tmp_path / "data" / "README.md").write_text("# Data\n")
    return tmp_path / "data"


@pytest.mark.parametrize("name", list(bundled_suites()))
def test_a_suite_that_comes_with_embedmerge_names_both_sides_and_says_what_it_is(name: str) -> None:
    suite = read_suite(name)
    assert suite.description and "\n" not in suite.description
    assert suite.general
    assert suite.target or name == "local"


def test_the_tasks_of_the_suites_are_mtebs() -> None:
    def names(benchmark: str) -> set[str]:
        tasks = mteb.get_benchmark(benchmark).tasks
        return {task.metadata.name for task in tasks if task.metadata.type == "Retrieval"}

    nano, english, small = (read_suite(name) for name in ("nano", "mteb-en-retrieval", "beir-small"))
    assert {*nano.target, *nano.general} == names("NanoBEIR")
    assert {*english.target, *english.general} == names("MTEB(eng, v2)")
    assert {*small.target, *small.general} < names("BEIR")


def test_the_suites_lie_under_eval_too() -> None:
    if not (ROOT / "eval").is_dir():
        pytest.skip("not a checkout")
    assert (ROOT / "eval" / "suites").readlink() == Path("../embedmerge/evaluation/suites")
    assert {path.stem for path in (ROOT / "eval" / "suites").glob("*.yaml")} == set(bundled_suites())


def test_a_suite_by_its_name_is_opened(data: Path) -> None:
    opened = sides(open_sides({}, suite=read_suite("beir-small")))
    assert opened == {"target": ["SciFact", "NFCorpus", "FiQA2018"], "general": ["ArguAna", "SCIDOCS"]}
    assert sides(open_sides({}, data, read_suite("local"))) == {
        "target": [],
        "general": ["animals", "general"],
    }


def test_what_is_named_goes_before_the_suite(data: Path) -> None:
    opened = sides(open_sides({"target": ["NFCorpus"]}, suite=read_suite("beir-small")))
    assert opened == {"target": ["NFCorpus"], "general": ["SciFact", "FiQA2018", "ArguAna", "SCIDOCS"]}
    assert sides(open_sides({"target": ["general"]}, data, read_suite("local"))) == {
        "target": ["general"],
        "general": ["animals"],
    }
    opened = sides(open_sides({"general": ["TRECCOVID"]}, suite=read_suite("beir-small")))
    assert opened["target"] == ["SciFact", "NFCorpus", "FiQA2018"]
    assert opened["general"] == ["TRECCOVID", "ArguAna", "SCIDOCS"]


def test_a_task_named_twice_is_refused(collection: Path) -> None:
    with pytest.raises(EmbedmergeError, match="animals:test: named twice"):
        open_sides({"target": [str(collection)], "general": [f"{collection}:test"]})
    with pytest.raises(EmbedmergeError, match="NFCorpus:test: named twice"):
        open_sides({}, suite=Suite(target=("NFCorpus",), general=("NFCorpus",)))


def test_the_data_folder_is_asked_before_mteb(data: Path) -> None:
    (found,) = in_data_dir(NamedTask(task="animals", split="dev"), data)
    assert (found.task, found.split) == (str(data / "animals"), "dev")
    assert in_data_dir(NamedTask(task="NFCorpus"), data) == [NamedTask(task="NFCorpus")]
    (task,) = open_sides({"general": ["animals:dev"]}, data)
    assert (task.name, task.split) == ("animals", "dev")


def test_a_pattern_is_the_collections_below_the_data_folder(data: Path) -> None:
    found = in_data_dir(NamedTask(task="*", split="dev"), data)
    assert [(Path(entry.task).name, entry.split) for entry in found] == [
        ("animals", "dev"),
        ("general", "dev"),
    ]
    with pytest.raises(EmbedmergeError, match="no collection in it that fits 'z"):
        in_data_dir(NamedTask(task="z*"), data)
    with pytest.raises(EmbedmergeError, match="--data-dir or EMBEDMERGE_DATA"):
        open_sides({}, suite=read_suite("local"))


def written(folder: Path, content: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(content)
    return path


def test_a_suite_file_with_folders_beside_it_languages_and_prompts(data: Path) -> None:
    path = written(
        data,
        "description: mine\nlanguages: [deu]\ntarget: [animals:dev]\ngeneral:\n"
        "- task: general\n  split: dev\n  prompts: {query: 'find: '}\n"
        "- MIRACLRetrieval\n- BelebeleRetrieval[fra]\n",
    )
    animals, general, miracl, belebele = open_sides({}, suite=read_suite(path))
    assert (animals.name, animals.split, animals.side, animals.prompts) == ("animals", "dev", "target", None)
    assert (general.name, general.split, general.prompts) == ("general", "dev", {"query": "find: "})
    assert miracl.name == "MIRACLRetrieval[de]"
    assert all("fra" in subset for subset in belebele.mteb_task.hf_subsets)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("targets: [a]\n", "targets: unknown key; did you mean 'target'"),
        ("general: [{task: a, promts: {}}]\n", "general.0.promts: unknown key; did you mean 'prompts'"),
        (
            "general: [{task: a, prompts: {qery: x}}]\n",
            "general.0.prompts.qery: unknown key; did you mean 'query'",
        ),
        ("general: [{split: dev}]\n", "general.0.task: missing, and needed"),
        ("general: [3]\n", "general.0: "),
        ("general: nano\n", "general: "),
        ("- a\n", "not a mapping"),
    ],
)
def test_a_fault_in_a_suite_is_one_line_that_names_the_key(tmp_path: Path, content: str, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(EmbedmergeError) as caught:
        read_suite(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_suite_lists_the_known_ones() -> None:
    with pytest.raises(
        EmbedmergeError, match="nanno: no such file; a suite is a YAML file, or one of beir-small"
    ):
        read_suite("nanno")


RECIPE = """
base: b
experts: [e]
weighting: {strategy: uniform}
evaluation:
  suite: SUITE
  target: [{task: legal:test, prompts: {query: 'find: ', document: ''}}]
  general: [NFCorpus]
"""


def test_a_recipe_names_a_suite_and_prompts_of_a_task(tmp_path: Path) -> None:
    (tmp_path / "legal").mkdir()
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("SUITE", "nano"))
    evaluation = load_recipe(tmp_path / "recipe.yaml").evaluation
    (target,) = evaluation.target
    assert isinstance(target, NamedTask)
    assert (target.task, target.stated_prompts) == (
        f"{tmp_path / 'legal'}:test",
        {"query": "find: ", "document": ""},
    )
    assert (evaluation.suite, evaluation.general) == ("nano", ("NFCorpus",))
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("SUITE", "mine.yaml"))
    assert load_recipe(tmp_path / "recipe.yaml").evaluation.suite == str(tmp_path / "mine.yaml")


def test_a_recipe_with_prompts_survives_its_own_dump(tmp_path: Path) -> None:
    from embedmerge.recipe import parse_recipe

    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("SUITE", "nano"))
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert parse_recipe(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
