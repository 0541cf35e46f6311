from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from embedmerge.api import merge
from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.statistics.of_sources import gather

METHODS = ["fisher", "regmean"]
DENSE = "encoder.layer.1.output.dense.weight"


@pytest.fixture(scope="module")
def text_file(texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "some.txt"
    path.write_text("\n".join(text.content for text in texts))
    return path


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def folders(request, make_checkpoint, make_expert):
    """A base and two experts. Read only."""
    base = make_checkpoint(f"{request.param}-base", arch=request.param)
    experts = [make_expert(f"{request.param}-{seed}", base=base, seed=seed, scale=0.1) for seed in (1, 2)]
    return [base, *experts]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / "cache"))


def specs(folders):
    names = zip(("base", "one", "two"), folders, ("base", "target", "peer"), strict=True)
    return [SourceSpec(name, str(folder), role) for name, folder, role in names]


def loaded(folder):
    return load_file(folder / "model.safetensors")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.safetensors"))
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_merge_is_a_model_that_is_not_the_average(folders, text_file, tmp_path, method):
    merged = merge(specs(folders), [0.2, 0.5, 0.3], tmp_path / "out", method=method, texts=text_file).folder
    found, tensors = loaded(merged), [loaded(folder) for folder in folders]
    assert found.keys() == tensors[0].keys()

    def average(name):
        return 0.2 * tensors[0][name] + 0.5 * tensors[1][name] + 0.3 * tensors[2][name]

    for name in found:
        if name.startswith("encoder.") and name.endswith("dense.weight"):
            assert np.abs(found[name] - average(name)).max() > 1e-3, name
    untouched = "pooler.dense.weight" if method == "fisher" else "embeddings.word_embeddings.weight"
    np.testing.assert_allclose(found[untouched], average(untouched), atol=1e-5)
    vectors = SentenceTransformer(str(merged), device="cpu").encode(["a bank loan", "river water"])
    assert vectors.shape == (2, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_second_run_gives_the_same_bytes_with_and_without_the_store(
    folders, text_file, tmp_path, monkeypatch, method
):
    runs = []
    for cache, target in (("a", "first"), ("a", "from store"), ("b", "afresh")):
        monkeypatch.setenv("EMBEDMERGE_CACHE", str(tmp_path / cache))
        runs.append(merge(specs(folders), None, tmp_path / target, method=method, texts=text_file).folder)
    first, *others = map(contents, runs)
    assert len(first) == 1
    assert all(first == other for other in others)


def test_regmean_s_outputs_are_nearer_to_the_experts_than_the_average_s(folders, text_file, tmp_path, texts):
    merged = merge(
        specs(folders), None, tmp_path / "out", method="regmean", parameters={"alpha": 1.0}, texts=text_file
    ).folder
    tensors = [loaded(folder)[DENSE] for folder in folders[1:]]
    captured = []
    for folder in folders[1:]:
        model = SentenceTransformer(str(folder), device="cpu")
        inputs = []
        linear = model[0].auto_model.get_submodule(DENSE.removesuffix(".weight"))
        linear.register_forward_pre_hook(lambda _, given, inputs=inputs: inputs.append(given[0][0].numpy()))
        for text in texts:
            model.encode([text.content])
        captured.append(np.vstack(inputs))

    def distance(matrix):
        pairs = zip(captured, tensors, strict=True)
        return sum(np.mean((x @ (matrix - tensor).T) ** 2) for x, tensor in pairs)

    assert distance(loaded(merged)[DENSE]) < 0.9 * distance(sum(tensors) / 2)


@pytest.mark.parametrize(("method", "read"), [("fisher", {DENSE}), ("regmean", {DENSE})])
def test_a_source_that_counts_for_nothing_is_not_read(folders, texts, own_cache, method, read):
    sources, _ = open_sources(specs(folders))
    seen = []
    mixture = Mixture(Coefficients.explicit(["base", "one", "two"], [0.0, 1.0, 0.0]), method)
    found = gather(sources, mixture, texts, progress=lambda label, *_: seen.append(label))
    assert [bool(each) for each in found] == [False, True, False]
    assert read < set(found[1])
    assert set(seen) == {"text: one"}


def test_statistics_are_gathered_by_torch_whatever_encodes(folders, texts, own_cache):
    pytest.importorskip("openvino", reason="extra openvino")
    sources, _ = open_sources(specs(folders))
    mixture = Mixture(Coefficients.uniform(["base", "one", "two"]), "fisher")
    found = gather(sources, mixture, texts, EncodingSettings(backend="openvino"))
    assert all(DENSE in each for each in found)


def test_a_method_that_needs_none_gathers_nothing(folders, texts, own_cache, tmp_path):
    sources, _ = open_sources(specs(folders))
    assert gather(sources, Mixture(Coefficients.uniform(["base", "one", "two"]), "linear"), texts) is None
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("method", METHODS)
def test_too_few_texts_or_none_are_refused_before_anything_is_written(folders, tmp_path, method):
    few = tmp_path / "few.txt"
    few.write_text("a bank\nriver water\n")
    for texts, said in ((None, "needs unlabelled text"), (few, "2 different texts in it; give at least 8")):
        with pytest.raises(EmbedmergeError, match=said) as caught:
            merge(specs(folders), None, tmp_path / "out", method=method, texts=texts)
        assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()
