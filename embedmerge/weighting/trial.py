"""Mixtures really merged and encoded, for as long as they are looked at."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.digest import content_digest
from embedmerge.mixture import write_mixture
from embedmerge.retrieval.encoder import Encoder
from embedmerge.sources import encoder_model, source_encoder
from embedmerge.statistics.of_sources import gather
from embedmerge.weighting.placebo import write_placebo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from embedmerge.mixture import Mixture
    from embedmerge.retrieval.cache import EmbeddingCache
    from embedmerge.retrieval.settings import EncoderModel, EncodingSettings
    from embedmerge.sources import Source
    from embedmerge.statistics.text import Text

    Progress = Callable[[str, int, int], None]


class Trials:
    """Makes the encoders of mixtures; a mixture is merged only if the cache lacks some of its embeddings.

    Args:
        sources: Base first.
        settings: How texts are encoded.
        cache: Where embeddings are kept; None to keep none.
        texts: Unlabelled texts for methods that need statistics.
        progress: Called with a label, texts done and texts in all.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        settings: EncodingSettings,
        cache: EmbeddingCache | None = None,
        texts: Sequence[Text] = (),
        progress: Progress | None = None,
    ) -> None:
        self.sources = sources
        self.settings = settings.for_few_texts  # a mixture is encoded once
        self._cache = cache
        self._texts = texts
        self.progress = progress

    def of_source(self, source: Source, settings: EncodingSettings | None = None) -> Encoder:
        """The encoder of a source as it is."""
        return source_encoder(source, settings or self.settings, self._cache, self._labelled(source.name))

    @contextmanager
    def of_mixture(self, mixture: Mixture, name: str = "mixture") -> Iterator[Encoder]:
        """The encoder of a mixture; its folder is gone with the context.

        Raises:
            EmbedmergeError: The sources cannot be merged this way.
        """
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embedmerge-trial-")))
            yield self.encoder(
                scratch / "model",
                partial(self._merge, mixture, scratch / "model"),
                name,
                {"mixture": self._content(mixture)},
            )

    @contextmanager
    def of_placebo(self, mixture: Mixture, seed: int = 0) -> Iterator[Encoder]:
        """The encoder of the base plus a random task vector of the size of a mixture's."""
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embedmerge-trial-")))

            def write() -> None:
                self._merge(mixture, scratch / "mixture")
                merged = open_checkpoint(Location("mixture", scratch / "mixture", None), "mixture")
                write_placebo(self.sources[0].checkpoint, merged, scratch / "model", seed)

            content = {"placebo": seed, "mixture": self._content(mixture)}
            yield self.encoder(scratch / "model", write, "placebo", content)

    def encoder(
        self, folder: Path, write: Callable[[], None], name: str, content: dict[str, object]
    ) -> Encoder:
        """The encoder of a model made from the sources and built like the base.

        Args:
            folder: Where `write` puts it.
            write: Called before it is loaded.
            name: For messages.
            content: Everything besides the sources that decides its weights.
        """
        model = replace(self._base, name=name, folder=folder, sha256=self._digest(content))
        return Encoder(model, self.settings, self._cache, self._labelled(name), write)

    @property
    def cosine(self) -> bool:
        """Whether the models' embeddings are compared by their angle."""
        return self._base.cosine

    @cached_property
    def _base(self) -> EncoderModel:
        return encoder_model(self.sources[0].checkpoint)

    def _digest(self, content: dict[str, object]) -> str:
        return content_digest({**content, "base": self.sources[0].model_sha256})

    def _content(self, mixture: Mixture) -> dict[str, object]:
        """What decides the weights; experts that count for nothing have no say in it."""
        coefficients = mixture.coefficients
        by_tensor = coefficients.by_tensor or {}
        counted = [
            (source.model_sha256, coefficients.weights[source.name], by_tensor.get(source.name))
            for source in self.sources
            if source.role == "base" or coefficients.counts(source.name)
        ]
        return {
            "method": mixture.method,
            "parameters": mixture.parameters,
            "dtype": mixture.dtype,
            "sources": counted,
            "texts": [asdict(text) for text in self._texts],
        }

    def _merge(self, mixture: Mixture, folder: Path) -> None:
        statistics = gather(self.sources, mixture, self._texts, self.settings, self.progress)
        write_mixture([source.checkpoint for source in self.sources], mixture, folder, statistics=statistics)

    def _labelled(self, name: str) -> Callable[[int, int], None] | None:
        return partial(self.progress, f"encoding: {name}") if self.progress else None
