from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from embedmerge.errors import EmbedmergeError
from embedmerge.manifest import read_manifest
from embedmerge.recipe import Recipe, load_recipe, parse_recipe
from embedmerge.report.serialise import from_json
from embedmerge.run import run_recipe
from embedmerge.verification import verify

if TYPE_CHECKING:
    from pathlib import Path

# A process of its own that loads the libraries once and forks a child for every kill.
KILLER = """
import os, signal, sys
from pathlib import Path
from embedmerge.recipe import load_recipe
from embedmerge.run import run_recipe
import faiss, mteb, sentence_transformers
from mteb.models.search_encoder_index import FaissSearchIndex

class Killer:
    '''Ends the process, as a power cut would, at the given call of a watcher.'''
    def __init__(self, at): self.at, self.calls = at, 0
    def _count(self):
        if self.calls == self.at: os.kill(os.getpid(), signal.SIGKILL)
        self.calls += 1
    def stage(self, name): self._count()
    def progress(self, label, done, total): self._count()

def attempt(folder, at):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    killer = Killer(at)
    run_recipe(load_recipe(Path(sys.argv[1])), Path(folder), watcher=killer)
    Path(folder + ".calls").write_text(str(killer.calls))
    os._exit(0)

straight, killed, caches = sys.argv[2:]
os.environ["EMBEDMERGE_CACHE"] = caches + "/straight"
assert attempt(straight, None) == 0
os.environ["EMBEDMERGE_CACHE"] = caches + "/killed"
kills = 0
for at in range(1, int(Path(straight + ".calls").read_text())):
    status = attempt(killed, at)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    kills += 1
assert attempt(killed, None) == 0
print(kills)
"""


@pytest.fixture
def recipe_file(
    tmp_path: Path,
    base: Path,
    expert: Path,
    peer: Path,
    collection: Path,
    general_collection: Path,
    examples_file: Path,
) -> Path:
    content = {
        "base": str(base),
        "experts": [{"path": str(expert), "role": "target"}, str(peer)],
        "weighting": {"strategy": "cocktail", "examples": str(examples_file)},
        "evaluation": {"target": [str(collection)], "general": [str(general_collection)]},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


def digests(folder: Path) -> dict[str, str]:
    """What a user is given: everything but the stages' own files, and mteb's, which say when and how long."""
    timed = folder / "scores" / "results"
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".running" and not path.is_relative_to(timed)
    ]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_whole_job(recipe: Recipe, tmp_path: Path, base: Path) -> None:
    report = run_recipe(recipe, tmp_path / "run")
    folder = tmp_path / "run"
    assert {"model", "report.json", "report.html", "recipe.lock.yaml"} <= {
        path.name for path in folder.iterdir()
    }
    assert from_json(json.loads((folder / "report.json").read_text())).weights == report.weights
    assert list(report.comparison.models) == ["base", "expert", "peer", "uniform", "placebo", "merged"]
    assert sum(report.weights.values()) == pytest.approx(1)
    for place in ("modules.json", "1_Pooling/config.json", "vocab.txt", "tokenizer.json"):
        assert (folder / "model" / place).read_bytes() == (base / place).read_bytes()
    manifest = json.loads((folder / "model" / "embedmerge.json").read_text())
    for place, digest in manifest["files"].items():
        assert hashlib.sha256((folder / "model" / place).read_bytes()).hexdigest() == digest
    assert str(tmp_path) not in (folder / "model" / "README.md").read_text()
    assert str(base) not in (folder / "model" / "recipe.lock.yaml").read_text()


def test_the_model_is_the_mixture_that_the_report_names(
    recipe: Recipe, tmp_path: Path, base: Path, expert: Path, peer: Path
) -> None:
    report = run_recipe(recipe, tmp_path / "run")
    found = load_file(tmp_path / "run" / "model" / "model.safetensors")
    parts = [load_file(folder / "model.safetensors") for folder in (base, expert, peer)]
    for name, values in found.items():
        wanted = sum(weight * part[name] for weight, part in zip(report.weights.values(), parts, strict=True))
        np.testing.assert_allclose(values, wanted, atol=1e-6)
    assert SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu").encode("river").shape == (32,)


