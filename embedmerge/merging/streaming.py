"""A method applied to tensors that are read slice by slice, on all cores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from embedmerge.errors import EmbedmergeError
from embedmerge.merging.modifiers import HELP, Modifiers
from embedmerge.merging.part import Part, weighted_sum
from embedmerge.merging.registry import method as find_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from embedmerge.merging.anatomy import Site
    from embedmerge.merging.coefficients import Coefficients
    from embedmerge.merging.parallel import Workers
    from embedmerge.merging.spec import MethodSpec
    from embedmerge.merging.survey import Survey

    Float32 = NDArray[np.float32]

# Elements that one slice holds of all sources together: 2 MiB in float32, which caches hold too.
HELD = 1 << 19
NO_STATISTICS = np.empty(0, np.float32)


class Read(Protocol):
    """Where the values come from."""

    def __call__(self, site: Site, source: int, start: int, stop: int) -> Float32:
        """Elements `start` to `stop` of a tensor of one source, flat, in float32."""
        ...


@dataclass(frozen=True)
class Arithmetic:
    """A method with everything the user has set, and nothing left open.

    Attributes:
        spec: The method.
        parameters: Its parameters, checked and complete.
        modifiers: What is done to its result.
        coefficients: What each source counts for.
    """

    spec: MethodSpec
    parameters: dict[str, Any]
    modifiers: Modifiers
    coefficients: Coefficients

    @classmethod
    def of(cls, name: str, given: dict[str, Any], coefficients: Coefficients) -> Arithmetic:
        """From a method's name and parameters as the user wrote them, modifiers among them.

        Raises:
            EmbedmergeError: An unknown method, parameter or expert, a bad value, or too few or too many
                experts.
        """
        spec = find_method(name)
        own = {key: value for key, value in given.items() if key in spec.parameters or key not in HELP}
        parameters = spec.with_defaults(own)
        modifiers = Modifiers.parse({key: value for key, value in given.items() if key not in own})
        experts = list(coefficients.weights)[1:]
        spec.require_experts(len(experts))
        spec.require_named(parameters, experts)
        return cls(spec, parameters, modifiers, coefficients)

    def averages(self, site: Site) -> bool:
        """Whether a tensor is averaged instead: it is excluded, or no matrix and the method is for them."""
        return self.modifiers.excludes(site) or (self.spec.matrices and site.kind != "linear")

    def merge(self, part: Part) -> Float32:
        """The merged values of a part."""
        unknown = self.spec.statistics is not None and part.statistics is None
        if unknown or self.averages(part.site):
            return self.modifiers.apply(weighted_sum(part.sources, part.weights), part)
        merged = self.spec.combine(part, **self.spec.for_tensor(self.parameters, part.site, part.names[1:]))
        if self.spec.of == "task vectors":
            merged = part.base + np.float32(part.scale) * merged
        return self.modifiers.apply(merged, part)


@dataclass
class Streaming:
    """Applies a method to a model's tensors, holding a few slices at a time.

    Args:
        arithmetic: What is done.
        names: Names of the sources, base first.
        read: Gives the values.
        read_statistics: Gives the statistics of a tensor, or of a slice of it, for one source, or None
            where it has none; not asked for a source that counts for nothing.
        workers: Threads to use.
        held: Elements that a slice holds of all sources together.
        finish: What is made of each merged slice, on the thread that has merged it.
    """

    arithmetic: Arithmetic
    names: Sequence[str]
    read: Read
    workers: Workers
    read_statistics: Callable[[Site, int, int, int], Float32 | None] | None = None
    held: int = HELD
    finish: Callable[[Site, Float32], NDArray[Any]] = lambda _, values: values
    _facts: dict[Site, Any] = field(default_factory=dict, init=False)

    def model_surveys(self, sites: Iterable[Site]) -> list[tuple[Survey, list[Site], tuple[int, ...]]]:
        """The method's surveys of the whole model, each with the tensors and the sources it is of, by row.

        Tensors for which the same parameters hold share a survey. So a threshold is one for the whole
        model, and where the share that is kept differs from block to block, one for each share. Where it
        differs from expert to expert as well, each is surveyed alone: its thresholds are its own matter.

        Args:
            sites: All tensors that will be merged.

        Returns:
            Nothing where the method makes none.
        """
        spec = self.arithmetic.spec
        if spec.survey is None or not self._surveys_model:
            return []
        merged = [site for site in sites if site.elements and not self.arithmetic.averages(site)]
        groups = self._alike(merged, self._counting)
        if len(groups) > 1 and spec.tells_apart(self.arithmetic.parameters):
            groups = [pair for row in self._counting[1:] for pair in self._alike(merged, (0, row))]
        made = ((spec.survey(**self._parameters(group[0], rows)), group, rows) for group, rows in groups)
        return [(survey, group, rows) for survey, group, rows in made if survey is not None]

    def _alike(
        self, sites: Iterable[Site], rows: tuple[int, ...]
    ) -> list[tuple[list[Site], tuple[int, ...]]]:
        """The tensors for which the same parameters hold, those of the sources in these rows."""
        groups: dict[str, list[Site]] = {}
        for site in sites:
            groups.setdefault(repr(self._parameters(site, rows)), []).append(site)
        return [(group, rows) for group in groups.values()]

    def survey_model(self, sites: Iterable[Site], progress: Callable[[int], None] | None = None) -> None:
        """Make the method's surveys of the whole model, if it has any.

        Args:
            sites: All tensors that will be merged.
            progress: Called with the number of elements looked at, slice by slice.
        """
        found: dict[Site, list[Any]] = {}
        for survey, group, rows in self.model_surveys(sites):
            parts = [self._part(site, cut, rows) for site in group for cut in self._cuts(site)]
            facts = self._surveyed(survey, parts, progress)
            for site in group:
                found.setdefault(site, []).append(facts)
        joined = {site: each[0] if len(each) == 1 else np.concatenate(each) for site, each in found.items()}
        self._facts.update(joined)

    def slices(self, sites: Iterable[Site]) -> Iterator[tuple[Site, int, NDArray[Any]]]:
        """Merged slices of all tensors in order: the tensor, where the slice starts, its flat values."""
        return self.workers.in_order(self._jobs(sites))

    def _jobs(self, sites: Iterable[Site]) -> Iterator[Callable[[], tuple[Site, int, NDArray[Any]]]]:
        for site in sites:
            cuts = self._cuts(site)
            survey = self._survey_of(site)
            if survey is None:
                known = self._facts.get(site)
                yield from (partial(self._merged, self._part(site, cut), known) for cut in cuts)
            elif len(cuts) == 1:
                yield partial(self._surveyed_and_merged, self._part(site, cuts[0]), survey)
            else:
                facts = self._surveyed(survey, [self._part(site, cut) for cut in cuts])
                yield from (partial(self._merged, self._part(site, cut), facts) for cut in cuts)

    def _survey_of(self, site: Site) -> Survey | None:
        """A new survey of one tensor, where the method makes one for each."""
        spec = self.arithmetic.spec
        if spec.survey is None or self._surveys_model or self.arithmetic.averages(site):
            return None
        return spec.survey(**self._parameters(site, self._counting)) if site.elements else None

    def _parameters(self, site: Site, rows: tuple[int, ...]) -> dict[str, Any]:
        experts = [self.names[row] for row in rows[1:]]
        return self.arithmetic.spec.for_tensor(self.arithmetic.parameters, site, experts)

    @property
    def _surveys_model(self) -> bool:
        return self.arithmetic.spec.survey_scope(self.arithmetic.parameters) == "model"

    def _cuts(self, site: Site) -> list[slice]:
        """How a tensor is cut: as the method asks, and so that a slice of all sources fits in memory."""
        cut = "slice" if self.arithmetic.averages(site) else self.arithmetic.spec.cut
        if cut == "tensor":
            return [slice(0, site.elements)] if site.elements else []
        step = max(self.held // (len(self.names) + 1), 1)
        if cut == "rows":
            columns = max(site.shape[-1], 1) if site.shape else 1
            step = max(step // columns, 1) * columns
        return [slice(start, min(start + step, site.elements)) for start in range(0, site.elements, step)]

    def _part(self, site: Site, cut: slice, rows: tuple[int, ...] | None = None) -> Callable[[], Part]:
        return partial(self._read_part, site, cut, rows)

    def _read_part(self, site: Site, cut: slice, rows: tuple[int, ...] | None) -> Part:
        """The sources in these rows, or where none are told all that count."""
        shape = self._shape(site, cut)
        # All are read to be merged, so that NaN in one that counts for nothing is found too.
        read = range(len(self.names)) if rows is None else rows
        values = {row: self.read(site, row, cut.start, cut.stop) for row in read}
        weights = self.arithmetic.coefficients.for_tensor(site)
        kept = self._counting if rows is None else rows
        return Part(
            site,
            tuple(values[row].reshape(shape) for row in kept),
            tuple(weights[row] for row in kept),
            cut.start,
            tuple(self.names[row] for row in kept),
            statistics=self._statistics(site, cut),
        )

    @cached_property
    def _counting(self) -> tuple[int, ...]:
        """The base and the experts that count for something, or all where the method wants that many."""
        counts = self.arithmetic.coefficients.counts
        experts = [row for row, name in enumerate(self.names) if row and counts(name)]
        enough = len(experts) >= self.arithmetic.spec.experts[0]
        return (0, *experts) if enough else tuple(range(len(self.names)))

    def _shape(self, site: Site, cut: slice) -> tuple[int, ...]:
        if self.arithmetic.averages(site) or self.arithmetic.spec.cut == "slice":
            return (cut.stop - cut.start,)
        if self.arithmetic.spec.cut == "rows":
            return (-1, site.shape[-1] if site.shape else 1)
        return site.shape

    def _statistics(self, site: Site, cut: slice) -> tuple[Float32, ...] | None:
        spec = self.arithmetic.spec
        if spec.statistics is None or self.arithmetic.averages(site):
            return None
        if self.read_statistics is None:
            raise EmbedmergeError(f"method {spec.name}: needs statistics of every source ({spec.statistics})")
        weights = self.arithmetic.coefficients.for_tensor(site)
        found: list[Float32] = []
        for row in self._counting:
            asked = weights[row] != 0
            values = self.read_statistics(site, row, cut.start, cut.stop) if asked else NO_STATISTICS
            if values is None:
                return None
            found.append(values)
        return tuple(found)

    def _surveyed(
        self,
        survey: Survey,
        parts: Sequence[Callable[[], Part]],
        progress: Callable[[int], None] | None = None,
    ) -> Any:
        again = True
        while again:
            for elements, seen in self.workers.in_order(partial(_look, survey, part) for part in parts):
                survey.add(seen)
                if progress:
                    progress(elements)
            again = survey.finish_pass()
        return survey.facts

    def _merged(self, part: Callable[[], Part], facts: Any) -> tuple[Site, int, NDArray[Any]]:
        read = replace(part(), facts=facts)
        return read.site, read.start, self.finish(read.site, self.arithmetic.merge(read).reshape(-1))

    def _surveyed_and_merged(
        self, part: Callable[[], Part], survey: Survey
    ) -> tuple[Site, int, NDArray[Any]]:
        read = part()
        again = True
        while again:
            survey.add(survey.look(read))
            again = survey.finish_pass()
        return self._merged(lambda: read, survey.facts)


def _look(survey: Survey, part: Callable[[], Part]) -> tuple[int, Any]:
    read = part()
    return read.base.size, survey.look(read)
