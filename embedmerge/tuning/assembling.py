"""The tuned model's folder: the base's files with the trained weights under the base's names."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.adapter import open_adapter
from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import listed_modules, open_checkpoint
from embedmerge.checkpoint.lora import ADAPTER_CONFIG
from embedmerge.checkpoint.reading import TensorReader
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from pathlib import Path

_WEIGHTS = "model.safetensors"
# Everything that holds weights, in whatever format: a copy of the base's would contradict the tuned ones.
_STALE = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx",
)
# What says of the base how it was made.
_OF_THE_BASE = ("tuning.json", "embedmerge.json", "recipe.lock.yaml")
_STALE_FOLDERS = ("onnx", "openvino", ".git", ".cache")


def assemble(base: Path, native: Path, target: Path) -> None:
    """Write the base's files with the trained weights under the base's names, in float32.

    Args:
        base: The base's folder.
        native: The tuned model as sentence-transformers saved it; of LoRA, the adapter.
        target: An existing folder to write into.

    Raises:
        EmbedmergeError: A trained tensor has no counterpart in the base.
    """
    stale = shutil.ignore_patterns(*_STALE, *_OF_THE_BASE, *_STALE_FOLDERS)
    shutil.copytree(base, target, dirs_exist_ok=True, ignore=stale)
    adapted = _adapted(base, native) if (native / ADAPTER_CONFIG).is_file() else {}
    for there, here in zip(_module_folders(base), _module_folders(native), strict=True):
        if there in adapted:
            original = _read(base / there)
            _save(_floats(original) | adapted[there], target / there / _WEIGHTS)
        elif saved := _read(native / here):
            _save(_renamed(_read(base / there), saved, base / there), target / there / _WEIGHTS)


def copy_adapter(native: Path, target: Path) -> None:
    """Copy the files of an adapter as PEFT saves them.

    Args:
        native: What sentence-transformers saved.
        target: An existing folder.
    """
    for file in sorted(native.glob("adapter_*")):
        shutil.copyfile(file, target / file.name)


def _adapted(base: Path, native: Path) -> dict[str, dict[str, Any]]:
    """Module folder -> stored tensor name -> `W + scale * B @ A`, of the tensors that an adapter changes."""
    import torch

    below = open_checkpoint(Location(str(base), base, None))
    opened = open_adapter(Location(str(native), native, None), below)
    place = below.transformer.path
    with TensorReader() as reader:
        changed = {
            location.stored: torch.from_numpy(
                reader.read_float32(location).reshape(location.info.shape).copy()
            )
            for location in opened.tensors[opened.transformer.path].values()
            if location.update
        }
    return {place: changed}


def _module_folders(folder: Path) -> list[str]:
    return [module.path for module in listed_modules(folder)]


def _read(folder: Path) -> dict[str, Any]:
    """Every tensor of one module folder: safetensors, or else PyTorch's own format without pickled code."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    if not tensors:
        import torch

        for file in sorted(folder.glob("pytorch_model*.bin")):
            tensors |= torch.load(file, map_location="cpu", weights_only=True)
    return tensors


def _renamed(original: dict[str, Any], saved: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Saved tensors under the names of the original; what the library no longer saves is the original's."""
    result, left = {}, dict(saved)
    for name, tensor in original.items():
        match = next((other for other in _spellings(name) if other in left), None)
        result[name] = tensor if match is None else left.pop(match)
    lost = sorted(name for name in left if "pooler" not in name)
    if lost:
        msg = f"{folder}: the trained tensor {lost[0]} has no counterpart there; save the base again"
        raise EmbedmergeError(msg)
    return _floats(result)


def _floats(tensors: dict[str, Any]) -> dict[str, Any]:
    """Floating tensors in float32: rounding what tuning changed to 16 bits would lose the small changes."""
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _spellings(name: str) -> list[str]:
    """How the library may call the tensor today: without a head's prefix, or with newer LayerNorm names."""
    modern = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return [name, name.partition(".")[2], modern, modern.partition(".")[2]]


def _save(tensors: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    # Tied tensors share memory, which the format refuses.
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)
