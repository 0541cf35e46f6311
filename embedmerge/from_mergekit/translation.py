"""A merge of mergekit's as a recipe of ours, and what will not be the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.from_mergekit.arithmetic import arithmetic_of
from embedmerge.from_mergekit.configuration import Configuration, Entry, Model, read_configuration
from embedmerge.from_mergekit.notes import notes_on
from embedmerge.recipe import RESERVED, parse_recipe
from embedmerge.sources import short_name

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.recipe import Recipe

BASE = "base"


@dataclass(frozen=True)
class Translation:
    """A recipe, and how its result will differ from mergekit's.

    Attributes:
        recipe: Keys and values, as `embedmerge run` takes them.
        notes: One line for each difference.
    """

    recipe: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def parsed(self) -> Recipe:
        """The recipe, checked.

        Raises:
            EmbedmergeError: A number is out of bounds.
        """
        return parse_recipe(self.recipe)


def translate(path: Path, pooling: str | None = None, normalise: bool | None = None) -> Translation:
    """Read a YAML file of mergekit's and say the same in a recipe.

    Args:
        path: The file; folders in it are looked for beside it first.
        pooling: How the base pools, where its files do not say.
        normalise: Whether its vectors are scaled to length one, where `pooling` is given.

    Raises:
        EmbedmergeError: Something in it is not known, not translated, or does not fit.
    """
    configuration = read_configuration(path)
    try:
        translation = translation_of(configuration)
        stated = {"pooling": pooling, "normalise": normalise}
        translation.recipe["base"].update({key: value for key, value in stated.items() if value is not None})
        _ = translation.parsed
    except EmbedmergeError as error:
        raise EmbedmergeError(f"{path}: {error}") from error
    return translation


def translation_of(configuration: Configuration) -> Translation:
    """As `translate`, of a file that has been read."""
    base, experts = _sources(configuration)
    names = _names([expert.model for expert in experts])
    arithmetic = arithmetic_of(configuration, base, dict(zip(names, experts, strict=True)))
    weights = {name: each.setting for name, each in zip(names, arithmetic.weights, strict=True)}
    dtype = configuration.out_dtype or configuration.dtype
    method = {
        "name": configuration.method,
        **({"parameters": arithmetic.parameters} if arithmetic.parameters else {}),
        **({"dtype": dtype} if dtype else {}),
    }
    recipe = {
        "base": _source(base),
        "experts": [{**_source(each.model), "name": name} for name, each in zip(names, experts, strict=True)],
        "method": method,
        "weighting": {"weights": weights},
    }
    return Translation(recipe, notes_on(configuration))


def _sources(configuration: Configuration) -> tuple[Model, list[Entry]]:
    """The base, and the models that are not the base."""
    base = configuration.base
    if base is None:
        if configuration.method != "linear":
            raise EmbedmergeError(f"base_model: missing, and {configuration.method} needs it")
        base = configuration.entries[0].model
    experts = [entry for entry in configuration.entries if entry.model != base]
    if not experts:
        raise EmbedmergeError("models: the base alone; name a model that was tuned from it")
    return base, experts


def _names(models: list[Model]) -> list[str]:
    """The last parts of the paths, numbered where two would be the same."""
    names: list[str] = []
    for model in models:
        name, count = short_name(model.path), 1
        taken = (*names, BASE, *RESERVED)
        while (name if count == 1 else f"{name}-{count}") in taken:
            count += 1
        names.append(name if count == 1 else f"{name}-{count}")
    return names


def _source(model: Model) -> dict[str, str]:
    return {"path": model.path, **({"revision": model.revision} if model.revision else {})}
