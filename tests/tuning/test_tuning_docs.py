from __future__ import annotations

import re
from pathlib import Path

import typer

from embedmerge.cli import app
from embedmerge.tuning import Preparation, Tuning

PAGE = (Path(__file__).parents[2] / "docs" / "tune.md").read_text()


def test_every_option_is_on_the_page() -> None:
    command = typer.main.get_command(app).commands["tune"]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    said = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert options - said == {"--output", "--json", "--data-dir", "--help"} & options
    assert said - options <= {"--strategy", "--expert", "--base", "--examples"}


def test_the_defaults_on_the_page_are_the_defaults() -> None:
    tuning, preparation = Tuning(), Preparation()
    for words in (
        f"none, {tuning.epochs:g}, {tuning.most_steps}",
        f"{tuning.batch_size}, {tuning.mini_batch_size}",
        f"{tuning.rate:g}".replace("0.0002", "2e-4"),
        f"{Tuning(lora=8).rate:g}".replace("0.002", "2e-3") + " for LoRA",
        f"{preparation.negatives}, yes, {preparation.margin:g}",
        f"{preparation.held_out:g}, {preparation.examples:g}",
        f"{tuning.evaluations}, {tuning.patience}, `{tuning.stop_by}`",
        f"among {preparation.most_passages:,} passages",
        f"up to {preparation.pool} passages",
    ):
        assert words in PAGE, words
