"""The licence that a model states: in its card's metadata, or in a licence file whose text is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.text_files import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING")
# What stands in the first lines of a licence's text -> what the hub calls it; the narrower ones first.
TITLES = (
    ("gnu affero general public license version 3", "agpl-3.0"),
    ("gnu lesser general public license version 3", "lgpl-3.0"),
    ("gnu general public license version 3", "gpl-3.0"),
    ("apache license version 2.0", "apache-2.0"),
    ("mozilla public license version 2.0", "mpl-2.0"),
    ("attribution-noncommercial-sharealike 4.0 international", "cc-by-nc-sa-4.0"),
    ("attribution-noncommercial 4.0 international", "cc-by-nc-4.0"),
    ("attribution-sharealike 4.0 international", "cc-by-sa-4.0"),
    ("attribution 4.0 international", "cc-by-4.0"),
    ("cc0 1.0 universal", "cc0-1.0"),
    ("mit license", "mit"),
    ("permission is hereby granted, free of charge, to any person obtaining a copy", "mit"),
    ("bsd 3-clause license", "bsd-3-clause"),
    ("bsd 2-clause license", "bsd-2-clause"),
)
TITLE_CHARACTERS = 600


def stated_licence(folder: Path) -> str | None:
    """The licence of a model folder by the hub's name for it.

    The card's metadata counts before a licence file. A file whose text is none of the known ones gives
    nothing: a licence is never guessed.

    Args:
        folder: Of the model.

    Returns:
        Such as `mit`; the name that the card gives where it is `other`; None where nothing is stated.
    """
    data = _metadata(folder / "README.md")
    stated = data.get("license")
    if isinstance(stated, list):  # the hub shows the first
        stated = stated[0] if stated else None
    if stated == "other" and data.get("license_name"):
        stated = data["license_name"]
    return str(stated).strip() if stated else _licence_of_file(folder)


def _metadata(card: Path) -> dict[str, Any]:
    """The front matter of a card; empty where there is none that can be read."""
    if not card.is_file():
        return {}
    opening, *rest = read_bytes(card).decode("utf-8", errors="replace").lstrip("\ufeff").split("\n---", 1)
    if not opening.startswith("---") or not rest:
        return {}
    import yaml

    try:
        data = yaml.safe_load(opening.removeprefix("---"))
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def _licence_of_file(folder: Path) -> str | None:
    for name in FILES:
        if (folder / name).is_file():
            text = read_bytes(folder / name)[:TITLE_CHARACTERS].decode("utf-8", errors="replace")
            start = " ".join(text.lower().replace(",", "").split())
            return next((licence for title, licence in TITLES if title.replace(",", "") in start), None)
    return None
