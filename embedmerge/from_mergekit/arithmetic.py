"""The parameters of mergekit's methods as weights and parameters of ours with the same result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.hub import locate
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.from_mergekit.configuration import Configuration, Entry, Model
from embedmerge.from_mergekit.schedule import Schedule, normalised, pointwise, sums
from embedmerge.merging.per_expert import together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedmerge.merging.settings import Settings

    Experts = dict[str, Entry]

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Arithmetic:
    """What our method of the same name is given.

    Attributes:
        weights: One for each expert, in order; the base takes what is left to 1.
        parameters: Of our method, modifiers among them.
    """

    weights: list[Schedule]
    parameters: dict[str, Any]


def arithmetic_of(configuration: Configuration, base: Model, experts: Experts) -> Arithmetic:
    """Weights and parameters with which our method gives what mergekit's gives.

    Args:
        configuration: As it was read.
        base: The model that gives tokenizer and modules.
        experts: The other models, by the names that they get.

    Raises:
        EmbedmergeError: A parameter is missing, or has no counterpart here.
    """
    return ARITHMETIC[configuration.method](configuration, base, experts)


def _linear(configuration: Configuration, base: Model, experts: Experts) -> Arithmetic:
    """`Σ wᵢ θᵢ / Σ wᵢ`: the weights are divided by their sum, and the base's is what is left to 1."""
    own = next((entry for entry in configuration.entries if entry.model == base), None)
    first = own or Entry(base, {}, "base_model")
    weights = [_weight(configuration, entry) for entry in (first, *experts.values())]
    totals = sums(weights, "models") if not configuration.flag("normalize", True) else ()
    if any(abs(total - 1) > SUM_TOLERANCE for total in totals):
        msg = "with `normalize: false` the weights must add up to 1 everywhere"
        raise EmbedmergeError(f"models: {msg}, not to {_furthest_from_one(totals):g}")
    shares = normalised(weights, _blocks_of(base), "models")
    if any(abs(total - 1) > SUM_TOLERANCE for total in sums(shares, "models")):
        raise EmbedmergeError("models: the weights add up to 0, by which `normalize` would divide")
    return Arithmetic(shares[1:], {})


def _slerp(configuration: Configuration, base: Model, experts: Experts) -> Arithmetic:
    """Spherical from base to expert, whose weight t is."""
    if len(experts) != 1:
        raise EmbedmergeError(f"models: slerp takes one beside the base, not {len(experts)}")
    if "t" not in configuration.parameters:
        raise EmbedmergeError("parameters.t: missing, and slerp needs it")
    t = Schedule.parse(configuration.parameters["t"], "parameters.t")
    return Arithmetic([_require_complete(t, "parameters.t")], {})


def _task_arithmetic(configuration: Configuration, base: Model, experts: Experts) -> Arithmetic:
    """`θ₀ + λ Σ wᵢ τᵢ`, the weights divided by their sum where it says so."""
    weights = [_weight(configuration, entry) for entry in experts.values()]
    if configuration.flag("normalize", False):
        weights = normalised(weights, _blocks_of(base), "models")
    return Arithmetic(weights, _scaled(_lambda(configuration)))


def _ties(configuration: Configuration, base: Model, experts: Experts) -> Arithmetic:
    """Trimmed tensor by tensor; then as `_elected`."""
    densities = _densities(configuration, experts)
    trimmed = any(density.numbers != (1.0,) for density in densities.values())
    if configuration.flag("rescale", False) and trimmed:
        raise EmbedmergeError("parameters.rescale: enlarges what ties has trimmed, which is not translated")
    elected = _elected(configuration, base, experts, normalize=True)
    density = _by_expert(densities)
    return Arithmetic(elected.weights, {"density": density, "scope": "tensor", **elected.parameters})


def _dare_linear(configuration: Configuration, base: Model, experts: Experts) -> Arithmetic:
    """Task arithmetic on what is not dropped."""
    summed = _task_arithmetic(configuration, base, experts)
    return Arithmetic(summed.weights, {**_dropping(configuration, experts), **summed.parameters})


def _dare_ties(configuration: Configuration, base: Model, experts: Experts) -> Arithmetic:
    """An election on what is not dropped."""
    elected = _elected(configuration, base, experts, normalize=False)
    return Arithmetic(elected.weights, {**_dropping(configuration, experts), **elected.parameters})


