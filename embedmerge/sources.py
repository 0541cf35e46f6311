"""Base and experts, opened, hashed and through the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedmerge.checkpoint.adapter import open_together
from embedmerge.checkpoint.compat import Finding, require_finite, require_mergeable
from embedmerge.checkpoint.dressed import dressed_as
from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.lineage import model_sha256, weights_sha256
from embedmerge.checkpoint.pooling import StatedPooling
from embedmerge.dressing import dressed, is_loadable
from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.checkpoint.layout import Checkpoint
    from embedmerge.retrieval.cache import EmbeddingCache
    from embedmerge.retrieval.encoder import Encoder
    from embedmerge.retrieval.settings import EncoderModel, EncodingSettings

Role = Literal["base", "target", "peer"]


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user names it.

    Attributes:
        name: Name in weights and reports; must be unique among the sources.
        path: Folder or hub id.
        role: `base`; `target` for the user's fine-tune; `peer` for any other expert.
        revision: Branch, tag or commit of a hub id.
        pooling: How the base pools, where its files do not say: a mode of sentence-transformers.
        normalise: Whether the base's vectors are scaled to length one, where `pooling` is given.
    """

    name: str
    path: str
    role: Role
    revision: str | None = None
    pooling: str | None = None
    normalise: bool | None = None

    @property
    def stated_pooling(self) -> StatedPooling | None:
        """What is said of its pooling.

        Raises:
            EmbedmergeError: There is no such pooling, or `normalise` is given alone.
        """
        if self.pooling is not None:
            return StatedPooling(self.pooling, self.normalise)
        if self.normalise is not None:
            raise EmbedmergeError(f"{self.name}: `normalise` is given without `pooling`; give both or none")
        return None


@dataclass(frozen=True)
class Source:
    """An opened source.

    Attributes:
        spec: As the user named it.
        checkpoint: What its folder says.
    """

    spec: SourceSpec
    checkpoint: Checkpoint

    @property
    def name(self) -> str:
        """Name in weights and reports."""
        return self.spec.name

    @property
    def role(self) -> Role:
        """`base`, `target` or `peer`."""
        return self.spec.role

    @property
    def weights_sha256(self) -> str:
        """Digest over the weight files."""
        return weights_sha256(self.checkpoint)

    @property
    def model_sha256(self) -> str:
        """Digest over weights and module files."""
        return model_sha256(self.checkpoint)


def short_name(path: str) -> str:
    """The name a source gets where the user gives none: the last part of its path.

    >>> short_name("BAAI/bge-small-en-v1.5@main"), short_name("me@work/legal/")
    ('bge-small-en-v1.5', 'legal')
    """
    last = path.rstrip("/").rsplit("/", 1)[-1]
    return last.partition("@")[0] or last or path


def distinct_names(paths: Sequence[str]) -> list[str]:
    """The short name of each path; the whole path and its place where another has the same.

    >>> distinct_names(["base", "runs/a/final", "runs/b/final"])
    ['base', 'runs/a/final #2', 'runs/b/final #3']
    """
    short = [short_name(path) for path in paths]
    return [
        name if short.count(name) == 1 else f"{path} #{row}"
        for row, (name, path) in enumerate(zip(short, paths, strict=True), 1)
    ]


def open_sources(specs: Sequence[SourceSpec]) -> tuple[list[Source], tuple[Finding, ...]]:
    """Find, open and compare all sources; nothing is written and no weight is read.

    Args:
        specs: Base first.

    Returns:
        The sources in the order given, those without module files in the base's, and the gate's warnings.

    Raises:
        EmbedmergeError: A name occurs twice, a source cannot be opened, or they must not be merged.
    """
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            msg = f"{name}: two sources have this name; give each its own"
            raise EmbedmergeError(msg)
    located = ((locate(spec.path, spec.revision), spec.name) for spec in specs)
    base, *experts = open_together(located, specs[0].stated_pooling)
    findings = (*require_mergeable([base, *experts]), *_not_normalised(specs[0], base))
    worn = [expert if expert.pooling else dressed_as(expert, base) for expert in experts]
    sources = [Source(spec, checkpoint) for spec, checkpoint in zip(specs, [base, *worn], strict=True)]
    return sources, findings


def _not_normalised(spec: SourceSpec, base: Checkpoint) -> tuple[Finding, ...]:
    if spec.pooling is None or spec.normalise is not None or base.normalises:
        return ()
    text = "nothing says whether its vectors are normalised; taken not to be (`normalise: true` if they are)"
    return (Finding("warning", spec.name, text),)


def require_all_finite(sources: Sequence[Source]) -> None:
    """Read every tensor once and refuse NaN and infinity.

    Raises:
        EmbedmergeError: Names source and tensor.
    """
    for source in sources:
        require_finite(source.checkpoint)


def encoder_model(checkpoint: Checkpoint) -> EncoderModel:
    """What encoding needs to know of an opened model.

    Raises:
        EmbedmergeError: The folder does not say how it pools.
    """
    from embedmerge.retrieval.settings import EncoderModel

    if checkpoint.pooling is None:
        msg = (
            f"{checkpoint.name}: a plain {checkpoint.layout} folder does not say how it pools; "
            "merge it with a base that does, or save it with sentence-transformers first"
        )
        raise EmbedmergeError(msg)
    if is_loadable(checkpoint):
        folder, digest = checkpoint.folder, model_sha256(checkpoint)
    else:
        folder, digest = dressed(checkpoint)
    return EncoderModel(
        name=checkpoint.name,
        folder=folder,
        sha256=digest,
        prompts=checkpoint.prompts,
        default_prompt=checkpoint.settings.get("default_prompt_name"),
        normalises=checkpoint.normalises,
        similarity=checkpoint.similarity,
        max_tokens=checkpoint.max_tokens,
    )


def source_encoder(
    source: Source,
    settings: EncodingSettings,
    cache: EmbeddingCache | None,
    progress: Callable[[int, int], None] | None = None,
) -> Encoder:
    """An encoder for one source."""
    from embedmerge.retrieval.encoder import Encoder

    return Encoder(encoder_model(source.checkpoint), settings, cache, progress)
