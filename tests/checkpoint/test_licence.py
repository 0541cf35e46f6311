from __future__ import annotations

from pathlib import Path

import pytest

import embedmerge
from embedmerge.checkpoint.licence import stated_licence

MIT = (
    "MIT License\n\nCopyright (c) 2024 Ada\n\n"
    "Permission is hereby granted, free of charge, to any person obtaining a copy\n"
)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n# x\n", "mit"),
        ("---\r\nlicense: 'apache-2.0'\r\n---\r\n", "apache-2.0"),
        ("---\nlicense: [cc-by-4.0, mit]\n---\n", "cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: my-terms\n---\n", "my-terms"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags:\n- license\n---\nlicense: mit\n", None),
        ("---\nlicense: [\n---\n", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_what_a_card_states(tmp_path, card, licence):
    (tmp_path / "README.md").write_bytes(card.encode())
    assert stated_licence(tmp_path) == licence


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "mit"),
        (MIT.partition("\n\n")[2], "mit"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n", "lgpl-3.0"),
        ("Attribution-NonCommercial 4.0 International\n\n====\n", "cc-by-nc-4.0"),
        ("Attribution 4.0 International\n", "cc-by-4.0"),
        ("You may use this if you ask me first.\n", None),
    ],
)
@pytest.mark.parametrize("name", ["LICENSE", "LICENCE.txt"])
def test_what_a_licence_file_says(tmp_path, name, text, licence):
    (tmp_path / name).write_text(text)
    assert stated_licence(tmp_path) == licence


def test_the_card_counts_before_the_file(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (tmp_path / "LICENSE").write_text(MIT)
    assert stated_licence(tmp_path) == "apache-2.0"


def test_our_own():
    root = Path(embedmerge.__file__).parents[1]
    if not (root / "LICENSE").is_file():
        pytest.skip("an installed package lies elsewhere than its licence")
    assert stated_licence(root) == "apache-2.0"


def test_nothing_is_guessed(tmp_path):
    assert stated_licence(tmp_path) is None
