"""Which files of a model hold its tensors, and which tensor lies where."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from embedmerge.checkpoint.names import canonical_naming
from embedmerge.checkpoint.reading import TensorLocation, open_weights
from embedmerge.checkpoint.text_files import read_object
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path

# As transformers looks for them: safetensors first, one file before shards.
SINGLE_OR_INDEX = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
# BGE-M3's heads for multi-vector and for lexical retrieval (arXiv 2402.03216, section 3.2).
HEAD_FILES = ("colbert_linear.pt", "sparse_linear.pt")

Located = dict[str, TensorLocation]


def locate_tensors(folder: Path, model: Path) -> Located:
    """Tensors of one module by the names they are stored under, empty where it has none.

    Args:
        folder: The module's folder.
        model: The model's folder, which no weights file may lie outside of.

    Raises:
        EmbedmergeError: A file is missing or damaged, lies elsewhere, or disagrees with the index.
    """
    for single, index in SINGLE_OR_INDEX:
        if (folder / single).is_file():
            return tensors_in(folder / single, model)
        if (folder / index).is_file():
            return _tensors_in_shards(folder / index, model)
    return {}


def encoder_tensors(stored: Located, folder: Path, custom_code: bool) -> tuple[Located, tuple[str, ...]]:
    """A transformer's tensors by canonical name, and the stored names of the task heads left out.

    Args:
        stored: As `locate_tensors` gives them.
        folder: The transformer's folder, for the message.
        custom_code: Whether the model's class comes with the model.

    Raises:
        EmbedmergeError: Two stored tensors have one canonical name.
    """
    naming = canonical_naming(stored, custom_code)
    located: Located = {}
    for old, new in naming.canonical.items():
        if new in located:
            msg = f"{folder}: its weights hold {new!r} twice, also as {old!r}; save the model again"
            raise EmbedmergeError(msg)
        located[new] = replace(stored[old], info=replace(stored[old].info, name=new))
    return located, naming.left_out


def locate_heads(model: Path) -> dict[str, Located]:
    """Tensors of the heads that FlagEmbedding keeps beside a model, by file name and stored name.

    The canonical name carries the file's, such as `colbert_linear.weight`.

    Raises:
        EmbedmergeError: A file is damaged or lies elsewhere.
    """
    files = [model / name for name in HEAD_FILES if (model / name).is_file()]
    return {file.name: _named_by_file(file, tensors_in(file, model)) for file in files}


def require_inside(file: Path, model: Path) -> None:
    """Refuse a file that is a link out of its model.

    A snapshot in the hub's cache is made of links to the `blobs` folder beside `snapshots`; those are
    the model's own.

    Raises:
        EmbedmergeError: The file lies neither in the model's folder nor among its blobs.
    """
    own = [model.resolve()]
    if own[0].parent.name == "snapshots":
        own.append(own[0].parent.parent / "blobs")
    found = file.resolve()
    if not any(found.is_relative_to(folder) for folder in own):
        msg = f"{file}: a link to {found}, outside the model folder; put the file itself there"
        raise EmbedmergeError(msg)


def tensors_in(file: Path, model: Path) -> Located:
    """Tensors of one file by the names they are stored under.

    Raises:
        EmbedmergeError: The file is damaged or lies outside the model's folder.
    """
    require_inside(file, model)
    with open_weights(file) as opened:
        return {name: TensorLocation(file, info, name) for name, info in opened.tensors.items()}


def _tensors_in_shards(index: Path, model: Path) -> Located:
    weight_map = _weight_map(index, model)
    located: Located = {}
    for shard in sorted(set(weight_map.values())):
        if not (index.parent / shard).is_file():
            msg = f"{index}: names {shard}, which is not there; fetch or save the model again"
            raise EmbedmergeError(msg)
        for name, location in tensors_in(index.parent / shard, model).items():
            if name in located:
                msg = (
                    f"{index}: tensor {name!r} is in {located[name].file.name} and in {shard}; save it again"
                )
                raise EmbedmergeError(msg)
            located[name] = location
    for name, shard in weight_map.items():
        if name not in located or located[name].file.name != shard:
            msg = f"{index}: places tensor {name!r} in {shard}, which has none; fetch or save the model again"
            raise EmbedmergeError(msg)
    return located


def _weight_map(index: Path, model: Path) -> dict[str, str]:
    require_inside(index, model)
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(map(_is_beside, weight_map.values())):
        msg = f"{index}: its weight_map does not name files beside it; fetch or save the model again"
        raise EmbedmergeError(msg)
    return weight_map


def _is_beside(shard: object) -> bool:
    return isinstance(shard, str) and not shard.startswith(".") and not {"/", "\\", "\0"} & set(shard)


def _named_by_file(file: Path, located: Located) -> Located:
    return {
        name: replace(location, info=replace(location.info, name=f"{file.stem}.{name}"))
        for name, location in located.items()
    }
