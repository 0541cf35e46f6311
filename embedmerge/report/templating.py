"""The Jinja environment that page and card share."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from embedmerge.report import wording


def environment(*, autoescape: bool) -> Environment:
    """An environment over this package's templates, with the wording of numbers at hand.

    Args:
        autoescape: True for HTML; the card is Markdown and escapes by its own filters.
    """
    made = Environment(
        loader=PackageLoader("embedmerge.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals["wording"] = wording
    return made
