from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture
from embedmerge.retrieval.cache import EmbeddingCache
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.statistics.text import Text
from embedmerge.weighting import trial
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = ["river bank", "a court of law", "how do i merge two models"]


def trials_of(*folders: Path, cache: EmbeddingCache | None = None, texts: Sequence[Text] = ()) -> Trials:
    roles = ["base", *["peer"] * (len(folders) - 1)]
    specs = [
        SourceSpec(name, str(folder), role)
        for name, folder, role in zip(("base", "one", "other"), folders, roles, strict=False)
    ]
    return Trials(open_sources(specs)[0], EncodingSettings(), cache, texts)


def mixture(*weights: float, **changes: Any) -> Mixture:
    names = ("base", "one", "other")[: len(weights)]
    return replace(Mixture(Coefficients(dict(zip(names, weights, strict=True))), dtype="float32"), **changes)


def digest(trials: Trials, mixed: Mixture) -> str:
    with trials.of_mixture(mixed) as encoder:
        return encoder.model.sha256


def left_over() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("embedmerge-trial-*"))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_mixture_is_encoded_as_it_is_merged(base: Path, expert: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import save_file

    first, second = load_file(base / "model.safetensors"), load_file(expert / "model.safetensors")
    by_hand = {
        name: (0.3 * own + 0.7 * second[name]).astype(own.dtype) if own.dtype.kind == "f" else own
        for name, own in first.items()
    }
    shutil.copytree(base, tmp_path / "by-hand")
    save_file(by_hand, tmp_path / "by-hand" / "model.safetensors", metadata={"format": "pt"})
    with trials_of(base, expert).of_mixture(mixture(0.3, 0.7)) as encoder:
        found = encoder.embed(TEXTS)
    wanted = SentenceTransformer(str(tmp_path / "by-hand"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_is_cached_is_not_merged_again(
    base: Path, expert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    with trials_of(base, expert, cache=cache).of_mixture(mixture(0.3, 0.7)) as encoder:
        first = encoder.pooled(TEXTS)
        assert encoder.model.folder.is_dir()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("merged again")

    monkeypatch.setattr(trial, "write_mixture", refuse)
    with trials_of(base, expert, cache=cache).of_mixture(mixture(0.3, 0.7)) as encoder:
        np.testing.assert_array_equal(encoder.pooled(TEXTS), first)
        assert not encoder.model.folder.exists()
        with pytest.raises(AssertionError, match="merged again"):
            encoder.pooled([*TEXTS, "and one more"])
    with (
        trials_of(base, expert, cache=cache).of_placebo(mixture(0.3, 0.7)) as encoder,
        pytest.raises(AssertionError, match="merged again"),
    ):
        encoder.pooled(TEXTS)


def test_nothing_stays_behind(base: Path, expert: Path, scratch: Path) -> None:
    trials = trials_of(base, expert)
    with trials.of_mixture(mixture(0.5, 0.5)) as encoder:
        assert not any(path.is_file() for path in scratch.rglob("*"))  # merged when it is needed
        encoder.pooled(TEXTS)
        assert len(left_over()) == 1
        assert (encoder.model.folder / "model.safetensors").is_file()
    assert not list(scratch.iterdir())
    with trials.of_placebo(mixture(0.5, 0.5)) as encoder:
        encoder.pooled(TEXTS)
        assert (encoder.model.folder / "model.safetensors").is_file()
    assert not list(scratch.iterdir())


def test_nothing_stays_behind_a_failure(base: Path, expert: Path, scratch: Path) -> None:
    with (
        pytest.raises(EmbedmergeError, match="no_such_method"),
        trials_of(base, expert).of_mixture(mixture(0.5, 0.5, method="no_such_method")) as encoder,
    ):
        encoder.pooled(TEXTS)
    assert not list(scratch.iterdir())


def test_the_digest_covers_everything_that_decides_the_weights(base: Path, expert: Path, peer: Path) -> None:
    trials = trials_of(base, expert, peer)
    whole = mixture(0.5, 0.3, 0.2)
    scaled = replace(whole, method="task_arithmetic", parameters={"scale": 0.5})
    varying = Coefficients(whole.coefficients.weights, {"one": {"block 0": 0.1, "*": 0.3}})
    digests = [
        digest(trials, whole),
        digest(trials, mixture(0.5, 0.2, 0.3)),
        digest(trials, replace(whole, method="task_arithmetic")),
        digest(trials, scaled),
        digest(trials, replace(scaled, parameters={"scale": 0.6})),
        digest(trials, replace(whole, dtype="bfloat16")),
        digest(trials, replace(whole, coefficients=varying)),
        digest(trials_of(base, peer, expert), whole),
        digest(trials_of(base, expert, base), whole),
        digest(trials_of(expert, base, peer), whole),
        digest(trials_of(base, expert, peer, texts=[Text("river")]), whole),
        *[source.model_sha256 for source in trials.sources],
    ]
    assert len(set(digests)) == len(digests)
    assert digest(trials_of(base, expert, peer), mixture(0.5, 0.3, 0.2)) == digests[0]


def test_the_digest_of_a_placebo_is_another_for_another_seed_mixture_or_text(
    base: Path, expert: Path
) -> None:
    trials, read = trials_of(base, expert), trials_of(base, expert, texts=[Text("river")])
    digests = [digest(trials, mixture(0.5, 0.5))]
    for each, mixed, seed in (
        (trials, mixture(0.5, 0.5), 0),
        (trials, mixture(0.5, 0.5), 1),
        (trials, mixture(0.4, 0.6), 0),
        (read, mixture(0.5, 0.5), 0),
    ):
        with each.of_placebo(mixed, seed) as encoder:
            digests.append(encoder.model.sha256)
    assert len(set(digests)) == len(digests)


def test_experts_without_weight_have_no_say_in_the_digest(base: Path, expert: Path, peer: Path) -> None:
    assert digest(trials_of(base, expert, peer), mixture(0.4, 0.6, 0.0)) == digest(
        trials_of(base, expert), mixture(0.4, 0.6)
    )


@pytest.mark.parametrize(
    ("normalise", "similarity", "cosine"),
    [(True, "dot", True), (True, None, True), (False, "cosine", True), (False, "dot", False)],
)
def test_vectors_are_compared_by_their_angle_where_the_model_says_so(
    make_checkpoint, normalise: bool, similarity: str | None, cosine: bool
) -> None:
    import json

    folder = make_checkpoint("trial-similarity", normalise=normalise)
    if similarity:
        file = folder / "config_sentence_transformers.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "similarity_fn_name": similarity}))
    assert trials_of(folder, folder).cosine is cosine


def test_progress_is_told_with_a_label(base: Path, expert: Path) -> None:
    told: list[tuple[str, int, int]] = []
    sources = trials_of(base, expert).sources
    trials = Trials(sources, EncodingSettings(), progress=lambda *step: told.append(step))
    trials.of_source(sources[0]).pooled(TEXTS)
    with trials.of_mixture(mixture(0.5, 0.5), "middle") as encoder:
        encoder.pooled(TEXTS)
    assert ("encoding: base", 3, 3) in told
    assert ("encoding: middle", 3, 3) in told
