"""How texts are encoded, and what encoding needs to know of a model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.devices import require_devices
from embedmerge.retrieval.precision import native_bf16
from embedmerge.retrieval.runtimes.running import BACKENDS, require_installed

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["query", "document"]
Precision = Literal["auto", "fp32", "bf16"]
Backend = Literal["torch", "onnx", "openvino"]


@dataclass(frozen=True)
class EncodingSettings:
    """How texts are encoded.

    Attributes:
        precision: `fp32`; `bf16` for autocast; `auto` for bf16 where the processor has it natively and
            the model bears it, which `Encoder.precision` says.
        max_seq_length: Tokens after which text is cut; None for the model's own.
        tokens_per_batch: Padded tokens in a batch at most; None for what is fastest on the device.
        device: Torch device; None for sentence-transformers' choice.
        trust_remote_code: Whether code that comes with a model may run.
        threads: Batches that are computed at a time on a CPU, each by one thread; None for torch's number
            of threads, which is that of the physical cores unless told otherwise.
        devices: Devices that encode at a time, one process each, such as `("cuda:0", "cuda:1")` or
            `("cpu", "cpu")`; empty for this process alone.
        backend: What computes the transformer: torch, or on a CPU ONNX Runtime or OpenVINO, for which it is
            converted when it is loaded. That takes some seconds for every model, so it pays on thousands of
            texts. ONNX Runtime has float32 alone.

    Raises:
        EmbedmergeError: A device cannot be used here; there is no such backend, a library of it is missing,
            it is for a CPU and this process, or it has no bfloat16.
    """

    precision: Precision = "fp32"
    max_seq_length: int | None = None
    tokens_per_batch: int | None = None
    device: str | None = None
    trust_remote_code: bool = False
    threads: int | None = None
    devices: tuple[str, ...] = ()
    backend: Backend = "torch"

    def __post_init__(self) -> None:
        if self.backend != "torch":
            self._require_runtime()
        require_devices(filter(None, (self.device, *self.devices)))

    def _require_runtime(self) -> None:
        if self.backend not in BACKENDS:
            raise EmbedmergeError(f"backend {self.backend}: must be torch, {' or '.join(BACKENDS)}")
        require_installed(self.backend)
        if self.devices or (self.device or "cpu") != "cpu":
            where = self.device or ", ".join(self.devices)
            raise EmbedmergeError(f"backend {self.backend}: runs on the CPU in one process, not on {where}")
        if (self.backend, self.precision) == ("onnx", "bf16"):
            raise EmbedmergeError("backend onnx: has no bfloat16; take openvino, or fp32")

    @cached_property
    def bf16(self) -> bool:
        """Whether encoding runs under bfloat16 autocast, of a model that bears it."""
        if self.precision == "auto" and self.backend != "onnx":
            return native_bf16("cpu") if self.backend == "openvino" else native_bf16()
        return self.precision == "bf16"

    @property
    def for_few_texts(self) -> EncodingSettings:
        """The same without what many texts alone pay back: converting the model, starting processes."""
        device = self.devices[0] if self.devices else self.device
        return replace(self, backend="torch", devices=(), device=device)

    @property
    def runtime(self) -> dict[str, str]:
        """What vectors depend on where torch does not compute them."""
        return {} if self.backend == "torch" else {self.backend: version(BACKENDS[self.backend][-1])}


@dataclass(frozen=True)
class EncoderModel:
    """What encoding needs to know of a model without loading it.

    Attributes:
        name: Name for messages.
        folder: sentence-transformers folder.
        sha256: Digest over weights and module files; the model's identity in every cache.
        prompts: Prompts by name.
        default_prompt: Name of the prompt used where no other fits, or None.
        normalises: Whether the module stack ends in L2 normalisation.
        similarity: `cosine`, `dot`, `euclidean` or `manhattan`.
        max_tokens: Number of positions its weights have; None where there is no such limit.
        probed_as: Digest of the model whose check of bfloat16 counts for this one; by default its own.
            `dataclasses.replace` keeps it, so the mixtures of a base are all encoded as the base is.
    """

    name: str
    folder: Path
    sha256: str
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    normalises: bool = True
    similarity: str = "cosine"
    max_tokens: int | None = None
    probed_as: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "probed_as", self.probed_as or self.sha256)

    @property
    def cosine(self) -> bool:
        """Whether embeddings are compared by their angle."""
        return self.normalises or self.similarity == "cosine"

    def prompt(self, kind: Kind) -> str:
        """The prompt that sentence-transformers' `encode_query` or `encode_document` puts before a text."""
        names = ("query",) if kind == "query" else ("document", "passage", "corpus")
        named = next((name for name in names if name in self.prompts), self.default_prompt)
        return self.prompts.get(named, "") if named else ""
