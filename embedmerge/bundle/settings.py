"""What may be asked of a bundle, and what it was made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.bundle.chunking import Chunking
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.index import IndexSettings
from embedmerge.retrieval.settings import EncodingSettings

if TYPE_CHECKING:
    from embedmerge.bundle.manifest import Manifest
    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.retrieval.index.settings import Kind as IndexKind
    from embedmerge.retrieval.settings import EncoderModel, Kind, Precision

WHOLE = 0
NONE = "none"  # in place of a layout
USUAL_LENGTH = 512  # of a model that states none


@dataclass(frozen=True)
class BundleSettings:
    """How a bundle is made; None for what is usual, or, where there is one already, for what it has.

    Attributes:
        kind: Of the index; `auto` where None.
        effort: What a search in an approximate index looks at.
        precision: In which passages are encoded; `fp32` where None.
        max_seq_length: Tokens after which the model cuts a text; its own length where None.
        query_prompt: Put before questions; the model's own where None.
        document_prompt: Put before passages; the model's own where None.
        chunk_tokens: Of a passage at most; 0 for whole documents. Where None, rows of a table stay whole,
            and files are cut to what the model reads.
        chunk_overlap: Tokens that a passage repeats of the one before it.
        layouts: Libraries whose own files are written beside the index, and beside those that there are;
            `none` takes away the others.
        encoding: Of text files that are no UTF-8.

    Raises:
        EmbedmergeError: No such precision, or no such kind of index.
    """

    kind: IndexKind | None = None
    effort: int | None = None
    precision: Precision | None = None
    max_seq_length: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    chunk_tokens: int | None = None
    chunk_overlap: int | None = None
    layouts: tuple[str, ...] = ()
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.precision not in (None, "auto", "fp32", "bf16"):
            raise EmbedmergeError(f"--precision {self.precision}: must be auto, fp32 or bf16")
        if self.kind is not None:
            IndexSettings(self.kind)

    def index(self, model: EncoderModel) -> IndexSettings:
        """Of a new index.

        Raises:
            EmbedmergeError: Vectors of this model are compared in a way that is not indexed.
        """
        return IndexSettings(self.kind or "auto", model.similarity, self.effort)  # type: ignore[arg-type]

    @property
    def encoder(self) -> EncodingSettings:
        """Of passages in a new bundle."""
        return EncodingSettings(self.precision or "fp32", self.max_seq_length)

    def prompts(self, model: EncoderModel) -> dict[Kind, str]:
        """What is put before texts of each kind in a new bundle."""
        stated: dict[Kind, str | None] = {"query": self.query_prompt, "document": self.document_prompt}
        return {kind: model.prompt(kind) if text is None else text for kind, text in stated.items()}

    def layouts_beside(self, present: tuple[str, ...]) -> tuple[str, ...]:
        """Layouts of the bundle after a change.

        >>> BundleSettings(layouts=("haystack",)).layouts_beside(("langchain",))
        ('langchain', 'haystack')
        >>> BundleSettings(layouts=("none",)).layouts_beside(("langchain",))
        ()
        """
        kept = () if NONE in self.layouts else present
        return tuple(dict.fromkeys((*kept, *(name for name in self.layouts if name != NONE))))

    def chunking(self, checkpoint: Checkpoint, files: bool) -> Chunking:
        """Of a new bundle.

        Args:
            checkpoint: The model.
            files: Whether the corpus is one of files.

        Raises:
            EmbedmergeError: Passages would be longer than the model reads, or nothing is cut that could
                overlap.
        """
        limit = reads(checkpoint, self.max_seq_length)
        tokens = self.chunk_tokens if self.chunk_tokens is not None else (limit if files else WHOLE)
        if tokens > limit:
            msg = f"passages of {tokens} tokens: {checkpoint.name} reads {limit}; the rest could not be found"
            raise EmbedmergeError(msg)
        if not tokens and self.chunk_overlap:
            raise EmbedmergeError("--chunk-overlap: documents stay whole here; say --chunk-tokens too")
        return Chunking(tokens=tokens or None, overlap=self.chunk_overlap or 0)

    def require_as_in(self, manifest: Manifest, index: IndexSettings) -> None:
        """Refuse what an existing bundle was not made with.

        Raises:
            EmbedmergeError: Names the first.
        """
        made, chunks = manifest.encoding, manifest.chunking
        pairs: list[tuple[str, Any, Any]] = [
            ("query prompt", self.query_prompt, made.query_prompt),
            ("document prompt", self.document_prompt, made.document_prompt),
            ("precision", None if self.precision == "auto" else self.precision, made.precision),
            ("max_seq_length", self.max_seq_length, made.max_seq_length),
            ("tokens a passage", self.chunk_tokens, chunks.tokens or WHOLE),
            ("tokens repeated", self.chunk_overlap, chunks.overlap),
            ("index kind", None if self.kind == "auto" else self.kind, manifest.index.kind),
            ("effort", self.effort, index.effort),
        ]
        for what, asked, kept in pairs:
            if asked is not None and asked != kept:
                msg = f"{what} {asked!r}: the bundle was made with {kept!r}"
                raise EmbedmergeError(f"{msg}; leave it out, or make another bundle")


def reads(checkpoint: Checkpoint, asked: int | None) -> int:
    """Tokens that the model reads of a text, special ones with them."""
    known = [asked or checkpoint.max_seq_length or USUAL_LENGTH, checkpoint.max_tokens]
    return min(length for length in known if length)
