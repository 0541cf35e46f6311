"""The pass over unlabelled text: once for each source, text and setting, then from the store."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.anatomy import Site
from embedmerge.statistics.fisher import diagonal_fisher
from embedmerge.statistics.gram import gram_matrices
from embedmerge.statistics.stack import Stack
from embedmerge.statistics.text import texts_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.checkpoint.reading import TensorLocation
    from embedmerge.merging.spec import Statistics
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.statistics.gathered import Gathered
    from embedmerge.statistics.store import StatisticsStore
    from embedmerge.statistics.text import Text

FORMAT = 1  # goes up whenever the numbers change


def statistics_of(
    encoder: Encoder,
    donor: Checkpoint,
    kind: Statistics,
    texts: Sequence[Text],
    settings: dict[str, Any],
    store: StatisticsStore,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, TensorLocation]:
    """Where the statistics of a source's tensors lie, after gathering them if no one has yet.

    A tensor within a transformer block always has some; elsewhere one that no text reaches, such as a
    pooler that mean pooling leaves aside, has none.

    Args:
        encoder: The source's encoder in float32, used for nothing else.
        donor: The base.
        kind: `fisher` or `gram`.
        texts: Unlabelled texts.
        settings: For `fisher`, `temperature` and `seed`; others are passed over.
        store: Where statistics are kept.
        progress: Called with texts done and texts in all.

    Raises:
        EmbedmergeError: The model's tensors cannot be told from its modules.
    """
    own = {name: settings[name] for name in SETTINGS[kind]}
    path = store.path(_content(encoder, donor, kind, texts, own))
    kept = store.load(path)
    if kept is None:
        with _one_thread():
            gathered = GATHER[kind](Stack(encoder, donor), texts, progress, **own)
            _require_blocks(encoder.model.name, donor, kind, gathered)
            store.store(path, gathered)
        kept = store.load(path)
    assert kept is not None
    return kept


GATHER: dict[Statistics, Callable[..., Gathered]] = {"fisher": diagonal_fisher, "gram": gram_matrices}
SETTINGS: dict[Statistics, tuple[str, ...]] = {"fisher": ("temperature", "seed"), "gram": ()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Add up alike whatever the number of cores: torch and BLAS cut a sum by their threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def _content(
    encoder: Encoder, donor: Checkpoint, kind: Statistics, texts: Sequence[Text], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything that statistics depend on."""
    return {
        "format": FORMAT,
        "kind": kind,
        "model": encoder.model.sha256,
        "modules": [module.path for module in donor.modules],
        "texts": texts_sha256(texts),
        "settings": settings,
        "max_seq_length": encoder.settings.max_seq_length,
        "libraries": [version(name) for name in ("torch", "transformers", "sentence-transformers")],
    }


def _require_blocks(name: str, donor: Checkpoint, kind: Statistics, gathered: Gathered) -> None:
    """Refuse a model whose blocks are not all covered: its class has other names, or no Linears."""
    found = {tensor for names in gathered.shapes for tensor in names}
    for site in _sites(donor):
        wanted = site.block is not None and (kind == "fisher" or site.kind == "linear")
        if wanted and site.name not in found:
            what = "parameter" if kind == "fisher" else "torch.nn.Linear"
            msg = (
                f"{name}: {site.name} is no {what} of its {donor.architecture} class, so nothing can be "
                f"learnt of it from text; take a method that needs none, such as linear"
            )
            raise EmbedmergeError(msg)


def _sites(donor: Checkpoint) -> Iterator[Site]:
    for name, location in donor.tensors[donor.transformer.path].items():
        if location.info.is_floating:
            yield Site.of(name, location.info.shape, donor.depth or 0)
