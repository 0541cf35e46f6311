"""mergekit's YAML as it stands, checked: what it says is known here, and nothing is passed over."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.merging.registry import methods
from embedmerge.recipe import read_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable

# Parameters of each method: those that mergekit reads for each model, and those it reads for all at once.
PER_MODEL = {
    "linear": ("weight",),
    "slerp": (),
    "task_arithmetic": ("weight", "density"),
    "ties": ("weight", "density"),
    "dare_linear": ("weight", "density"),
    "dare_ties": ("weight", "density"),
}
OF_TASK_VECTORS = ("normalize", "lambda", "rescale", "int8_mask")
SHARED = {
    "linear": ("normalize",),
    "slerp": ("t",),
    **dict.fromkeys(("task_arithmetic", "ties", "dare_linear", "dare_ties"), OF_TASK_VECTORS),
}

FLAGS = ("normalize", "rescale", "int8_mask")

KEYS = ("merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "tokenizer_source")
REFUSED = {
    "slices": "stacks layers of several models, which no encoder survives; name whole models under `models`",
    "modules": "is for models of several modules; name whole models under `models`",
    "chat_template": "is for chat models; remove it",
}
RESHAPING = ("tokens", "pad_to_multiple_of")  # keys of `tokenizer` that change the vocabulary
DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Model:
    """A model that the file names.

    Attributes:
        path: Folder or hub id.
        revision: Branch, tag or commit of a hub id.
        forced: Architecture that mergekit is told to take it for.
    """

    path: str
    revision: str | None = None
    forced: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Entry:
    """One of the `models`.

    Attributes:
        model: Which.
        parameters: Its own parameters as they stand.
        where: What an error names.
    """

    model: Model
    parameters: dict[str, Any]
    where: str


@dataclass(frozen=True)
class Configuration:
    """A merge as mergekit's YAML describes it.

    Attributes:
        method: Name of the merging method, mergekit's and ours.
        base: The `base_model`.
        entries: The `models`, in order.
        parameters: Parameters for all models as they stand.
        dtype: Type that tensors are cast to before they are merged.
        out_dtype: Type that the merged tensors are cast to.
        tokenizer: Whether the tokenizer is said to be the base's.
    """

    method: str
    base: Model | None
    entries: tuple[Entry, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: bool = False

    def flag(self, name: str, default: bool) -> bool:
        """A switch for all models.

        Raises:
            EmbedmergeError: It is set to something else.
        """
        value = self.parameters.get(name, default)
        if not isinstance(value, bool):
            raise EmbedmergeError(f"parameters.{name}: must be true or false, not {value!r}")
        return value


def read_configuration(path: Path) -> Configuration:
    """Read a file of mergekit's; models that are folders beside it are taken from there.

    Raises:
        EmbedmergeError: No YAML, a key that mergekit does not know or that is not translated, or a value
            that does not fit.
    """
    content = read_mapping(path, "give the YAML file that mergekit takes")
    try:
        return parse_configuration(content, path.parent)
    except EmbedmergeError as error:
        raise EmbedmergeError(f"{path}: {error}") from error


def parse_configuration(content: dict[str, Any], folder: Path) -> Configuration:
    """As `read_configuration`, of what stands in the file.

    Args:
        content: Keys and values.
        folder: Where the file lies.
    """
    for key in (key for key in REFUSED if content.get(key) is not None):
        raise EmbedmergeError(f"{key}: {REFUSED[key]}")
    _require_known(content, (*KEYS, "tokenizer", *REFUSED), "")
    method = _method(content.get("merge_method"))
    base = None if content.get("base_model") is None else _model(content["base_model"], "base_model", folder)
    entries = _entries(content.get("models"), method, folder)
    tokenizer = _tokenizer(content)
    _require_base_s(tokenizer, base or entries[0].model, folder)
    parameters = _mapping(content.get("parameters"), "parameters")
    _require_known(parameters, (*PER_MODEL[method], *SHARED[method]), "parameters.", f" of {method}")
    configuration = Configuration(
        method,
        base,
        entries,
        parameters,
        _dtype(content.get("dtype"), "dtype"),
        _dtype(content.get("out_dtype"), "out_dtype"),
        tokenizer is not None,
    )
    for name in FLAGS:
        configuration.flag(name, False)
    return configuration


def _method(given: Any) -> str:
    if given is None:
        raise EmbedmergeError("merge_method: missing, and needed")
    name = str(given)
    if name not in PER_MODEL:
        own = f"see `embedmerge methods {name}` and merge with `--method {name}`"
        hint = own if name in methods() else nearest(name, PER_MODEL)
        raise EmbedmergeError(f"merge_method: {name!r} is not translated; {hint}")
    return name


def _entries(given: Any, method: str, folder: Path) -> tuple[Entry, ...]:
    if not isinstance(given, list) or not given:
        raise EmbedmergeError("models: must be a list of models; name at least one")
    entries = tuple(_entry(each, f"models[{row}]", method, folder) for row, each in enumerate(given))
    models = [entry.model for entry in entries]
    for entry in entries:
        if models.count(entry.model) > 1:
            raise EmbedmergeError(f"models: {entry.model.path} is named twice; merge each model once")
    return entries


def _entry(given: Any, where: str, method: str, folder: Path) -> Entry:
    content = _mapping(given, where)
    if "layer_range" in content:
        raise EmbedmergeError(f"{where}.layer_range: {REFUSED['slices']}")
    _require_known(content, ("model", "parameters"), f"{where}.")
    if "model" not in content:
        raise EmbedmergeError(f"{where}.model: missing, and needed")
    parameters = _mapping(content.get("parameters"), f"{where}.parameters")
    for key in (key for key in parameters if key in SHARED[method]):
        msg = "is read for all models at once, and passed over here by mergekit; move it to `parameters`"
        raise EmbedmergeError(f"{where}.parameters.{key}: {msg} at the top, or remove it")
    _require_known(parameters, PER_MODEL[method], f"{where}.parameters.", f" of {method} for one model")
    return Entry(_model(content["model"], f"{where}.model", folder), parameters, where)


def _model(given: Any, where: str, folder: Path) -> Model:
    """`PATH`, `PATH@REVISION`, or a mapping of the same parts."""
    if isinstance(given, str):
        return _model({"model": given}, where, folder)
    content = _mapping(given, where)
    _require_known(content, ("model", "lora", "override_architecture"), f"{where}.")
    inner = content.get("model")
    reference = _mapping({"path": inner} if isinstance(inner, str) else inner, f"{where}.model")
    _require_known(reference, ("path", "revision"), f"{where}.model.")
    path = reference.get("path")
    if not isinstance(path, str) or not path:
        raise EmbedmergeError(f"{where}: names no model; give a folder or a hub id")
    whole, _, adapter = path.partition("+")
    if adapter or content.get("lora"):
        msg = "puts an adapter on a model; name the adapter's folder as the model, it is put on the base"
        raise EmbedmergeError(f"{where}: {path!r} {msg}")
    name, _, revision = whole.partition("@")
    return Model(
        _beside(name, folder), revision or reference.get("revision"), content.get("override_architecture")
    )


def _beside(path: str, folder: Path) -> str:
    """A folder beside the file where there is one, else the name as it is: a hub id."""
    try:
        local = folder / Path(path).expanduser()
        return str(local.absolute()) if local.exists() else path
    except (RuntimeError, ValueError, OSError):  # no such user; a null character; too long a name
        return path


def _tokenizer(content: dict[str, Any]) -> Any:
    """The source of the tokenizer, None where nothing is said."""
    if content.get("tokenizer") is None:
        return content.get("tokenizer_source")
    if content.get("tokenizer_source") is not None:
        raise EmbedmergeError("tokenizer: stands beside tokenizer_source; keep one of them")
    tokenizer = _mapping(content["tokenizer"], "tokenizer")
    _require_known(tokenizer, ("source", *RESHAPING), "tokenizer.")
    for key in (key for key in RESHAPING if tokenizer.get(key)):
        raise EmbedmergeError(f"tokenizer.{key}: changes the vocabulary, which is kept; remove it")
    return tokenizer.get("source", "union")


def _require_base_s(tokenizer: Any, base: Model, folder: Path) -> None:
    if tokenizer in (None, "base") or (
        tokenizer != "union" and _model(tokenizer, "tokenizer_source", folder) == base
    ):
        return
    msg = f"{tokenizer!r} could change the vocabulary; the tokenizer is always the base's, say `base`"
    raise EmbedmergeError(f"tokenizer_source: {msg}")


def _dtype(given: Any, where: str) -> str | None:
    if given is None:
        return None
    name = str(given).removeprefix("torch.")
    if name not in DTYPES:
        raise EmbedmergeError(f"{where}: {given!r} is not translated; {nearest(name, DTYPES)}")
    return name


def _mapping(given: Any, where: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise EmbedmergeError(f"{where}: {given!r} must be a mapping of keys to values")
    return given


def _require_known(given: Iterable[Any], known: Iterable[str], prefix: str, of: str = "") -> None:
    names = list(known)
    for key in given:
        if key not in names:
            hint = nearest(str(key), names)
            raise EmbedmergeError(f"{prefix}{key}: no key{of} that mergekit reads; {hint}")
