"""What kind of folder a source is, and which of its files a merged model takes over."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.architecture import SIZES, first_stated, require_sizes
from embedmerge.checkpoint.licence import stated_licence
from embedmerge.checkpoint.lineage import files_sha256
from embedmerge.checkpoint.lora import ADAPTER_CONFIG
from embedmerge.checkpoint.pooling import StatedPooling, pooling_mode
from embedmerge.checkpoint.text_files import read_json, read_object, stated_integer
from embedmerge.checkpoint.weights import encoder_tensors, locate_heads, locate_tensors, require_inside
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from embedmerge.checkpoint.hub import Location
    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.checkpoint.tensors import TensorInfo

LEGACY_PREFIX = "sentence_transformers.models."
WEIGHTLESS = frozenset({"Pooling", "Normalize", "Dropout"})
WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".index.json")
# These count positions from the padding token's row on.
POSITIONS_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"})
NOT_TAKEN_OVER = frozenset(
    {"README.md", "embedmerge.json", "recipe.lock.yaml", "tuning.json", "trainer_state.json", ADAPTER_CONFIG}
)


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


def listed_modules(folder: Path) -> tuple[Module, ...]:
    """The module stack in modules.json.

    Raises:
        EmbedmergeError: It is no list of modules, or one of them lies outside the folder.
    """
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
    return (Module("", f"{LEGACY_PREFIX}Transformer", config),)


LAYOUTS = (
    Layout("sentence-transformers", lambda folder: (folder / "modules.json").is_file(), listed_modules),
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
        tensors: Module path -> canonical tensor name -> location, in the order of the files.
        heads: Name of a file of BGE-M3's further heads -> stored tensor name -> location.
        left_out: Stored names of a task head's tensors, which a merged encoder has no use for.
    """

    name: str
    location: Location
    layout: str
    modules: tuple[Module, ...]
    tensors: dict[str, dict[str, TensorLocation]]
    heads: dict[str, dict[str, TensorLocation]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

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
        return _whole(first_stated(self.config, SIZES["layers"]))

    @property
    def width(self) -> int | None:
        """Hidden size."""
        return _whole(first_stated(self.config, SIZES["hidden size"]))

    @property
    def pooling(self) -> str | None:
        """Pooling mode, several joined by `+`; None where the folder does not say."""
        for module in self.modules:
            if module.kind == "Pooling":
                return pooling_mode(module.config)
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
        prompts = self.settings.get("prompts") or {}
        if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
            path = self.folder / "config_sentence_transformers.json"
            raise EmbedmergeError(f"{path}: its prompts do not map names to texts; save the model again")
        return {name: text for name, text in prompts.items() if text}

    @property
    def similarity(self) -> str:
        """Similarity function; sentence-transformers takes cosine where none is named."""
        return str(self.settings.get("similarity_fn_name") or "cosine")

    @cached_property
    def max_seq_length(self) -> int | None:
        """Number of tokens after which text is cut."""
        folder = self.folder / self.transformer.path
        path = folder / "sentence_bert_config.json"
        length = stated_integer(read_object(path), "max_seq_length", path)
        if length:
            return length
        longest = stated_integer(self.tokenizer_config, "model_max_length", folder / "tokenizer_config.json")
        known = [limit for limit in (_whole(first_stated(self.config, SIZES["positions"])), longest) if limit]
        return min(known) if known else None

    @property
    def max_tokens(self) -> int | None:
        """Number of positions the weights have; more tokens than that cannot be encoded."""
        positions = _whole(first_stated(self.config, SIZES["positions"]))
        if positions is not None and self.architecture in POSITIONS_AFTER_PADDING:
            return positions - int(self.config.get("pad_token_id") or 0) - 1
        return positions

    @property
    def custom_code(self) -> bool:
        """Whether its class comes with the model; nothing here runs it."""
        return bool(self.config.get("auto_map"))

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
        return stated_licence(self.location.folder)

    def tensors_of(self, place: int) -> dict[str, TensorLocation]:
        """Tensors of the module at a place in the stack, whatever its folder is called."""
        return self.tensors.get(self.modules[place].path, {}) if place < len(self.modules) else {}

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of weight and module files by place below the folder, computed when first asked for."""
        return files_sha256(self.folder, (*self.weight_files(), *self.module_files()))

    def weight_files(self) -> tuple[Path, ...]:
        """Files that hold tensors, sorted by their place below the folder."""
        files = {tensor.file for tensor in self.located()}
        return tuple(sorted(files, key=lambda file: file.relative_to(self.location.folder).as_posix()))

    def weight_places(self) -> tuple[str, ...]:
        """What `digests` calls the `weight_files`."""
        return tuple(file.relative_to(self.location.folder).as_posix() for file in self.weight_files())

    def module_files(self) -> tuple[Path, ...]:
        """Every file but weights and cards: what a merged model takes over byte for byte."""
        folders = {self.folder / module.path for module in self.modules} | {self.folder}
        files = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
        taken = sorted(file for file in files if file.is_file() and _is_taken_over(file.name))
        for file in taken:
            require_inside(file, self.folder)
        return tuple(taken)

    def code_files(self) -> tuple[Path, ...]:
        """The Python files that come with the model; they are copied, never run."""
        return tuple(file for file in self.module_files() if file.suffix == ".py") if self.custom_code else ()

    def located(self) -> Iterator[TensorLocation]:
        """Every tensor, of the module stack and of further heads."""
        for group in (*self.tensors.values(), *self.heads.values()):
            yield from group.values()

    def _floating(self) -> list[TensorInfo]:
        return [tensor.info for tensor in self.located() if tensor.info.is_floating]


def open_checkpoint(
    location: Location, name: str | None = None, stated: StatedPooling | None = None
) -> Checkpoint:
    """Read what a folder says of itself and locate its tensors.

    Args:
        location: The folder.
        name: Name of the source; the folder's or the hub id's last part where None.
        stated: How it pools, where its files do not say.

    Raises:
        EmbedmergeError: No known layout fits, a file it needs is missing or damaged, or its files
            contradict what is stated.
    """
    if (location.folder / ADAPTER_CONFIG).is_file():
        msg = f"{location.given}: an adapter, which is no model without its base; name that before it"
        raise EmbedmergeError(msg)
    for layout in LAYOUTS:
        if layout.matches(location.folder):
            break
    else:
        msg = f"{location.given}: neither modules.json nor config.json in it, so it is not a model folder"
        raise EmbedmergeError(msg)
    modules = layout.modules(location.folder)
    tensors = {
        module.path: locate_tensors(location.folder / module.path, location.folder) for module in modules
    }
    checkpoint = Checkpoint(
        name or location.given.rstrip("/").rsplit("/", 1)[-1],
        location,
        layout.name,
        modules,
        {path: located for path, located in tensors.items() if located},
        locate_heads(location.folder),
    )
    require_sizes(checkpoint.config, location.folder / checkpoint.transformer.path / "config.json")
    for module in (checkpoint.transformer, *modules):
        if module.kind not in WEIGHTLESS and module.path not in checkpoint.tensors:
            msg = (
                f"{location.folder / module.path}: no model.safetensors or pytorch_model.bin; "
                "is the model folder complete?"
            )
            raise EmbedmergeError(msg)
    named = _with_canonical_names(checkpoint)
    return named if stated is None else _with_pooling(named, stated)


def _with_pooling(checkpoint: Checkpoint, stated: StatedPooling) -> Checkpoint:
    if checkpoint.pooling is not None:
        stated.require_same(checkpoint.name, checkpoint.pooling, checkpoint.normalises)
        return checkpoint
    config = {"pooling_mode": stated.mode, "word_embedding_dimension": checkpoint.width}
    pooling = Module("1_Pooling", f"{LEGACY_PREFIX}Pooling", config)
    closing = (Module("2_Normalize", f"{LEGACY_PREFIX}Normalize"),) if stated.normalise else ()
    return replace(checkpoint, modules=(*checkpoint.modules, pooling, *closing))


def _with_canonical_names(checkpoint: Checkpoint) -> Checkpoint:
    path = checkpoint.transformer.path
    stored = checkpoint.tensors[path]
    encoder, left_out = encoder_tensors(stored, checkpoint.folder / path, checkpoint.custom_code)
    return replace(checkpoint, tensors={**checkpoint.tensors, path: encoder}, left_out=left_out)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _is_taken_over(name: str) -> bool:
    return not name.startswith(".") and name not in NOT_TAKEN_OVER and not name.endswith(WEIGHT_ENDINGS)
