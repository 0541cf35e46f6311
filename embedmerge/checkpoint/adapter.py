"""LoRA adapters as PEFT and sentence-transformers save them, opened on the base they were trained on.

An adapter is its base with a product added to some tensors: `W + scale * B @ A`. The product is
computed where and when a slice of the tensor is read, so an expert is never built, and adapters are
merged by their products: averaging A and B apart would multiply one adapter's A by another's B.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from embedmerge.checkpoint.layout import Checkpoint, listed_modules, open_checkpoint
from embedmerge.checkpoint.licence import stated_licence
from embedmerge.checkpoint.lineage import files_sha256
from embedmerge.checkpoint.lora import ADAPTER_CONFIG, read_settings
from embedmerge.checkpoint.names import HEADS, TIED, canonical_naming
from embedmerge.checkpoint.reading import LowRank
from embedmerge.checkpoint.weights import SINGLE_OR_INDEX, locate_tensors, tensors_in
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from embedmerge.checkpoint.hub import Location
    from embedmerge.checkpoint.layout import Module
    from embedmerge.checkpoint.lora import LoraSettings
    from embedmerge.checkpoint.pooling import StatedPooling
    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.checkpoint.weights import Located

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
# `.lora_A.weight`, `.lora_A.default.weight` in old files, `.lora_embedding_A` beside an embedding table.
FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.default)?(?(embedding)|\.weight)"
)
# What PEFT puts between a module and a parameter that it saves whole.
HOLDERS = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")

# The base's own copy of a module that is saved whole.
UNUSED = ".original_module."


@dataclass(frozen=True, kw_only=True)
class AdaptedCheckpoint(Checkpoint):
    """A base with an adapter on it.

    A folder of sentence-transformers brings its own modules, tokenizer and prompts; a folder of PEFT
    alone has the base's.

    Attributes:
        base: The model below.
        stated_base: What the adapter's author called it.
        weights: The adapter's own weight file.
    """

    base: Checkpoint
    stated_base: str | None
    weights: Path

    @property
    def folder(self) -> Path:
        """The folder that holds modules, tokenizer and prompts."""
        own = self.location.folder
        return own if _has_modules(own) else self.base.folder

    @property
    def license(self) -> str | None:
        """Licence stated in the adapter's own card."""
        return stated_licence(self.location.folder)

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of the adapter's files by place below its folder, and of the base's below `base/`."""
        own = self.location.folder
        modules = self.module_files() if self.folder == own else ()
        below = {f"base/{place}": digest for place, digest in self.base.digests.items()}
        return {**files_sha256(own, (*self._own_weight_files(), *modules)), **below}

    def weight_files(self) -> tuple[Path, ...]:
        """Files that decide the tensors: the base's, then the adapter's own, its config among them."""
        return (*self.base.weight_files(), *self._own_weight_files())

    def weight_places(self) -> tuple[str, ...]:
        """What `digests` calls the `weight_files`."""
        own = [file.relative_to(self.location.folder).as_posix() for file in self._own_weight_files()]
        return (*(f"base/{place}" for place in self.base.weight_places()), *own)

    def _own_weight_files(self) -> tuple[Path, ...]:
        own = self.location.folder
        located = {tensor.file for tensor in self.located()} - set(self.base.weight_files())
        return tuple(sorted({own / ADAPTER_CONFIG, self.weights} | located))


def open_together(
    located: Iterable[tuple[Location, str | None]], stated: StatedPooling | None = None
) -> list[Checkpoint]:
    """Open sources, the adapters among them on the first one.

    Args:
        located: Folder of each source, and its name as `open_checkpoint` takes it.
        stated: How the first one pools, where its files do not say.

    Raises:
        EmbedmergeError: One of them cannot be opened, or the first is an adapter.
    """
    opened: list[Checkpoint] = []
    for location, name in located:
        if opened and (location.folder / ADAPTER_CONFIG).is_file():
            opened.append(open_adapter(location, opened[0], name))
        else:
            opened.append(open_checkpoint(location, name, None if opened else stated))
    return opened


def open_adapter(location: Location, base: Checkpoint, name: str | None = None) -> AdaptedCheckpoint:
    """Read what an adapter's folder says and locate its tensors, those of its base among them.

    Args:
        location: The adapter's folder.
        base: The model it was trained on.
        name: Name of the source; the folder's or the hub id's last part where None.

    Raises:
        EmbedmergeError: It is no plain LoRA, it does not fit the base, or a file is missing or damaged.
    """
    folder = location.folder
    settings = read_settings(folder / ADAPTER_CONFIG)
    weights = _weights(folder)
    encoder, left_out = _Fitting(base, settings, weights).tensors(tensors_in(weights, folder))
    opened = AdaptedCheckpoint(
        name=name or location.given.rstrip("/").rsplit("/", 1)[-1],
        location=location,
        layout="LoRA adapter",
        modules=base.modules,
        tensors={**base.tensors, base.transformer.path: encoder},
        heads=base.heads,
        left_out=left_out,
        base=base,
        stated_base=settings.base,
        weights=weights,
    )
    return _with_own_modules(opened) if _has_modules(folder) else opened


def _has_modules(folder: Path) -> bool:
    return (folder / "modules.json").is_file()


def _weights(folder: Path) -> Path:
    for name in (name for names in SINGLE_OR_INDEX for name in names):
        if (folder / name).is_file():
            msg = f"{folder}: holds an adapter and {name}; remove the one that is not meant"
            raise EmbedmergeError(msg)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    msg = f"{folder}: has {ADAPTER_CONFIG} and no {WEIGHTS[0]}; is the adapter's folder complete?"
    raise EmbedmergeError(msg)


def _with_own_modules(opened: AdaptedCheckpoint) -> AdaptedCheckpoint:
    """The adapted transformer in the module stack that the adapter's folder lists."""
    folder, base = opened.location.folder, opened.base
    modules = tuple(_on_base(module, base) for module in listed_modules(folder))
    located = {module.path: locate_tensors(folder / module.path, folder) for module in modules}
    tensors = {path: tensors for path, tensors in located.items() if tensors}
    stacked = replace(opened, modules=modules, tensors=tensors)
    tensors[stacked.transformer.path] = opened.tensors[base.transformer.path]
    return stacked


