from __future__ import annotations

import numpy as np
import pytest
from words import sentence

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.alarms import geometry, health, likeness
from embedmerge.retrieval.vectors import normalised

RANDOM = np.random.default_rng(0)
DOCUMENTS, DIMENSIONS = 120, 24
SHARED = RANDOM.normal(size=(DOCUMENTS, DIMENSIONS)).astype(np.float32)


def relative(seed: int, distance: float = 0.5) -> np.ndarray:
    """A model that sees the documents nearly as the others do."""
    noise = np.random.default_rng(seed).normal(size=SHARED.shape)
    return (SHARED + distance * noise).astype(np.float32)


def test_geometry_is_what_the_definitions_say() -> None:
    unit = normalised(relative(1))
    found = geometry(unit)
    singular = np.linalg.svd(unit.astype(np.float64), compute_uv=False)
    shares = singular / singular.sum()
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=1e-3)
    cosines = unit @ unit.T
    assert found.mean_cosine == pytest.approx(cosines[~np.eye(DOCUMENTS, dtype=bool)].mean(), abs=1e-4)


def test_linear_cka_is_hsic_of_the_gram_matrices() -> None:
    first, second = normalised(relative(1)), normalised(relative(2))[:, :16]
    centring = np.eye(DOCUMENTS) - 1 / DOCUMENTS

    def hsic(one: np.ndarray, other: np.ndarray) -> float:
        return np.trace(one @ one.T @ centring @ other @ other.T @ centring)

    wanted = hsic(first, second) / np.sqrt(hsic(first, first) * hsic(second, second))
    assert likeness(first, second).cka == pytest.approx(wanted, abs=1e-4)
    assert likeness(first, second).cosine == 0  # of other dimensions


def test_a_rotation_is_as_like_as_the_model_itself() -> None:
    unit = normalised(relative(1))
    turned = unit @ np.linalg.qr(RANDOM.normal(size=(DIMENSIONS, DIMENSIONS)))[0].astype(np.float32)
    found = likeness(unit, turned)
    assert found.cka == pytest.approx(1, abs=1e-3)
    assert abs(found.cosine) < 0.5


def test_a_mixture_raises_no_alarm() -> None:
    parents = {"base": relative(1), "legal": relative(2), "medical": relative(3)}
    found = health(sum(parents.values()) / 3, parents)
    assert found.alarms == ()
    assert list(found.models) == ["merged", *parents]
    assert list(found.to_parents) == list(parents)
    assert found.documents == DOCUMENTS


def test_a_collapsed_model_does() -> None:
    parents = {"base": relative(1), "legal": relative(2)}
    direction = RANDOM.normal(size=DIMENSIONS).astype(np.float32)
    flat = relative(1) * np.r_[np.ones(2), np.zeros(DIMENSIONS - 2)].astype(np.float32) + 3 * direction
    said = " ".join(health(flat, parents).alarms)
    assert "directions; its parents at least" in said
    assert "mean cosine of" in said and "; its parents at most" in said
    assert "is like base to a CKA of" in said


def test_a_model_of_another_kind_is_unlike_its_parents() -> None:
    stranger = np.random.default_rng(9).normal(size=SHARED.shape).astype(np.float32)
    alarms = health(stranger, {"base": relative(1), "legal": relative(2)}, "odd").alarms
    assert len([alarm for alarm in alarms if alarm.startswith("odd is like")]) == 4


def test_more_directions_than_any_parent_are_no_alarm() -> None:
    narrow = np.r_[np.ones(4), np.full(DIMENSIONS - 4, 0.05)].astype(np.float32)
    parents = {"base": relative(1) * narrow, "legal": relative(2) * narrow}
    said = " ".join(health(relative(1), parents).alarms)
    assert "directions" not in said
    assert "different documents" not in said


def test_numbers_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(EmbedmergeError, match="20 documents are too few"):
        health(SHARED[:20], {"base": SHARED[:20]})
    with pytest.raises(EmbedmergeError, match="the same 120 documents, found legal: 60"):
        health(SHARED, {"base": SHARED, "legal": SHARED[:60]})
    with pytest.raises(EmbedmergeError, match="found no parent"):
        health(SHARED, {})


def test_real_models_in_between_and_far_out(base, expert, peer, tmp_path) -> None:
    from embedmerge.api import merge
    from embedmerge.checkpoint.hub import locate
    from embedmerge.checkpoint.layout import open_checkpoint
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.sources import SourceSpec, encoder_model

    texts = [sentence(np.random.default_rng(row), 12) for row in range(80)]

    def embedded(folder):
        return Encoder(encoder_model(open_checkpoint(locate(str(folder))))).embed(texts)

    named = {"base": base, "expert": expert, "peer": peer}
    specs = [
        SourceSpec(name, str(folder), "base" if name == "base" else "peer") for name, folder in named.items()
    ]
    parents = {name: embedded(folder) for name, folder in named.items()}
    merge(specs, [1 / 3, 1 / 3, 1 / 3], tmp_path / "between")
    merge(specs, [-79.0, 40.0, 40.0], tmp_path / "beyond")
    assert health(embedded(tmp_path / "between"), parents).alarms == ()
    assert health(embedded(tmp_path / "beyond"), parents).alarms
