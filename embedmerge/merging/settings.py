"""A number that may differ from tensor to tensor."""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from embedmerge.merging.anatomy import Site

# One number; numbers spread evenly over the depth; or either by selector, the first that fits counting.
Setting = float | list[float] | dict[str, float | list[float]]
# The same for all experts, or with keys `expert NAME` before the setting of one alone (`per_expert`).
Settings = Setting | dict[str, float | list[float] | dict[str, float | list[float]]]

EXPERT = re.compile(r"expert(?:\s+(.*))?")
BLOCKS = re.compile(r"blocks?\s+(\d+)(?:\s*-\s*(\d+))?(?:\s+(\S.*))?")


def resolve(setting: Setting, site: Site, default: float) -> float:
    """The number that holds for a tensor.

    A selector is `block 3`, `blocks 0-5`, a pattern such as `*.attention.*` for the tensor's name, or both:
    `blocks 0-5 *.attention.*`. It stands before a number or a list.
    A list is spread over the depth: its first number at the embeddings and the first block, its last
    at the last block and behind it, straight lines between.

    >>> from embedmerge.merging.anatomy import Site
    >>> site = Site.of("encoder.layer.1.output.dense.weight", (4, 4), 3)
    >>> resolve({"blocks 0-1": 0.2, "*": 0.5}, site, 1.0), resolve([0.0, 1.0], site, 1.0)
    (0.2, 0.5)

    Args:
        setting: What was asked for.
        site: The tensor's place.
        default: What holds where no selector fits.
    """
    if isinstance(setting, dict):
        setting = next((value for selector, value in setting.items() if fits(selector, site)), default)
    if isinstance(setting, list):
        return _at_depth(setting, site.depth)
    return setting


def fits(selector: str, site: Site) -> bool:
    """Whether a selector names this tensor."""
    blocks = BLOCKS.fullmatch(selector.strip())
    if blocks is None:
        return fnmatchcase(site.name, selector)
    first, last = int(blocks[1]), int(blocks[2] or blocks[1])
    inside = site.block is not None and first <= site.block <= last
    return inside and fnmatchcase(site.name, blocks[3] or "*")


def numbers_in(setting: Settings) -> tuple[float, ...]:
    """Every number a setting can come to, the ends of a list for what lies between."""
    if isinstance(setting, dict):
        return tuple(number for value in setting.values() for number in numbers_in(value))
    return tuple(setting) if isinstance(setting, list) else (setting,)


def as_setting(value: Any, what: str) -> Setting:
    """A setting as the user wrote it, checked.

    Raises:
        EmbedmergeError: Anything but finite numbers; an empty list or mapping; a key for one expert.
    """
    if isinstance(value, dict):
        for selector in (selector for selector in value if EXPERT.fullmatch(str(selector).strip())):
            raise EmbedmergeError(f"{what}: experts are not told apart here; take out {selector!r}")
        cases = {str(selector): _numbers(each) for selector, each in value.items()}
        sound = {selector: numbers for selector, numbers in cases.items() if numbers is not None}
        if sound and len(sound) == len(value):
            return sound
    elif (numbers := _numbers(value)) is not None:
        return numbers
    msg = (
        f"{what}: {value!r} is no finite number; give one, a list of them over the depth, "
        "or a mapping from `block 3`, `blocks 0-5` or a name pattern to either"
    )
    raise EmbedmergeError(msg)


def _numbers(value: Any) -> float | list[float] | None:
    """A number or a list of them, None for anything else."""
    if not isinstance(value, list):
        return _number(value)
    numbers = [number for number in map(_number, value) if number is not None]
    return numbers if numbers and len(numbers) == len(value) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)  # YAML reads 1e-3 as text
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _at_depth(numbers: list[float], depth: float) -> float:
    place = depth * (len(numbers) - 1)
    before = min(int(place), len(numbers) - 1)
    after = min(before + 1, len(numbers) - 1)
    return numbers[before] + (place - before) * (numbers[after] - numbers[before])