def _on_base(module: Module, base: Checkpoint) -> Module:
    return replace(module, config=base.config) if module.kind == "Transformer" else module


@dataclass(frozen=True)
class _Fitting:
    """Fits an adapter's tensors to its base's."""

    base: Checkpoint
    settings: LoraSettings
    file: Path

    def tensors(self, stored: Located) -> tuple[Located, tuple[str, ...]]:
        """The base's tensors with the adapter's in their place or on top, and the names left out."""
        whole, factors = _by_target(stored)
        targets = tuple(dict.fromkeys((*whole, *factors)))
        # What is tied to the embedding in the base is a task head's own as soon as it is tuned.
        inside = [target for target in targets if not target.startswith(HEADS) and target not in TIED]
        canonical = canonical_naming(inside, self.base.custom_code).canonical
        if not canonical:
            raise EmbedmergeError(f"{self.file}: adapts no tensor of an encoder; name another adapter")
        fitted = dict(self.base.tensors[self.base.transformer.path])
        for target, name in canonical.items():
            if name not in fitted:
                raise self._misfit(f"adapts {target!r}, which {self.base.name} has not")
            if target in whole:
                fitted[name] = self._replacement(whole[target], fitted[name])
            if target in factors:
                product = self._product(target, factors[target], fitted[name])
                fitted[name] = replace(fitted[name], update=product)
        return fitted, tuple(target for target in targets if target not in canonical)

    def _replacement(self, found: TensorLocation, below: TensorLocation) -> TensorLocation:
        if found.info.shape != below.info.shape or found.info.is_floating != below.info.is_floating:
            shapes = f"{_described(found)}, in {self.base.name} it is {_described(below)}"
            raise self._misfit(f"tensor {found.stored!r} is {shapes}")
        return replace(found, info=replace(found.info, name=below.info.name))

    def _product(self, target: str, sides: Located, below: TensorLocation) -> LowRank:
        embedding = any(side.startswith("embedding_") for side in sides)
        names = ("embedding_A", "embedding_B") if embedding else ("A", "B")
        if sides.keys() != set(names):
            found = ", ".join(sorted(side.stored for side in sides.values()))
            raise self._misfit(f"the factors of {target!r} are {found}, not one A and one B")
        module = target.removesuffix(".weight")
        a, b = (sides[name] for name in names)
        transposed = embedding or self.settings.transposed
        self._require_fit(a, b, self.settings.rank_of(module), below, transposed)
        return LowRank(a, b, self.settings.scale_of(module), transposed)

    def _require_fit(
        self, a: TensorLocation, b: TensorLocation, rank: int, below: TensorLocation, transposed: bool
    ) -> None:
        if len(below.info.shape) != 2 or not below.info.elements or not below.info.is_floating:
            raise self._misfit(f"{a.stored!r} adapts a tensor that is {_described(below)}")
        rows, columns = below.info.shape
        inputs, outputs = (rows, columns) if transposed else (columns, rows)
        for factor, shape in ((a, (rank, inputs)), (b, (outputs, rank))):
            if factor.info.shape != shape or not factor.info.is_floating:
                raise self._misfit(
                    f"tensor {factor.stored!r} is {_described(factor)}, where rank {rank} on "
                    f"{_described(below)} wants {list(shape)}"
                )

    def _misfit(self, what: str) -> EmbedmergeError:
        return EmbedmergeError(f"{self.file}: {what}; was the adapter trained on another base?")


def _by_target(stored: Located) -> tuple[Located, dict[str, Located]]:
    """Tensors that take a parameter's place, by its name; factors by the name of the weight and their own."""
    whole: Located = {}
    factors: dict[str, Located] = {}
    for name, location in stored.items():
        inner = name.removeprefix(PREFIX)
        if match := FACTOR.fullmatch(inner):
            side = (match["embedding"] or "") + match["side"]
            factors.setdefault(f"{match['module']}.weight", {})[side] = location
        elif UNUSED not in inner:
            whole[HOLDERS.sub("", inner)] = location
    return whole, factors


def _described(location: TensorLocation) -> str:
    return f"{location.info.dtype} {list(location.info.shape)}"
