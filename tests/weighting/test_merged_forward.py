from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense
from words import sentence

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.modifiers import Modifiers
from embedmerge.mixture import Mixture
from embedmerge.retrieval.settings import EncodingSettings
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.statistics.text import Text
from embedmerge.weighting.merged_forward import MergedForward
from embedmerge.weighting.trial import Trials

if TYPE_CHECKING:
    from pathlib import Path

EXPERTS = ("expert", "peer")


def opened(base: Path, *experts: Path) -> Trials:
    specs = [SourceSpec(name, str(path), "peer") for name, path in zip(EXPERTS, experts, strict=False)]
    sources, _ = open_sources([SourceSpec("base", str(base), "base"), *specs])
    return Trials(sources, EncodingSettings(tokens_per_batch=256))  # so that there are several batches


def texts(number: int) -> list[Text]:
    random = np.random.default_rng(1)
    return [
        Text(sentence(random, int(random.integers(1, 30))), "query" if row % 3 == 0 else "document")
        for row in range(number)
    ]


def truly(trials: Trials, mixture: Mixture, wanted: list[Text]) -> np.ndarray:
    """Embeddings of a mixture that is really written and loaded."""
    with trials.of_mixture(mixture) as encoder:
        return np.concatenate(
            [encoder.pooled([text.content], encoder.model.prompt(text.kind)) for text in wanted]
        )


def drawn(forward: MergedForward, experts: int) -> np.ndarray:
    """Coefficients with the decimals that settings keep."""
    return np.random.default_rng(4).uniform(0, 0.6, (len(forward.groups), experts)).round(4)


def by_block(forward: MergedForward, numbers: np.ndarray) -> Coefficients:
    names = EXPERTS[: numbers.shape[1]]
    settings = {name: forward.groups.setting(column) for name, column in zip(names, numbers.T, strict=True)}
    share = 0.3
    weights = {"base": 1 - share * len(names), **dict.fromkeys(names, share)}
    return Coefficients(weights).with_experts(settings)


@pytest.fixture(scope="module")
def headed(make_checkpoint, make_expert, tmp_path_factory):
    """A prompted encoder with a Dense head, and the same with everything moved."""
    folders = []
    for seed, name in ((0, "base"), (1, "expert")):
        whole = make_checkpoint("to-head", prompts={"query": "what is ", "document": "about the "})
        moved = make_expert("to-head-moved", base=whole, seed=5, scale=0.02 * seed)
        loaded = SentenceTransformer(str(moved), device="cpu")
        torch.manual_seed(seed)
        folders.append(tmp_path_factory.mktemp("headed") / name)
        modules = [loaded[0], loaded[1], Dense(32, 12), loaded[2]]
        SentenceTransformer(modules=modules, device="cpu", prompts=loaded.prompts).save(str(folders[-1]))
    return folders


def test_it_encodes_as_the_mixture_that_is_written(base: Path, expert: Path, peer: Path) -> None:
    trials, wanted = opened(base, expert, peer), texts(37)
    forward = MergedForward(trials.sources, trials)
    numbers = drawn(forward, 2)
    with torch.no_grad():
        found = forward.at(torch.from_numpy(numbers).float()).pooled(wanted).numpy()
    mixed = truly(trials, Mixture(by_block(forward, numbers), dtype="float32"), wanted)
    np.testing.assert_allclose(found, mixed, atol=1e-5 * np.abs(mixed).max())
    flat = truly(trials, Mixture(Coefficients(by_block(forward, numbers).weights), dtype="float32"), wanted)
    assert np.abs(flat - mixed).max() > 1e-3 * np.abs(mixed).max()  # the blocks' numbers matter


