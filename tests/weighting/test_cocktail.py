from __future__ import annotations

import random
from typing import TYPE_CHECKING

import LM_Cocktail.utils as lm_cocktail
import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

from embedmerge.api import weigh
from embedmerge.errors import EmbedmergeError
from embedmerge.sources import SourceSpec
from embedmerge.weighting.cocktail import Cocktail, cocktail_weights
from embedmerge.weighting.examples import load_examples

if TYPE_CHECKING:
    from pathlib import Path


def specs(base: Path, *experts: Path, target: str | None = None) -> list[SourceSpec]:
    named = [SourceSpec(one.name, str(one), "target" if one.name == target else "peer") for one in experts]
    return [SourceSpec("base", str(base), "base"), *named]


def lm_cocktail_weights(folders: list[Path], examples_file: Path, seed: int) -> list[float]:
    """What LM_Cocktail 0.0.4 itself computes."""
    rows = [
        {"query": row.query, "pos": list(row.pos), "neg": list(row.neg)}
        for row in load_examples(examples_file)
    ]
    model = AutoModel.from_pretrained(folders[0])
    parameters = [AutoModel.from_pretrained(folder).state_dict() for folder in folders]
    random.seed(seed)
    return lm_cocktail.compute_weights(
        model.eval(),
        AutoTokenizer.from_pretrained(folders[0]),
        parameters,
        "encoder",
        rows,
        max_input_length=64,
    )


@pytest.mark.parametrize("arch", ["bert", "xlm-roberta"])
def test_reference_gives_the_weights_of_lm_cocktail(
    make_checkpoint, make_expert, examples_file: Path, arch: str
) -> None:
    base = make_checkpoint(f"reference-{arch}", arch=arch, pooling="cls")
    experts = [
        make_expert(f"reference-{arch}-{seed}", base=base, seed=seed, scale=0.1 * seed) for seed in (1, 2)
    ]
    wanted = lm_cocktail_weights([base, *experts], examples_file, seed=3)
    chosen = weigh(specs(base, *experts), Cocktail(examples=str(examples_file), reference=True, seed=3))
    assert max(wanted) - min(wanted) > 1e-3  # equal weights would prove nothing
    np.testing.assert_allclose(list(chosen.coefficients.weights.values()), wanted, atol=1e-5)


def test_reference_ignores_pooling_and_prompts_of_the_model(
    make_checkpoint, make_expert, examples_file: Path
) -> None:
    base = make_checkpoint("mean-prompted", pooling="mean", prompts={"query": "what is "})
    expert = make_expert("mean-prompted-expert", base=base, scale=0.2)
    wanted = lm_cocktail_weights([base, expert], examples_file, seed=0)
    chosen = weigh(specs(base, expert), Cocktail(examples=str(examples_file), reference=True))
    np.testing.assert_allclose(list(chosen.coefficients.weights.values()), wanted, atol=1e-5)


def test_ours_separates_where_the_reference_is_flat(base: Path, make_expert, examples_file: Path) -> None:
    broken = make_expert("noisy", base=base, seed=9, scale=1.0)
    ours = weigh(specs(base, broken), Cocktail(examples=str(examples_file))).coefficients.weights
    flat = weigh(
        specs(base, broken), Cocktail(examples=str(examples_file), temperature=5)
    ).coefficients.weights
    assert ours["base"] > flat["base"] > 0.5


def test_the_same_seed_gives_the_same_weights(base: Path, expert: Path, examples_file: Path) -> None:
    strategy = Cocktail(examples=str(examples_file), negatives=3, seed=4)
    first, second = (weigh(specs(base, expert), strategy) for _ in range(2))
    other = weigh(specs(base, expert), Cocktail(examples=str(examples_file), negatives=3, seed=5))
    assert first == second
    assert first.losses != other.losses


def test_target_share_fixes_the_fine_tune_and_shares_the_rest(
    base: Path, expert: Path, peer: Path, examples_file: Path
) -> None:
    strategy = Cocktail(examples=str(examples_file), target_share=0.6)
    choice = weigh(specs(base, expert, peer, target="expert"), strategy)
    weights = choice.coefficients.weights
    rest = cocktail_weights({name: choice.losses[name] for name in ("base", "peer")}, 0.5)
    assert weights["expert"] == pytest.approx(0.6)
    assert weights["base"] == pytest.approx(0.4 * rest["base"], abs=1e-4)
    assert sum(weights.values()) == pytest.approx(1)


def test_target_share_alone_is_the_papers_first_mode(base: Path, expert: Path, examples_file: Path) -> None:
    strategy = Cocktail(examples=str(examples_file), target_share=0.5)
    weights = weigh(specs(base, expert, target="expert"), strategy).coefficients.weights
    assert weights == {"base": 0.5, "expert": 0.5}


def test_target_share_wants_a_target(base: Path, expert: Path, examples_file: Path) -> None:
    with pytest.raises(EmbedmergeError, match="target_share: one source of role target"):
        weigh(specs(base, expert), Cocktail(examples=str(examples_file), target_share=0.5))


def test_reference_wants_seven_negatives_unless_told(base: Path, expert: Path, tmp_path: Path) -> None:
    file = tmp_path / "few.jsonl"
    file.write_text('{"query": "river", "pos": ["water"], "neg": ["bank", "loan"]}\n')
    with pytest.raises(EmbedmergeError, match="2 negatives and 7 are asked"):
        weigh(specs(base, expert), Cocktail(examples=str(file), reference=True))
    weigh(specs(base, expert), Cocktail(examples=str(file), reference=True, negatives=2))


def test_losses_come_with_standard_errors(base: Path, expert: Path, examples_file: Path) -> None:
    choice = weigh(specs(base, expert), Cocktail(examples=str(examples_file)))
    assert choice.losses.keys() == choice.losses_se.keys() == {"base", "expert"}
    assert all(error > 0 for error in choice.losses_se.values())