def test_a_finished_run_is_not_done_again(recipe: Recipe, tmp_path: Path) -> None:
    first = run_recipe(recipe, tmp_path / "run")
    before = digests(tmp_path / "run")
    times = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "candidates").rglob("*.safetensors")
    }
    assert run_recipe(recipe, tmp_path / "run") == first
    assert digests(tmp_path / "run") == before
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_killed_anywhere_and_run_again_gives_the_same_bytes(recipe_file: Path, tmp_path: Path) -> None:
    """One folder, killed at every stage boundary and every progress call, each time a little later."""
    folders = [tmp_path / "straight", tmp_path / "killed", tmp_path / "caches"]
    command = [sys.executable, "-c", KILLER, str(recipe_file), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15
    assert digests(tmp_path / "killed") == digests(tmp_path / "straight")


def test_another_recipe_in_the_same_folder_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, tmp_path / "run")
    before = digests(tmp_path / "run")
    other = parse_recipe({**recipe.model_dump(), "weighting": {"strategy": "uniform"}})
    with pytest.raises(EmbedmergeError, match="holds a run of another recipe"):
        run_recipe(other, tmp_path / "run")
    assert digests(tmp_path / "run") == before
    assert run_recipe(other, tmp_path / "run", fresh=True).weights["base"] == pytest.approx(1 / 3)


def test_another_number_of_threads_is_the_same_run(recipe: Recipe, tmp_path: Path) -> None:
    report = run_recipe(recipe, tmp_path / "run")
    threads = recipe.encoding.model_copy(update={"threads": 1})
    assert run_recipe(recipe.model_copy(update={"encoding": threads}), tmp_path / "run") == report


def test_two_processes_evaluate_to_the_same_scores(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    alone = run_recipe(recipe, tmp_path / "alone")
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "other cache"))
    devices = recipe.encoding.model_copy(update={"devices": ("cpu", "cpu")})
    assert (
        run_recipe(recipe.model_copy(update={"encoding": devices}), tmp_path / "run").comparison
        == alone.comparison
    )


