"""The settings of a LoRA adapter, as PEFT writes them to adapter_config.json; what is no LoRA is refused."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from embedmerge.checkpoint.text_files import read_object
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Setting = TypeVar("Setting", int, float)

ADAPTER_CONFIG = "adapter_config.json"

# Settings under which the adapted weight is something else than the base's plus scale * B @ A.
OTHER_ARITHMETIC = (
    "lora_bias",
    "target_parameters",
    "layer_replication",
    "trainable_token_indices",
    "megatron_config",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
# The other ways to start (pissa, olora, corda, loftq, lora_ga, ...) change the base's weights as well.
STARTS_FROM_THE_BASE = (True, False, None, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraSettings:
    """What decides the scale of each product.

    Attributes:
        rank: Rank r of the factors.
        alpha: The scale's numerator.
        rank_stabilised: Whether the scale is alpha / sqrt(r) (rsLoRA, arXiv 2312.03732), not alpha / r.
        ranks: Ranks of single modules, by pattern.
        alphas: Alphas of single modules, by pattern.
        transposed: Whether the adapted Linear weights are stored as inputs x outputs.
        base: The model that it was trained on, as its author named it.
    """

    rank: int
    alpha: float
    rank_stabilised: bool = False
    ranks: dict[str, int] = field(default_factory=dict)
    alphas: dict[str, float] = field(default_factory=dict)
    transposed: bool = False
    base: str | None = None

    def rank_of(self, module: str) -> int:
        """Rank of a module's factors."""
        return _matching(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What a module's product B @ A is multiplied by."""
        rank = self.rank_of(module)
        return _matching(self.alphas, module, self.alpha) / (
            math.sqrt(rank) if self.rank_stabilised else rank
        )


def read_settings(path: Path) -> LoraSettings:
    """The settings in an adapter_config.json.

    Raises:
        EmbedmergeError: It is no plain LoRA, or a setting is missing or malformed.
    """
    config = read_object(path)
    _require_plain(path, config)
    base = config.get("base_model_name_or_path")
    return LoraSettings(
        rank=_rank(path, "r", config.get("r")),
        alpha=_number(path, "lora_alpha", config.get("lora_alpha")),
        rank_stabilised=config.get("use_rslora") is True,
        ranks=_patterns(path, config, "rank_pattern", _rank),
        alphas=_patterns(path, config, "alpha_pattern", _number),
        transposed=config.get("fan_in_fan_out") is True,
        base=str(base) if base else None,
    )


def _matching(patterns: dict[str, Setting], module: str, default: Setting) -> Setting:
    # PEFT's rule: a pattern stands for the end of a module's path, from a dot on.
    matching = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
    return next(matching, default)


def _require_plain(path: Path, config: dict[str, Any]) -> None:
    kind = str(config.get("peft_type"))
    if kind.upper() != "LORA":
        raise _not_plain(path, f"peft_type {kind}")
    variants = [key for key in config if key.startswith("use_") and key != "use_rslora"]
    for key in (*variants, *OTHER_ARITHMETIC):
        if config.get(key):
            raise _not_plain(path, key)
    if config.get("init_lora_weights") not in STARTS_FROM_THE_BASE:
        raise _not_plain(path, f"init_lora_weights {config['init_lora_weights']}")


def _not_plain(path: Path, what: str) -> EmbedmergeError:
    return EmbedmergeError(
        f"{path}: {what} is not plain LoRA; merge the adapter into its base with PEFT (merge_and_unload), "
        "save that and name its folder"
    )


def _rank(path: Path, key: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise _malformed(path, key, value, "a whole number from 1 on")
    return value


def _number(path: Path, key: str, value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise _malformed(path, key, value, "a number")
    return float(value)


def _patterns(
    path: Path, config: dict[str, Any], key: str, parse: Callable[[Path, str, Any], Setting]
) -> dict[str, Setting]:
    patterns = config.get(key) or {}
    try:
        for pattern in patterns:
            re.compile(f"({pattern})")
        stated = dict(patterns)
    except (TypeError, ValueError, re.error) as error:
        raise _malformed(path, key, patterns, "a number for each pattern of module names") from error
    return {pattern: parse(path, f"{key} {pattern!r}", value) for pattern, value in stated.items()}


def _malformed(path: Path, key: str, value: Any, wanted: str) -> EmbedmergeError:
    return EmbedmergeError(
        f"{path}: {key} is {value!r}, where {wanted} is wanted; fetch or save the adapter again"
    )
