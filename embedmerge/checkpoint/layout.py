"""What kind of folder a source is, and which of its files a merged model takes over."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.lineage import files_sha256
from embedmerge.checkpoint.reading import TensorLocation
from embedmerge.checkpoint.tensors import SafetensorsFile
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from embedmerge.checkpoint.hub import Location
    from embedmerge.checkpoint.tensors import TensorInfo

POOLING_BOOLEANS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
WEIGHTLESS = frozenset({"Pooling", "Normalize", "Dropout"})
WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".index.json")
# These count positions from the padding token's row on.
POSITIONS_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"})
NOT_TAKEN_OVER = frozenset({"README.md", "embedmerge.json", "recipe.lock.yaml", "training_args.bin"})


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        EmbedmergeError: The file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); is the model folder complete?"
        raise EmbedmergeError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not valid JSON ({error}); fetch or save the model again"
        raise EmbedmergeError(msg) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no such file.

    Raises:
        EmbedmergeError: The file cannot be read or holds anything else.
    """
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        msg = f"{path}: a JSON object is wanted, not a {type(value).__name__}; fetch or save the model again"
        raise EmbedmergeError(msg)
    return value


@dataclass(frozen=True)
class Module:
    """One entry of modules.json.

    Attributes:
        path: Folder of the module below the model's, empty for the model's own.
        type: Class path as written in modules.json.
        config: The module's config.json, empty where it has none.
    """

    path: str
    type: str
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Class name, the same in the old and the new class paths."""
        return self.type.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Layout:
    """A kind of folder: how to recognise it and how to read its modules."""

    name: str
    matches: Callable[[Path], bool]
    modules: Callable[[Path], tuple[Module, ...]]


def _listed_modules(folder: Path) -> tuple[Module, ...]:
    entries = read_json(folder / "modules.json")
    try:
        ordered = sorted(entries, key=lambda entry: int(entry["idx"]))
        named = [(str(entry["path"]), str(entry["type"])) for entry in ordered]
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"{folder / 'modules.json'}: not a list of modules with idx, path and type; save the model again"
        )
        raise EmbedmergeError(msg) from error
    for path, _ in named:
        if PurePath(path).is_absolute() or ".." in PurePath(path).parts:
            msg = f"{folder / 'modules.json'}: its module {path!r} lies outside the model folder"
            raise EmbedmergeError(msg)
    return tuple(Module(path, kind, read_object(folder / path / "config.json")) for path, kind in named)


def _bare_transformer(folder: Path) -> tuple[Module, ...]:
    config = read_object(folder / "config.json")
    return (Module("", "sentence_transformers.models.Transformer", config),)


LAYOUTS = (
    Layout("sentence-transformers", lambda folder: (folder / "modules.json").is_file(), _listed_modules),
    Layout("transformers", lambda folder: (folder / "config.json").is_file(), _bare_transformer),
)


@dataclass(frozen=True)
class Checkpoint:
    """An opened source: everything but the weights read, the weights located.

    Attributes:
        name: Name of the source in the recipe.
        location: Where it came from.
        layout: Name of the matching `Layout`.
        modules: Its module stack; the transformer alone in a plain transformers folder.
        tensors: Module path -> tensor name -> location, in the order of the files.
    """

    name: str
    location: Location
    layout: str
    modules: tuple[Module, ...]
    tensors: dict[str, dict[str, TensorLocation]]

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return self.location.folder

    @cached_property
    def transformer(self) -> Module:
        """The module that carries the encoder."""
        for module in self.modules:
            if module.kind == "Transformer":
                return module
        msg = f"{self.folder}: its modules.json names no Transformer; only transformer encoders can be merged"
        raise EmbedmergeError(msg)

    @property
    def config(self) -> dict[str, Any]:
        """The transformer's config.json."""
        return self.transformer.config

    @property
    def architecture(self) -> str:
        """Model type, such as `bert` or `xlm-roberta`."""
        return str(self.config.get("model_type", "unknown"))

    @property
    def depth(self) -> int | None:
        """Number of transformer blocks."""
        return _first_int(self.config, "num_hidden_layers", "n_layers", "num_layers")

    @property
    def width(self) -> int | None:
        """Hidden size."""
        return _first_int(self.config, "hidden_size", "dim", "d_model", "n_embd")

    @property
    def pooling(self) -> str | None:
        """Pooling mode, several joined by `+`; None where the folder does not say."""
        for module in self.modules:
            if module.kind == "Pooling":
                return _pooling_mode(module.config)
        return None

    @property
    def normalises(self) -> bool:
        """Whether the module stack ends in L2 normalisation."""
        return any(module.kind == "Normalize" for module in self.modules)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """config_sentence_transformers.json, empty where there is none."""
        return read_object(self.folder / "config_sentence_transformers.json")

    @property
    def prompts(self) -> dict[str, str]:
        """Prompts by name, the empty ones left out."""
        return {name: text for name, text in (self.settings.get("prompts") or {}).items() if text}

    @property
    def similarity(self) -> str:
        """Similarity function; sentence-transformers takes cosine where none is named."""
        return str(self.settings.get("similarity_fn_name") or "cosine")

    @cached_property
    def max_seq_length(self) -> int | None:
        """Number of tokens after which text is cut."""
        folder = self.folder / self.transformer.path
        length = read_object(folder / "sentence_bert_config.json").get("max_seq_length")
        if length:
            return int(length)
        limits = [self.config.get("max_position_embeddings"), self.tokenizer_config.get("model_max_length")]
        known = [int(limit) for limit in limits if limit]
        return min(known) if known else None

    @property
    def max_tokens(self) -> int | None:
        """Number of positions the weights have; more tokens than that cannot be encoded."""
        positions = _first_int(self.config, "max_position_embeddings")
        if positions is not None and self.architecture in POSITIONS_AFTER_PADDING:
            return positions - int(self.config.get("pad_token_id") or 0) - 1
        return positions

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        """tokenizer_config.json, empty where there is none."""
        return read_object(self.folder / self.transformer.path / "tokenizer_config.json")

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Types of the floating tensors, most elements first."""
        elements: dict[str, int] = {}
        for tensor in self._floating():
            elements[tensor.dtype] = elements.get(tensor.dtype, 0) + tensor.elements
        return tuple(sorted(elements, key=lambda dtype: -elements[dtype]))

    @property
    def parameters(self) -> int:
        """Number of floating elements."""
        return sum(tensor.elements for tensor in self._floating())

    @property
    def license(self) -> str | None:
        """Licence stated in the front matter of the folder's README.md."""
        return _stated_license(self.folder / "README.md")

    def tensors_of(self, place: int) -> dict[str, TensorLocation]:
        """Tensors of the module at a place in the stack, whatever its folder is called."""
        return self.tensors.get(self.modules[place].path, {}) if place < len(self.modules) else {}

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of weight and module files by place below the folder, computed when first asked for."""
        return files_sha256(self.folder, (*self.weight_files(), *self.module_files()))

    def weight_files(self) -> tuple[Path, ...]:
        """Files that hold tensors, sorted by their place below the folder."""
        files = {tensor.file for module in self.tensors.values() for tensor in module.values()}
        return tuple(sorted(files, key=lambda file: file.relative_to(self.folder).as_posix()))

    def module_files(self) -> tuple[Path, ...]:
        """Every file but weights and cards: what a merged model takes over byte for byte."""
        folders = {self.folder / module.path for module in self.modules} | {self.folder}
        files = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
        return tuple(sorted(file for file in files if file.is_file() and _is_taken_over(file.name)))

    def _floating(self) -> list[TensorInfo]:
        located = (tensor for module in self.tensors.values() for tensor in module.values())
        return [tensor.info for tensor in located if tensor.info.is_floating]


def open_checkpoint(location: Location, name: str | None = None) -> Checkpoint:
    """Read what a folder says of itself and locate its tensors.

    Args:
        location: The folder.
        name: Name of the source; the folder's or the hub id's last part where None.

    Raises:
        EmbedmergeError: No known layout fits, or a file it needs is missing or damaged.
    """
    for layout in LAYOUTS:
        if layout.matches(location.folder):
            break
    else:
        msg = f"{location.given}: neither modules.json nor config.json in it, so it is not a model folder"
        raise EmbedmergeError(msg)
    modules = layout.modules(location.folder)
    tensors = {module.path: _locate_tensors(location.folder / module.path) for module in modules}
    checkpoint = Checkpoint(
        name or location.given.rstrip("/").rsplit("/", 1)[-1],
        location,
        layout.name,
        modules,
        {path: located for path, located in tensors.items() if located},
    )
    for module in (checkpoint.transformer, *modules):
        if module.kind not in WEIGHTLESS and module.path not in checkpoint.tensors:
            raise _no_weights(location.folder / module.path)
    return checkpoint


def _locate_tensors(folder: Path) -> dict[str, TensorLocation]:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        shards = [folder / "model.safetensors"]
    elif index.is_file():
        shards = _shards(index)
    else:
        return {}
    located: dict[str, TensorLocation] = {}
    for shard in shards:
        with SafetensorsFile(shard) as file:
            located.update({name: TensorLocation(shard, info, name) for name, info in file.tensors.items()})
    return located


def _shards(index: Path) -> list[Path]:
    weight_map = read_object(index).get("weight_map")
    named = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not named or any(not isinstance(name, str) or "/" in name or name.startswith(".") for name in named):
        msg = f"{index}: its weight_map does not name files beside it; fetch or save the model again"
        raise EmbedmergeError(msg)
    return [index.parent / name for name in sorted(set(named))]


def _no_weights(folder: Path) -> EmbedmergeError:
    if any(folder.glob("*.bin")):
        advice = (
            "only .bin weights; save it as safetensors (model.save_pretrained(..., safe_serialization=True))"
        )
    else:
        advice = "no model.safetensors; is the model folder complete?"
    return EmbedmergeError(f"{folder}: {advice}")


def _first_int(config: dict[str, Any], *keys: str) -> int | None:
    return next((int(config[key]) for key in keys if isinstance(config.get(key), int)), None)


def _pooling_mode(config: dict[str, Any]) -> str | None:
    stated = config.get("pooling_mode")
    if isinstance(stated, str):
        return stated
    if isinstance(stated, list):
        return "+".join(str(mode) for mode in stated)
    return "+".join(mode for key, mode in POOLING_BOOLEANS.items() if config.get(key)) or None


def _is_taken_over(name: str) -> bool:
    return not name.startswith(".") and name not in NOT_TAKEN_OVER and not name.endswith(WEIGHT_ENDINGS)


def _stated_license(card: Path) -> str | None:
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        if line.startswith("license:"):
            return line.partition(":")[2].strip().strip("'\"") or None
    return None