def test_prompts_and_heads_take_part(headed: list[Path]) -> None:
    trials, wanted = opened(*headed), texts(20)
    forward = MergedForward(trials.sources, trials)
    numbers = drawn(forward, 1)
    with torch.no_grad():
        found = forward.at(torch.from_numpy(numbers).float()).pooled(wanted).numpy()
    assert found.shape == (20, 12)
    mixed = truly(trials, Mixture(by_block(forward, numbers), dtype="float32"), wanted)
    np.testing.assert_allclose(found, mixed, atol=1e-5 * np.abs(mixed).max())


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_modifiers_of_the_method_take_part(make_checkpoint, make_expert, method: str) -> None:
    base = make_checkpoint("scaled", arch="xlm-roberta", pooling="cls", layers=3)
    trials, wanted = opened(base, make_expert("scaled-expert", base=base)), texts(12)
    parameters = {"lines": 0.4, "scale": {"block 1": 1.3, "*": 0.9}, "exclude": ["*.attention.*"]}
    forward = MergedForward(trials.sources, trials, Modifiers.parse(parameters))
    numbers = drawn(forward, 1)
    with torch.no_grad():
        found = forward.at(torch.from_numpy(numbers).float()).pooled(wanted).numpy()
    mixture = Mixture(by_block(forward, numbers), method, parameters, "float32")
    mixed = truly(trials, mixture, wanted)
    np.testing.assert_allclose(found, mixed, atol=1e-5 * np.abs(mixed).max())


def test_its_gradient_is_that_of_finite_differences(base: Path, expert: Path, peer: Path) -> None:
    trials, wanted = opened(base, expert, peer), texts(37)
    forward = MergedForward(trials.sources, trials)

    def value(coefficients: torch.Tensor) -> torch.Tensor:
        vectors = torch.nn.functional.normalize(forward.at(coefficients).pooled(wanted), dim=1)
        return (vectors[:-1] * vectors[1:]).sum(dim=1).square().mean()

    at = torch.from_numpy(drawn(forward, 2)).float().requires_grad_()
    value(at).backward()
    assert at.grad is not None
    step = 0.02
    with torch.no_grad():
        for row, column in ((0, 0), (1, 1), (2, 0), (2, 1)):
            moved = torch.zeros_like(at)
            moved[row, column] = step
            slope = (value(at + moved) - value(at - moved)) / (2 * step)
            assert abs(slope) > 1e-4  # a flat place would prove nothing
            assert float(at.grad[row, column]) == pytest.approx(float(slope), rel=0.03)


def test_a_tensor_that_a_source_lacks_stays_the_bases(base: Path, expert: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(expert, tmp_path / "bare")
    tensors = load_file(bare / "model.safetensors")
    kept = {name: values for name, values in tensors.items() if not name.startswith("pooler.")}
    assert len(kept) < len(tensors)
    save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    trials = opened(base, bare)
    forward = MergedForward(trials.sources, trials)
    assert not any(site.name.startswith("pooler.") for site in forward.groups.sites)
    whole = MergedForward(opened(base, expert).sources, trials)
    ones = torch.ones(len(forward.groups), 1)
    with torch.no_grad():
        first, second = (each.at(ones).pooled(texts(4)).numpy() for each in (forward, whole))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_blocks_that_the_class_does_not_know_are_refused(base: Path, expert: Path, tmp_path: Path) -> None:
    folders = []
    for folder in (base, expert):
        folders.append(shutil.copytree(folder, tmp_path / folder.name))
        tensors = load_file(folder / "model.safetensors")
        tensors["encoder.layer.0.adapter.weight"] = np.ones((4, 4), np.float32)
        save_file(tensors, folders[-1] / "model.safetensors", metadata={"format": "pt"})
    trials = opened(*folders)
    with pytest.raises(EmbedmergeError, match=r"adapter.weight is no parameter of its bert class"):
        MergedForward(trials.sources, trials)


def test_bf16_follows_the_settings(base: Path, expert: Path) -> None:
    exact = opened(base, expert)
    short = Trials(exact.sources, EncodingSettings(precision="bf16"))
    forwards = [MergedForward(exact.sources, trials) for trials in (exact, short)]
    numbers = torch.full((len(forwards[0].groups), 1), 0.5)
    with torch.no_grad():
        first, second = (forward.at(numbers).pooled(texts(6)) for forward in forwards)
    assert first.dtype == second.dtype == torch.float32
    assert not torch.equal(first, second)
    assert torch.nn.functional.cosine_similarity(first, second).min() > 0.99
