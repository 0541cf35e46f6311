from __future__ import annotations

import io
import re
from itertools import combinations

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from embedmerge.diagnosis.diagnose import Diagnosis
from embedmerge.diagnosis.task_vectors import BlockMeasures, ExpertMeasures, PairMeasures
from embedmerge.report.heatmap import heat_map


def diagnosis(experts, blocks=3, ranked=True, full=384, seed=0):
    random = np.random.default_rng(seed)
    names = tuple(f"expert-number-{at}" for at in range(experts))

    def measures(name):
        own = []
        for norm, share in random.random((experts, 2)):
            known = ranked and name != "embeddings"
            own.append(ExpertMeasures(norm, full * share if known else None, share if known else None))
        pairs = [
            PairMeasures(pair, random.uniform(-1, 1), random.random()) for pair in combinations(names, 2)
        ]
        return BlockMeasures(name, 1234, tuple(own), tuple(pairs), 0.123 if experts > 2 else None)

    rows = [measures(name) for name in ("embeddings", *(f"block {at}" for at in range(blocks)), "head")]
    return Diagnosis("bge-base", names, tuple(rows), measures("model"), ranked)


def printed(shown, width=80, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(heat_map(shown, width))
    return console.file.getvalue()


def numbers(shown):
    """All that the map must show, as text."""
    for row in (*shown.blocks, shown.model):
        for expert in row.experts:
            yield f"{expert.relative_norm:.3f}"
            if expert.effective_rank is not None:
                yield f"{expert.effective_rank:.0f}"
        pairs = row.pairs if len(shown.experts) < 4 or row is shown.model else ()
        for pair in pairs:
            yield f"{pair.cosine:.2f}".replace("-0.00", "0.00")
            yield f"{100 * pair.sign_agreement:.0f}%"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("experts", [1, 2, 3, 4, 5, 9, 30])
def test_any_number_of_experts_fits_and_no_number_is_missing(experts, ranked, width):
    shown = diagnosis(experts, ranked=ranked)
    text = printed(shown, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert set(numbers(shown)) <= set(text.split())
    assert "…" not in text


@pytest.mark.parametrize("experts", [1, 2, 3])
def test_at_120_columns_up_to_three_experts_have_one_line_per_block(experts):
    lines = printed(diagnosis(experts), 120).splitlines()
    for name in ("embeddings", "block 0", "block 1", "block 2", "head", "model"):
        assert sum(line.startswith(name) for line in lines) == 1


def test_a_row_in_full():
    shown = diagnosis(2, blocks=1)
    block = shown.blocks[1]
    line = next(line for line in printed(shown, 120).splitlines() if line.startswith("block 0"))
    assert line.split()[2:] == [
        *(f"{expert.relative_norm:.3f}" for expert in block.experts),
        f"{block.pairs[0].cosine:.2f}",
        f"{100 * block.pairs[0].sign_agreement:.0f}%",
        *(f"{expert.effective_rank:.0f}" for expert in block.experts),
    ]


def test_numbers_stand_under_their_labels():
    lines = printed(diagnosis(3), 120).splitlines()
    labels = next(line for line in lines if "A/B" in line)
    ends = [match.end() for match in re.finditer(r"\S+", labels)]
    for line in lines[lines.index(labels) + 1 :]:
        cells = " " * len("embeddings") + line[len("embeddings") :]
        assert [match.end() for match in re.finditer(r"\S+", cells)] == ends


def test_the_legend_names_base_and_experts():
    lines = printed(diagnosis(2)).splitlines()
    assert lines[0] == "Task vectors against bge-base, 1,234 weights"
    assert [line.split() for line in lines[1:3]] == [["A", "expert-number-0"], ["B", "expert-number-1"]]


def test_many_pairs_are_folded_by_block_and_all_shown_for_the_model():
    shown = diagnosis(4)
    lines = printed(shown, 120).splitlines()
    cosines = [pair.cosine for pair in shown.blocks[1].pairs]
    wanted = [f"{value:.2f}" for value in (min(cosines), np.mean(cosines), max(cosines))]
    row = next(line for line in lines if line.startswith("block 0")).split()
    assert row[6:9] == wanted
    table = {line.split()[0]: line.split()[1:5] for line in lines[-4:]}
    for pair in shown.model.pairs:
        a, b = (int(name[-1]) for name in pair.experts)
        for one, other in ((a, b), (b, a)):
            assert table["ABCD"[one]][other] == f"{pair.cosine:.2f}"
        assert table["ABCD"[a]][a] == "-"


def test_the_share_on_which_all_agree_is_there_from_three_on():
    assert " all " not in printed(diagnosis(2))
    text = printed(diagnosis(3), 120)
    assert " all " in text
    assert "12%" in text.split()


def test_one_full_rank_is_named_and_several_are_not():
    assert "effective rank of 384" in printed(diagnosis(2))
    shown = diagnosis(1)
    other = diagnosis(1, full=768)
    mixed = Diagnosis("base", shown.experts, (shown.blocks[1], other.blocks[1]), shown.model, True)
    assert "effective rank of" not in printed(mixed)
    assert "effective rank" in printed(mixed)


def test_unknown_values_are_a_dash_and_a_rounded_zero_has_no_sign():
    row = BlockMeasures(
        "model",
        5,
        (ExpertMeasures(None), ExpertMeasures(0.0)),
        (PairMeasures(("expert-a", "expert-b"), -0.001, None),),
    )
    text = printed(Diagnosis("base", ("expert-a", "expert-b"), (), row, False))
    assert text.splitlines()[-1].split() == ["model", "-", "0.000", "0.00", "-"]


def cells_in_colour(text):
    """Background and text of every coloured cell."""
    pattern = r"\x1b\[[0-9;]*48;2;(\d+);(\d+);(\d+)m([^\x1b]*)"
    return [(tuple(map(int, match[:3])), match[3].strip()) for match in re.findall(pattern, text)]


def test_a_longer_task_vector_is_darker_and_the_black_numbers_stay_legible():
    shown = diagnosis(1, blocks=8, ranked=False)
    text = printed(shown, 80, force_terminal=True, color_system="truecolor")
    cells = {float(value): colour for colour, value in cells_in_colour(text)}
    assert len(cells) == 11
    lights = [luminance(cells[value]) for value in sorted(cells)]
    assert lights == sorted(lights, reverse=True)
    assert lights[0] > lights[-1]
    assert all((light + 0.05) / 0.05 >= 4.5 for light in lights)  # WCAG 2.1, contrast with black


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_a_pair_that_pulls_apart_is_blue_and_one_that_pulls_together_is_red():
    colours = {}
    for cosine in (-1.0, 0.0, 1.0):
        row = BlockMeasures(
            "model", 5, (ExpertMeasures(None),) * 2, (PairMeasures(("a", "b"), cosine, None),)
        )
        text = printed(
            Diagnosis("base", ("a", "b"), (), row, False),
            80,
            force_terminal=True,
            color_system="truecolor",
        )
        ((colours[cosine], _),) = cells_in_colour(text)
    red, _, blue = zip(*(colours[cosine] for cosine in (-1.0, 0.0, 1.0)), strict=True)
    assert red[0] < blue[0]
    assert red[2] > blue[2]
    assert red[1] == blue[1]
