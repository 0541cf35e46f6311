"""A bundle made of a corpus."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from embedmerge.atomic import new_folder, refuse_occupied
from embedmerge.bundle.chunking import Chunker
from embedmerge.bundle.corpus import Corpus
from embedmerge.bundle.encoding import Arrivals
from embedmerge.bundle.finishing import Made, write_bundle
from embedmerge.bundle.identity import model_facts
from embedmerge.bundle.indexed import Indexed
from embedmerge.bundle.intake import Intake
from embedmerge.bundle.layouts import require_layouts
from embedmerge.bundle.manifest import EncodingFacts, is_bundle
from embedmerge.bundle.remarks import Remarks
from embedmerge.bundle.replacing import restore
from embedmerge.bundle.settings import reads
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.encoder import Encoder
from embedmerge.retrieval.index import VectorIndex
from embedmerge.sources import encoder_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedmerge.bundle.settings import BundleSettings
    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.retrieval.cache import EmbeddingCache


def create_bundle(
    folder: Path,
    checkpoint: Checkpoint,
    source: Path,
    settings: BundleSettings,
    cache: EmbeddingCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Indexed:
    """Index a corpus into a new folder, which is there once everything is in it.

    Args:
        folder: Absent or empty.
        checkpoint: The model.
        source: The corpus.
        settings: How.
        cache: Where vectors are kept, so that an interrupted run goes on.
        progress: Called with passages encoded and passages in all.

    Raises:
        EmbedmergeError: The folder is occupied, the corpus cannot be read or is empty, or the settings do
            not fit the model.
    """
    _require_vacant(folder)
    remarks = Remarks(source.resolve().name)
    corpus = Corpus(source, remarks, settings.encoding)
    chunking = settings.chunking(checkpoint, files=corpus.of_files)
    model = encoder_model(checkpoint)
    index = VectorIndex(settings.index(model), model.sha256)
    layouts = settings.layouts_beside(())
    require_layouts(layouts, index.settings.similarity)
    encoder = Encoder(model, settings.encoder, cache, progress)
    prompts = settings.prompts(model)
    chunker = Chunker(chunking, model.folder / checkpoint.transformer.path, prompts["document"])
    intake = Intake(corpus, chunker, {}, reads(checkpoint, settings.max_seq_length), remarks)
    with TemporaryDirectory(prefix="embedmerge-") as scratch:
        arrivals = Arrivals.of(intake, encoder, prompts["document"], Path(scratch))
        if not intake.added:
            raise EmbedmergeError("; ".join((f"{source}: no document with text in it", *remarks.lines)))
        arrivals.add_to(index)
        encoding = EncodingFacts(
            query_prompt=prompts["query"],
            document_prompt=prompts["document"],
            max_seq_length=settings.max_seq_length,
            precision="bf16" if encoder.bf16 else "fp32",
        )
        made = Made(model_facts(checkpoint, model, folder), encoding, chunking, layouts)
        with new_folder(folder) as beside:
            passages = arrivals.passages
            manifest = write_bundle(beside, passages.lines(range(len(passages))), index, made)
    return Indexed.of(folder, manifest, remarks, intake=intake, counts=encoder.counts)


def _require_vacant(folder: Path) -> None:
    restore(folder)
    if is_bundle(folder):
        msg = f"{folder}: there is a bundle already; --append takes more into it, or name another folder"
        raise EmbedmergeError(msg)
    refuse_occupied(folder)
