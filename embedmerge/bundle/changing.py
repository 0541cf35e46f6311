"""A bundle that takes in a corpus, or gives up documents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from embedmerge.bundle.chunking import Chunker
from embedmerge.bundle.corpus import Corpus
from embedmerge.bundle.encoding import Arrivals
from embedmerge.bundle.finishing import Made, write_bundle
from embedmerge.bundle.identity import model_facts, require_same
from embedmerge.bundle.indexed import Indexed
from embedmerge.bundle.intake import Intake
from embedmerge.bundle.layouts import require_layouts
from embedmerge.bundle.manifest import require_nothing_else
from embedmerge.bundle.opening import open_bundle
from embedmerge.bundle.remarks import Remarks
from embedmerge.bundle.replacing import held, replacement
from embedmerge.bundle.settings import reads
from embedmerge.errors import EmbedmergeError, nearest
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.index import VectorIndex
from embedmerge.retrieval.settings import EncodingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from embedmerge.bundle.manifest import Manifest
    from embedmerge.bundle.opening import Bundle
    from embedmerge.bundle.settings import BundleSettings
    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.retrieval.cache import EmbeddingCache

    Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Deletion:
    """What is to be taken out of a bundle.

    Attributes:
        documents: Ids of documents.
        sources: Files; all documents that come from them.
        missing: Whether all documents go that the corpus has not.
    """

    documents: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    missing: bool = False

    def __bool__(self) -> bool:
        """Whether it may take anything out."""
        return bool(self.documents or self.sources or self.missing)

    def of(self, sources: Mapping[str, str]) -> set[str]:
        """Ids of the documents that it names.

        Args:
            sources: Document id -> file that it comes from, for all documents of the bundle.

        Raises:
            EmbedmergeError: There is no such document, or none from such a file.
        """
        files = set(sources.values())
        for option, names, known in (
            ("--delete", self.documents, sources.keys()),
            ("--delete-source", self.sources, files),
        ):
            unknown = next((name for name in names if name not in known), None)
            if unknown is not None:
                msg = f"{option} {unknown}: the bundle has nothing of that name; {nearest(unknown, known)}"
                raise EmbedmergeError(msg)
        return {*self.documents, *(name for name, file in sources.items() if file in self.sources)}


def change_bundle(
    folder: Path,
    checkpoint: Checkpoint | None,
    source: Path | None,
    settings: BundleSettings,
    deletion: Deletion,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> Indexed:
    """Take the documents of a corpus into a bundle, or take some out; no other is encoded again.

    The bundle is replaced in one step: who opens it meanwhile, and who is killed, finds the old one or the
    new one. Where nothing changes, nothing is written.

    Args:
        folder: The bundle.
        checkpoint: The model; needed with a corpus.
        source: Corpus to take in: new documents are added, those whose text is another are replaced.
        settings: What is asked for has to be what the bundle was made with; layouts are added.
        deletion: What to take out.
        cache: Where vectors are kept.
        progress: Called with passages encoded and passages in all.

    Raises:
        EmbedmergeError: It is no bundle or a damaged one, of another model or made otherwise; another
            process changes it, or nothing would be left in it.
    """
    with held(folder), TemporaryDirectory(prefix="embedmerge-") as scratch:
        bundle = open_bundle(folder)
        require_nothing_else(folder, bundle.manifest)
        settings.require_as_in(bundle.manifest, bundle.index.settings)
        change = _Change(bundle, settings, deletion)
        if source is not None and checkpoint is not None:
            change.take_in(source, checkpoint, Path(scratch), cache, progress)
        return change.carried_out()


class _Change:
    """One change of a bundle, prepared in memory and then written."""

    def __init__(self, bundle: Bundle, settings: BundleSettings, deletion: Deletion) -> None:
        self._bundle = bundle
        self._settings = settings
        self._deletion = deletion
        made = bundle.manifest
        layouts = settings.layouts_beside(made.layouts)
        require_layouts(layouts, made.index.similarity)
        self._made = Made(made.model, made.encoding, made.chunking, layouts, made.created)
        self._known = {passage.document: passage.sha256 for passage in bundle.passages}
        self._dropped = deletion.of({passage.document: passage.source for passage in bundle.passages})
        self._remarks = Remarks(bundle.folder.name)
        self._intake: Intake | None = None
        self._arrivals: Arrivals | None = None

    def take_in(
        self,
        source: Path,
        checkpoint: Checkpoint,
        scratch: Path,
        cache: EmbeddingCache | None,
        progress: Progress | None,
    ) -> None:
        """Go through a corpus and find what it changes."""
        made = self._bundle.manifest
        model = require_same(checkpoint, made.model)
        self._made = replace(self._made, model=model_facts(checkpoint, model, self._bundle.folder))
        encoding = made.encoding
        encoder = Encoder(
            model, EncodingSettings(encoding.precision, encoding.max_seq_length), cache, progress
        )
        self._remarks = Remarks(source.resolve().name)
        folder = model.folder / checkpoint.transformer.path
        self._intake = Intake(
            Corpus(source, self._remarks, self._settings.encoding),
            Chunker(made.chunking, folder, encoding.document_prompt),
            {name: digest for name, digest in self._known.items() if name not in self._dropped},
            reads(checkpoint, encoding.max_seq_length),
            self._remarks,
        )
        self._arrivals = Arrivals.of(self._intake, encoder, encoding.document_prompt, scratch)
        self._dropped |= self._intake.updated | self._intake.emptied
        if self._deletion.missing:
            self._dropped |= self._known.keys() - self._intake.seen

    def carried_out(self) -> Indexed:
        """Write what has changed, if anything has."""
        bundle, brought = self._bundle, self._arrivals
        manifest = bundle.manifest
        if self._dropped or (brought and len(brought.passages)) or self._made.layouts != manifest.layouts:
            manifest = self._written()
        updated = self._intake.updated if self._intake else set()
        return Indexed.of(
            bundle.folder,
            manifest,
            self._remarks,
            intake=self._intake,
            removed=len(self._dropped - updated),
            counts=brought.encoder.counts if brought else None,
        )

    def _written(self) -> Manifest:
        bundle, brought = self._bundle, self._arrivals
        kept: list[int] = []
        gone: list[str] = []
        for row, passage in enumerate(bundle.passages):
            if passage.document in self._dropped:
                gone.append(passage.id)
            else:
                kept.append(row)
        index = self._thinned(kept, gone)
        lines = bundle.passages.lines(kept)
        if brought:
            brought.add_to(index)
            lines = chain(lines, brought.passages.lines(range(len(brought.passages))))
        with replacement(bundle.folder) as beside:
            return write_bundle(beside, lines, index, self._made)

    def _thinned(self, kept: list[int], gone: list[str]) -> VectorIndex:
        """The index without the vectors of what is dropped; a new one where nothing is left of it."""
        index = self._bundle.index
        if kept:
            index.remove(gone)
            return index
        if self._arrivals is None or not len(self._arrivals.passages):
            msg = f"{self._bundle.folder}: no document would be left in it; remove the folder instead"
            raise EmbedmergeError(msg)
        return VectorIndex(index.settings, index.model)
