"""What a merged model's embeddings look like beside its parents', without labels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from embedmerge.diagnosis.effective_rank import effective_rank
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.vectors import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Embeddings = NDArray[np.float32]
    Float64 = NDArray[np.float64]

RANK_MARGIN = 0.1  # of the parents' lowest effective rank
COSINE_MARGIN = 0.05
FEWEST = 50  # documents below which these numbers say nothing


@dataclass(frozen=True)
class Geometry:
    """How a model spreads documents in space.

    Attributes:
        effective_rank: Directions in use: exp of the entropy of the embeddings' singular values (Roy and
            Vetterli, EUSIPCO 2007; of embeddings as RankMe, Garrido et al. 2023, arXiv 2210.02885).
        mean_cosine: Mean cosine of two different documents; near 1 where all look alike.
    """

    effective_rank: float
    mean_cosine: float


@dataclass(frozen=True)
class Likeness:
    """How alike two models see the same documents.

    Attributes:
        cka: Linear centred kernel alignment, 1 where the models differ by a rotation and a scale.
        cosine: Mean cosine of a document's two embeddings; of use between models with one base.
    """

    cka: float
    cosine: float


@dataclass(frozen=True)
class Health:
    """A merged model beside its parents, on a sample of documents.

    Attributes:
        documents: Size of the sample.
        models: Geometry of the merged model (`merged`) and of each parent, by name.
        to_parents: Likeness of the merged model to each parent.
        alarms: Plain sentences, where it lies outside what its parents span.
    """

    documents: int
    models: dict[str, Geometry]
    to_parents: dict[str, Likeness]
    alarms: tuple[str, ...]


def health(merged: Embeddings, parents: Mapping[str, Embeddings], name: str = "merged") -> Health:
    """Look at a merged model's embeddings beside its parents'.

    What is alarming is collapse, and a model that is none of its parents' kind: an effective rank a tenth
    below the lowest of theirs, a mean cosine 0.05 above their highest, or less likeness to a parent, by 0.05
    of CKA or cosine, than any two parents have to one another. Spreading out is not: experts that were
    tuned in different directions have a mixture in which different documents are less alike.

    Args:
        merged: Of the same documents in the same order as the parents', shape (documents, dimensions).
        parents: At least one by name, base included.
        name: Of the merged model.

    Raises:
        EmbedmergeError: Fewer than fifty documents, or another number of them from model to model.
    """
    _require_sample(merged, parents)
    normal = {model: normalised(own) for model, own in parents.items()}
    own = normalised(merged)
    models = {name: geometry(own), **{model: geometry(other) for model, other in normal.items()}}
    to_parents = {model: likeness(own, other) for model, other in normal.items()}
    among = [likeness(*pair) for pair in combinations(normal.values(), 2)] or [Likeness(1.0, 1.0)]
    alarms = (*_geometry_alarms(models, name), *_likeness_alarms(to_parents, among, name))
    return Health(len(merged), models, to_parents, alarms)


def geometry(embeddings: Embeddings) -> Geometry:
    """Effective rank and mean pairwise cosine.

    >>> geometry(np.eye(4, dtype=np.float32))
    Geometry(effective_rank=4.0, mean_cosine=0.0)

    Args:
        embeddings: Rows of length one, shape (documents, dimensions).
    """
    number = len(embeddings)
    together = embeddings.sum(axis=0, dtype=np.float64)
    lengths = np.square(embeddings, dtype=np.float64).sum()
    cosine = (together @ together - lengths) / (number * (number - 1))
    return Geometry(round(effective_rank(embeddings) or 0.0, 3), round(float(cosine), 4))


def likeness(first: Embeddings, second: Embeddings) -> Likeness:
    """Linear CKA (Kornblith et al. 2019, arXiv 1905.00414, section 3) and mean cosine of two models.

    >>> turned = np.eye(4, dtype=np.float32)[[1, 2, 3, 0]]
    >>> likeness(np.eye(4, dtype=np.float32), turned)
    Likeness(cka=1.0, cosine=0.0)

    Args:
        first: Rows of length one, shape (documents, dimensions).
        second: Of the same documents; mean cosine is 0 where it has other dimensions.
    """
    one, other = _centred(first), _centred(second)
    together = np.square(one.T @ other).sum()
    alone = np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    same = first.shape == second.shape
    cosine = np.einsum("nd,nd->n", first, second, dtype=np.float64).mean() if same else 0.0
    return Likeness(round(float(together / max(alone, 1e-30)), 4), round(float(cosine), 4))


def _centred(embeddings: Embeddings) -> Float64:
    wide = embeddings.astype(np.float64)
    centred: Float64 = wide - wide.mean(axis=0)
    return centred


def _geometry_alarms(models: Mapping[str, Geometry], name: str) -> Iterator[str]:
    own, parents = models[name], [found for model, found in models.items() if model != name]
    ranks = [parent.effective_rank for parent in parents]
    cosines = [parent.mean_cosine for parent in parents]
    if own.effective_rank < (1 - RANK_MARGIN) * min(ranks):
        yield _outside(name, f"uses {own.effective_rank:.0f} directions", min(ranks), "at least", ".0f")
    if own.mean_cosine > max(cosines) + COSINE_MARGIN:
        said = f"gives different documents a mean cosine of {own.mean_cosine:.2f}"
        yield _outside(name, said, max(cosines), "at most")


def _likeness_alarms(to_parents: Mapping[str, Likeness], among: list[Likeness], name: str) -> Iterator[str]:
    measures: dict[str, Callable[[Likeness], float]] = {
        "CKA": lambda found: found.cka,
        "mean cosine": lambda found: found.cosine,
    }
    for label, value in measures.items():
        least = min(map(value, among))
        for parent, found in to_parents.items():
            if value(found) < least - COSINE_MARGIN:
                said = f"is like {parent} to a {label} of {value(found):.2f}"
                yield _outside(name, said, least, "at least")


def _outside(name: str, said: str, bound: float, word: str, digits: str = ".2f") -> str:
    return f"{name} {said}; its parents {word} {bound:{digits}}"


def _require_sample(merged: Embeddings, parents: Mapping[str, Embeddings]) -> None:
    if len(merged) < FEWEST:
        msg = f"label-free alarms: {len(merged)} documents are too few; give at least {FEWEST}"
        raise EmbedmergeError(msg)
    other = {name: len(own) for name, own in parents.items() if len(own) != len(merged)}
    if other or not parents:
        found = ", ".join(f"{name}: {number}" for name, number in other.items()) or "no parent"
        msg = f"label-free alarms: every model needs the same {len(merged)} documents, found {found}"
        raise EmbedmergeError(msg)
