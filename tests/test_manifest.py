from __future__ import annotations

import json
from dataclasses import replace

import pytest

import embedmerge
from embedmerge.api import merge
from embedmerge.checkpoint.lineage import combined_sha256, file_sha256
from embedmerge.errors import EmbedmergeError
from embedmerge.manifest import NAME, read_manifest
from embedmerge.sources import SourceSpec


@pytest.fixture
def specs(base, expert, peer):
    return [
        SourceSpec("base", str(base), "base"),
        SourceSpec("legal", str(expert), "target"),
        SourceSpec("code", str(peer), "peer"),
    ]


@pytest.fixture
def model(specs, tmp_path):
    return merge(specs, [0.5, 0.3, 0.2], tmp_path / "model").folder


def edited(model, edit):
    content = json.loads((model / NAME).read_text())
    edit(content)
    (model / NAME).write_text(json.dumps(content))
    return model


def test_says_what_was_merged_how_and_into_what(model, specs, base):
    manifest = read_manifest(model)
    assert manifest.tool == f"embedmerge {embedmerge.__version__}"
    assert (manifest.method, manifest.parameters, manifest.modifiers) == ("linear", {}, {})
    assert manifest.weights == {"base": 0.5, "legal": 0.3, "code": 0.2}
    assert [(entry.name, entry.role, entry.location) for entry in manifest.sources] == [
        (spec.name, spec.role, spec.path) for spec in specs
    ]
    weights = file_sha256(base / "model.safetensors")
    assert manifest.sources[0].files == {"model.safetensors": weights}
    assert manifest.sources[0].sha256 == combined_sha256({"model.safetensors": weights})
    assert manifest.files == {
        path.relative_to(model).as_posix(): file_sha256(path)
        for path in sorted(model.rglob("*"))
        if path.is_file() and path.name != NAME
    }
    assert manifest.modules["vocab.txt"] == file_sha256(base / "vocab.txt")


def test_defaults_are_filled_in_and_modifiers_kept_apart(specs, tmp_path):
    parameters = {"density": {"block 0": 0.5, "*": 0.3}, "lines": 0.4, "exclude": ["*.bias"]}
    folder = merge(specs, None, tmp_path / "out", method="ties", parameters=parameters).folder
    manifest = read_manifest(folder)
    assert manifest.parameters == {"density": {"block 0": 0.5, "*": 0.3}, "scope": "model", "agg": "mean"}
    assert manifest.modifiers == {"lines": 0.4, "exclude": ["*.bias"]}
    assert manifest.mixture.parameters == {**manifest.parameters, **manifest.modifiers}


def test_numbers_of_each_expert_are_kept_as_they_were_written(specs, tmp_path):
    density = {"expert legal": {"block 0": 0.1, "*": [0.2, 0.5]}, "*": 0.3}
    written = merge(specs, None, tmp_path / "out", method="dare_ties", parameters={"density": density})
    mixture = read_manifest(written.folder).mixture
    assert mixture.parameters["density"] == written.changed["density"] == density
    again = merge(specs, None, tmp_path / "again", method="dare_ties", parameters=mixture.parameters)
    assert (again.folder / NAME).read_bytes() == (written.folder / NAME).read_bytes()


def test_the_mixture_it_gives_is_the_one_that_was_made(specs, tmp_path):
    weights = {"legal": [0.1, 0.5], "code": {"block 1": 0.4, "*": 0.1}}
    folder = merge(specs, weights, tmp_path / "out", dtype="float16", shard_bytes=20_000).folder
    mixture = read_manifest(folder).mixture
    assert mixture.coefficients.by_tensor == weights
    again = merge(
        specs,
        mixture.coefficients.by_tensor,
        tmp_path / "again",
        dtype=mixture.dtype,
        shard_bytes=mixture.shard_bytes,
    )
    assert (again.folder / NAME).read_bytes() == (folder / NAME).read_bytes()


def test_the_same_merge_gives_the_same_manifest(specs, model, tmp_path):
    again = merge(specs, [0.5, 0.3, 0.2], tmp_path / "again").folder
    assert (again / NAME).read_bytes() == (model / NAME).read_bytes()


def test_files_laid_in_later_are_covered(model):
    (model / "README.md").write_text("a card")
    before = read_manifest(model)
    before.covering(model).write(model)
    after = read_manifest(model)
    assert after.files["README.md"] == file_sha256(model / "README.md")
    assert replace(after, files=before.files) == before


def test_statistics_and_their_text_are_recorded(specs, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "".join(
            f"a river and {word}\n"
            for word in ["bank", "loan", "court", "law", "judge", "cell", "gene", "drug"]
        )
    )
    folder = merge(specs, None, tmp_path / "out", method="regmean", texts=text).folder
    manifest = read_manifest(folder)
    assert manifest.statistics.keys() == {"legal", "code"}  # the base counts for nothing
    assert len(set(manifest.statistics.values())) == 2
    assert len(manifest.texts) == 64


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda content: content.update(format=2), "format 2"),
        (lambda content: content.pop("format"), "format None"),
        (lambda content: content.pop("weights"), "weights: Field required"),
        (lambda content: content.update(weights={"base": "0.5"}), r"weights\.base"),
        (lambda content: content.update(more=1), "more: Unexpected"),
        (lambda content: content["sources"][0].update(role="boss"), r"sources\.0\.role"),
        (lambda content: content["files"].update({"../x": "0" * 64}), "'../x'"),
        (lambda content: content["files"].update({"/etc/passwd": "0" * 64}), "'/etc/passwd'"),
        (lambda content: content["files"].update({"a\\b": "0" * 64}), "not below"),
        (lambda content: content["files"].update({"x": "short"}), "'short' is no sha256"),
        (lambda content: content["weights"].update(other=0.0), "different names"),
        (lambda content: content["sources"].reverse(), "different names"),
        (lambda content: content["sources"][0].update(role="peer"), "not the base"),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line(model, edit, says):
    with pytest.raises(EmbedmergeError, match=says) as caught:
        read_manifest(edited(model, edit))
    assert NAME in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", b"null"])
def test_what_is_no_manifest_is_refused(model, content):
    (model / NAME).write_bytes(content)
    with pytest.raises(EmbedmergeError, match=NAME):
        read_manifest(model)


def test_a_folder_without_one_is_refused(base, tmp_path):
    with pytest.raises(EmbedmergeError, match="only what embedmerge has written"):
        read_manifest(base)
    with pytest.raises(EmbedmergeError, match="no such folder"):
        read_manifest(tmp_path / "nowhere")