def _elected(configuration: Configuration, base: Model, experts: Experts, *, normalize: bool) -> Arithmetic:
    """`λ Σ wᵢ τ̂ᵢ` over the elements that agree with the sign elected, divided by `Σ wᵢ` of them or not.

    Our mean is times the sum of the weights, so that they are given with sum 1; our sum is times the
    number of experts that count, by which λ is divided.
    """
    weights = [_weight(configuration, entry) for entry in experts.values()]
    if not configuration.flag("normalize", normalize):
        factor = _over_count(_lambda(configuration), weights, _blocks_of(base))
        return Arithmetic(weights, {"agg": "sum", **_scaled(factor)})
    if min(number for weight in weights for number in weight.numbers) < 0:
        msg = "with `normalize` what agrees is divided by a sum that may vanish where a weight is negative"
        raise EmbedmergeError(f"models: {msg}; give weights of at least 0, or `normalize: false`")
    shares = normalised(weights, _blocks_of(base), "models")
    return Arithmetic(shares, {"agg": "mean", **_scaled(_lambda(configuration))})


def _dropping(configuration: Configuration, experts: Experts) -> dict[str, Any]:
    rescale = "l1" if configuration.flag("rescale", True) else "none"
    return {"density": _by_expert(_densities(configuration, experts)), "rescale": rescale}


ARITHMETIC: dict[str, Callable[[Configuration, Model, Experts], Arithmetic]] = {
    "linear": _linear,
    "slerp": _slerp,
    "task_arithmetic": _task_arithmetic,
    "ties": _ties,
    "dare_linear": _dare_linear,
    "dare_ties": _dare_ties,
}


def _weight(configuration: Configuration, entry: Entry) -> Schedule:
    where = f"{entry.where}.parameters.weight"
    found = _schedule(configuration, entry, "weight")
    if found is None:
        raise EmbedmergeError(f"{where}: missing, and {configuration.method} needs it")
    return _require_complete(found, where)


def _densities(configuration: Configuration, experts: Experts) -> dict[str, Schedule]:
    """The share that is kept of each expert."""
    whole = Schedule.constant(1.0)
    found = {name: _schedule(configuration, entry, "density") for name, entry in experts.items()}
    return {name: (density or whole).otherwise(whole) for name, density in found.items()}


def _by_expert(schedules: dict[str, Schedule]) -> Settings:
    return together({name: schedule.setting for name, schedule in schedules.items()})


def _schedule(configuration: Configuration, entry: Entry, name: str) -> Schedule | None:
    """A parameter of one model: its own cases, then those for all models."""
    places = (
        (entry.parameters, f"{entry.where}.parameters.{name}"),
        (configuration.parameters, f"parameters.{name}"),
    )
    found = [Schedule.parse(given[name], where) for given, where in places if given.get(name) is not None]
    return found[0].otherwise(found[-1]) if found else None


def _require_complete(schedule: Schedule, where: str) -> Schedule:
    if not schedule.is_complete:
        raise EmbedmergeError(f"{where}: says nothing for other tensors; end with a `value` without `filter`")
    return schedule


def _lambda(configuration: Configuration) -> Schedule:
    given = configuration.parameters.get("lambda", 1.0)
    return Schedule.parse(given, "parameters.lambda").otherwise(Schedule.constant(1.0))


def _over_count(factor: Schedule, weights: list[Schedule], blocks: Callable[[], int]) -> Schedule:
    """A factor divided by the number of experts whose weight is not 0, tensor by tensor."""
    if not any(weight.may_vanish for weight in weights):
        return factor.times(1 / len(weights))

    def divided(numbers: Sequence[float]) -> float:
        return numbers[0] / max(sum(weight != 0 for weight in numbers[1:]), 1)

    return pointwise([factor, *weights], divided, blocks, "models")


def _scaled(factor: Schedule) -> dict[str, Any]:
    """The modifier `scale`, left out where it does nothing."""
    return {} if factor.setting == 1 else {"scale": factor.setting}


def _furthest_from_one(totals: tuple[float, ...]) -> float:
    return max(totals, key=lambda total: abs(total - 1))


def _blocks_of(base: Model) -> Callable[[], int]:
    """Opens the base only where its depth matters."""

    def blocks() -> int:
        depth = open_checkpoint(locate(base.path, base.revision)).depth
        if depth is None:
            msg = f"{base.path}: config.json says no number of layers, over which weights change"
            raise EmbedmergeError(msg)
        return depth

    return blocks