def test_changed_examples_are_another_run(recipe: Recipe, tmp_path: Path, examples_file: Path) -> None:
    mine = tmp_path / "few.jsonl"
    mine.write_bytes(examples_file.read_bytes())
    own = parse_recipe({**recipe.model_dump(), "weighting": {"strategy": "cocktail", "examples": str(mine)}})
    run_recipe(own, tmp_path / "run")
    mine.write_text("".join(mine.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(EmbedmergeError, match="of other data"):
        run_recipe(own, tmp_path / "run")


def test_a_foreign_folder_is_refused_even_with_fresh(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    for fresh in (False, True):
        with pytest.raises(EmbedmergeError, match=r"thesis\.tex is in it"):
            run_recipe(recipe, tmp_path / "run", fresh=fresh)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["model", "weights.json", ".git"])
def test_a_folder_without_a_lock_is_nobodys_run(recipe: Recipe, tmp_path: Path, name: str) -> None:
    """Names that a run uses, and hidden ones, are as foreign as any where no lock says otherwise."""
    kept = tmp_path / "run" / name / "precious"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(EmbedmergeError, match="no run of embedmerge's"):
        run_recipe(recipe, tmp_path / "run", fresh=True)
    assert kept.read_text() == "mine"


def test_hidden_files_of_the_user_survive_a_run(recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, tmp_path / "run")
    (tmp_path / "run" / ".gitignore").write_text("mine")
    (tmp_path / "run" / ".model.abcd1234").mkdir()  # what a kill leaves
    run_recipe(recipe, tmp_path / "run", fresh=True)
    assert (tmp_path / "run" / ".gitignore").read_text() == "mine"
    assert not (tmp_path / "run" / ".model.abcd1234").exists()


def test_killed_while_starting_over_nothing_stale_is_taken_for_the_new_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import embedmerge.run_folder as folder_module

    run_recipe(recipe, tmp_path / "run")
    other = parse_recipe({**recipe.model_dump(), "weighting": {"strategy": "uniform"}})
    remove, calls = folder_module._remove, iter(range(2))

    def killed(path: Path) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(folder_module, "_remove", killed)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(other, tmp_path / "run", fresh=True)
    monkeypatch.undo()
    with pytest.raises(EmbedmergeError, match="holds a run of another recipe"):
        run_recipe(other, tmp_path / "run")
    assert run_recipe(other, tmp_path / "run", fresh=True).weights["base"] == pytest.approx(1 / 3)


def test_fresh_leaves_what_the_user_put_into_the_run_folder(recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    run_recipe(recipe, tmp_path / "run", fresh=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"base": "nowhere/at-all"}, "nowhere/at-all"),
        ({"weighting": {"strategy": "cocktail", "examples": "none.jsonl"}}, "no such examples file"),
        ({"evaluation": {"target": ["./nowhere"]}}, "no such folder"),
    ],
)
def test_bad_input_writes_nothing(
    recipe: Recipe, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    broken = parse_recipe({**recipe.model_dump(), **change})
    with pytest.raises(EmbedmergeError, match=says):
        run_recipe(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nan_in_a_source_is_found_before_anything_is_written(
    recipe: Recipe, tmp_path: Path, base: Path, make_expert
) -> None:
    from safetensors.numpy import save_file

    broken = make_expert("nan-run", base=base)
    tensors = load_file(broken / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][3, 3] = np.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        EmbedmergeError, match=r"nan-run: tensor 'embeddings.word_embeddings.weight' holds NaN"
    ):
        run_recipe(parse_recipe({**recipe.model_dump(), "experts": [str(broken)]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_expert_of_another_base_is_refused_before_anything_is_written(
    recipe: Recipe, tmp_path: Path, make_checkpoint
) -> None:
    experts = [str(make_checkpoint("unrelated", seed=3))]
    with pytest.raises(EmbedmergeError, match=r"^unrelated: not tuned from base: "):
        run_recipe(parse_recipe({**recipe.model_dump(), "experts": experts}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_tasks_there_is_a_model_and_no_comparison(recipe: Recipe, tmp_path: Path) -> None:
    bare = parse_recipe({**recipe.model_dump(), "evaluation": {}})
    assert run_recipe(bare, tmp_path / "run").comparison is None
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_weights_that_differ_from_tensor_to_tensor_are_in_the_report_and_the_card(
    recipe: Recipe, tmp_path: Path
) -> None:
    content = recipe.model_dump(mode="json")
    content["weighting"] = {"weights": {"expert": {"block 0": 0.2, "*": 0.4}, "peer": [0.0, 0.4]}}
    content["evaluation"] = {}
    report = run_recipe(parse_recipe(content), tmp_path / "run")
    assert report.weights == {"base": 0.4, "expert": 0.4, "peer": 0.2}
    assert report.weighting.parameters["by_tensor"] == content["weighting"]["weights"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "block 0" in card
    assert verify(tmp_path / "run" / "model").is_sound


def test_a_method_with_statistics_is_run_and_the_uniform_average_stays_plain(
    recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("".join(f"a river and {letter}\n" for letter in "abcdefghij"))
    content = recipe.model_dump(mode="json")
    content["method"] = {"name": "regmean", "text": str(tmp_path / "text.txt"), "shard_size": "20KB"}
    run_recipe(parse_recipe(content), tmp_path / "run")
    candidates = tmp_path / "run" / "candidates"
    manifest = read_manifest(tmp_path / "run" / "model")
    assert (manifest.method, manifest.shard_bytes) == ("regmean", 20_000)
    assert manifest.statistics
    assert manifest.files.keys() >= {"README.md", "recipe.lock.yaml"}
    assert read_manifest(candidates / "uniform").method == "linear"
    assert verify(tmp_path / "run" / "model").is_sound


def test_qrels_that_name_unknown_documents_are_reported(
    recipe: Recipe, tmp_path: Path, collection: Path
) -> None:
    import shutil

    odd = shutil.copytree(collection, tmp_path / "odd")
    with (odd / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q0\tnowhere\t1\n")
    odd_recipe = parse_recipe({**recipe.model_dump(), "evaluation": {"target": [str(odd)]}})
    report = run_recipe(odd_recipe, tmp_path / "run")
    assert "odd:test: 1 qrels name documents that the corpus has not; left out" in report.notes


def front_recipe(recipe_file: Path, tmp_path: Path, **weighting: object) -> Path:
    content = yaml.safe_load(recipe_file.read_text())
    content["weighting"] = {"examples": content["weighting"]["examples"], **weighting}
    path = tmp_path / "front.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_without_a_strategy_the_front_is_drawn_and_kept_in_the_report(
    recipe_file: Path, tmp_path: Path
) -> None:
    path = front_recipe(recipe_file, tmp_path, guard={"most": 32})
    report = run_recipe(load_recipe(path), tmp_path / "run")
    selection = report.weighting.selection
    assert (report.weighting.strategy, selection.strategy, selection.examples) == ("front", "front", 12)
    assert report.weights == next(each.weights for each in selection.candidates if each.name == "chosen")
    assert list(report.comparison.models) == [
        "base",
        "expert",
        "peer",
        "uniform",
        "cocktail",
        "placebo",
        "merged",
    ]
    again = run_recipe(load_recipe(path), tmp_path / "run")
    assert again.weighting.selection == selection
    assert "How the weights were chosen" in (tmp_path / "run" / "report.html").read_text()


def test_the_lock_holds_the_content_of_the_guard(recipe_file: Path, tmp_path: Path) -> None:
    texts = tmp_path / "guard.txt"
    texts.write_text("\n".join(f"bank loan number {row}" for row in range(20)))
    path = front_recipe(recipe_file, tmp_path, guard={"text": str(texts)})
    run_recipe(load_recipe(path), tmp_path / "run")
    texts.write_text("\n".join(f"river tree number {row}" for row in range(20)))
    with pytest.raises(EmbedmergeError, match="holds a run of another recipe"):
        run_recipe(load_recipe(path), tmp_path / "run")


def test_what_is_chosen_on_is_not_evaluated_on(
    recipe_file: Path, tmp_path: Path, collection: Path, general_collection: Path
) -> None:
    evaluated = collection / "queries.jsonl"
    query = json.loads(evaluated.read_text().splitlines()[0])["text"]
    path = front_recipe(recipe_file, tmp_path, guard={"tasks": [f"{general_collection}:test"]})
    with pytest.raises(EmbedmergeError, match="a test split"):
        run_recipe(load_recipe(path), tmp_path / "run")
    examples = tmp_path / "mine.jsonl"
    examples.write_text(json.dumps({"query": query, "pos": ["a bank"], "neg": ["a river"]}) + "\n")
    for strategy in ("front", "cocktail"):
        path = front_recipe(recipe_file, tmp_path, strategy=strategy, examples=str(examples))
        with pytest.raises(EmbedmergeError, match="examples: 1 of its queries are evaluated on in animals"):
            run_recipe(load_recipe(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_does_not_bear_bfloat16_is_named(
    base: Path, expert: Path, collection: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("embedmerge.retrieval.settings.native_bf16", lambda *_: True)
    monkeypatch.setattr("embedmerge.retrieval.probe.TOLERANCE", -1.0)  # that nothing passes
    recipe = parse_recipe(
        {
            "base": str(base),
            "experts": [{"path": str(expert), "name": "legal"}],
            "weighting": {"weights": {"legal": 0.5}},
            "encoding": {"precision": "auto"},
            "evaluation": {"target": [str(collection)]},
        }
    )
    report = run_recipe(recipe, tmp_path / "run")
    found = [note for note in report.notes if "encoded in fp32: bfloat16 moves similarities" in note]
    assert [note.partition(":")[0] for note in found] == ["base", "legal", "uniform", "placebo", "merged"]
