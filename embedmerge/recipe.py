"""The recipe, and the lock that says all of it again with nothing left open."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError, model_validator

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.named import ENTRY
from embedmerge.evaluation.suites import Sides, Suite, bundled_suites
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.streaming import Arithmetic
from embedmerge.mixture import SHARD_BYTES
from embedmerge.recipe_paths import expanded, locate_paths, locate_tasks
from embedmerge.retrieval.settings import Backend, EncodingSettings, Precision
from embedmerge.sources import SourceSpec, short_name
from embedmerge.statistics.text import require_fitting
from embedmerge.weighting.registry import STRATEGIES, Weighting
from embedmerge.weighting.strategy import MethodChoice

if TYPE_CHECKING:
    from collections.abc import Iterator

ANCHOR = "anchor"
RESERVED = ("uniform", "cocktail", "placebo", "chosen", "merged", ANCHOR)
HALF_WAY = 0.5
COPY = "configs/ has recipes to copy"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _path_alone(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Base(_Part):
    """The model all experts were tuned from.

    Attributes:
        path: Folder or hub id; `base: BAAI/bge-small-en-v1.5` is short for it.
        revision: Branch, tag or commit of a hub id.
        name: Name in weights and reports.
        pooling: How it pools, where it is a folder that does not say: cls, mean, lasttoken, ...
        normalise: Whether its vectors are scaled to length one, where `pooling` is given.
    """

    path: str
    revision: str | None = None
    name: str = "base"
    pooling: Literal["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"] | None = None
    normalise: bool | None = None


class Expert(_Part):
    """A model tuned from the base.

    Attributes:
        path: Folder or hub id.
        revision: Branch, tag or commit of a hub id.
        name: Name in weights and reports; the last part of the path where left out.
        role: `target` for the user's own fine-tune, `peer` for any other.
    """

    path: str
    revision: str | None = None
    name: str = ""
    role: Literal["target", "peer"] = "peer"

    @property
    def label(self) -> str:
        """The name, given or not."""
        return self.name or short_name(self.path)


class Method(_Part):
    """How tensors are combined.

    Attributes:
        name: A merging method; `method: linear` is short for it.
        parameters: Parameters of the method, and modifiers: scale, lines, clamp, exclude.
        dtype: Type of the merged tensors; None keeps the base's.
        shard_size: Size such as `5GB` from which on a file of weights is cut into several.
        text: File of unlabelled text, for a method that needs statistics.
    """

    name: str = "linear"
    parameters: dict[str, Any] = {}
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    shard_size: ByteSize = Field(default=SHARD_BYTES, gt=0, validate_default=True)
    text: str | None = None

    @property
    def choice(self) -> MethodChoice:
        """Name and parameters."""
        return MethodChoice(self.name, dict(self.parameters))


def _name_alone(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Anchor(_Part):
    """What takes the base's place while weights are chosen: all experts merged first.

    The fine-tune alone is then weighed against it, and the guard keeps what the peers know too.

    Attributes:
        name: A merging method that needs no text; `anchor: iso_cts` is short for it.
        parameters: Its parameters and modifiers. Where no `scale` is given it stops half-way from the base.
    """

    name: str = "iso_cts"
    parameters: dict[str, Any] = {}

    @property
    def choice(self) -> MethodChoice:
        """Name and parameters."""
        return MethodChoice(self.name, {"scale": HALF_WAY, **self.parameters})


class Evaluation(Sides):
    """What the merged model is checked on, beside base, experts and uniform average.

    Attributes:
        target: Tasks of the target domain: mteb names, or collections with an optional `:split`, each
            alone or as `{task, split, languages, prompts: {query, document}}`.
        general: Tasks that stand for everything else.
        suite: Name of a suite that comes with embedmerge, such as `nano`, or a YAML file with further
            `target` and `general` tasks.
    """

    suite: str | None = None


class Encoding(_Part):
    """How texts are encoded.

    Attributes:
        precision: `fp32`, `bf16`, or `auto` for bf16 where the processor has it natively.
        max_seq_length: Tokens after which text is cut; None for each model's own.
        device: Torch device; None for sentence-transformers' choice.
        devices: Devices that evaluation encodes on at a time, one process each.
        threads: Batches that are computed at a time on a CPU; no result depends on it.
        trust_remote_code: Whether code that comes with a model may run.
        backend: `torch`; `onnx` or `openvino` for evaluation, where collections are large.
    """

    precision: Precision = "fp32"
    max_seq_length: int | None = Field(default=None, gt=0)
    device: str | None = None
    devices: tuple[str, ...] = ()
    threads: int | None = Field(default=None, gt=0)
    trust_remote_code: bool = False
    backend: Backend = "torch"

    @model_validator(mode="after")
    def _possible(self) -> Encoding:
        self.settings()
        return self

    def settings(self) -> EncodingSettings:
        """As the encoder takes it."""
        return EncodingSettings(**self.model_dump())


class Output(_Part):
    """What is written.

    Attributes:
        folder: Run folder; `-o` on the command line goes before it.
    """

    folder: str | None = None


class Recipe(_Part):
    """Everything a run needs to know.

    Attributes:
        title: Name in the report; the file's where left out.
        base: The model all experts were tuned from.
        experts: At least one.
        anchor: What takes the base's place while weights are chosen; None for the base itself.
        method: How tensors are combined.
        weighting: How coefficients are chosen.
        evaluation: What the result is checked on.
        encoding: How texts are encoded.
        output: What is written.
    """

    title: str = ""
    base: Annotated[Base, BeforeValidator(_path_alone)]
    experts: tuple[Annotated[Expert, BeforeValidator(_path_alone)], ...] = Field(min_length=1)
    anchor: Annotated[Anchor | None, BeforeValidator(_name_alone)] = None
    method: Annotated[Method, BeforeValidator(_name_alone)] = Method()
    weighting: Weighting
    evaluation: Evaluation = Evaluation()
    encoding: Encoding = Encoding()
    output: Output = Output()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [spec.name for spec in self.sources()]
        for name in names:
            if names.count(name) > 1 or name in RESERVED:
                why = "is a name of the report's" if name in RESERVED else "names two sources"
                msg = f"experts: {name!r} {why}; give each source its own name"
                raise EmbedmergeError(msg)
        if sum(expert.role == "target" for expert in self.experts) > 1:
            msg = "experts: two have the role target; one is the fine-tune in question, the others are peers"
            raise EmbedmergeError(msg)
        self._require_fitting_anchor(names)
        weighed = self.weighed
        arithmetic = Arithmetic.of(self.method.name, self.method.parameters, Coefficients.uniform(weighed))
        require_fitting(arithmetic.spec, self.method.text)
        self.weighting.require_consistent(weighed, self.method.choice)
        return self

    def _require_fitting_anchor(self, names: list[str]) -> None:
        if self.anchor is None:
            return
        if self.fine_tune is None or len(self.experts) < 2:
            msg = "anchor: weighs the fine-tune against a merge of all experts; "
            raise EmbedmergeError(f"{msg}give it an expert with the role target and a peer at least")
        choice = self.anchor.choice
        arithmetic = Arithmetic.of(choice.name, choice.parameters, Coefficients.experts_alone(names))
        if arithmetic.spec.statistics is not None:
            msg = f"anchor: {choice.name} needs text for its statistics; take a method that needs none"
            raise EmbedmergeError(f"{msg}, such as iso_cts")

    def sources(self) -> list[SourceSpec]:
        """Base and experts, base first."""
        experts = [
            SourceSpec(expert.label, expert.path, expert.role, expert.revision) for expert in self.experts
        ]
        base = self.base
        spec = SourceSpec(base.name, base.path, "base", base.revision, base.pooling, base.normalise)
        return [spec, *experts]

    @property
    def weighed(self) -> list[str]:
        """Names of what weights are chosen for: base and experts, or the anchor and the fine-tune."""
        if self.anchor and self.fine_tune:
            return [ANCHOR, self.fine_tune]
        return [spec.name for spec in self.sources()]

    @property
    def fine_tune(self) -> str | None:
        """Name of the target expert."""
        return next((expert.label for expert in self.experts if expert.role == "target"), None)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; folders and files in it are taken from where the recipe lies.

    `~` and environment variables such as `$EMBEDMERGE_DATA` are filled in.

    Raises:
        EmbedmergeError: Missing, not YAML, an unknown key, or a value that does not fit.
    """
    content = read_mapping(path, COPY)
    recipe = _validated(content, str(path))
    located = recipe.model_dump()
    located["title"] = recipe.title or path.stem
    locate_paths(located, path.parent)
    return _validated(located, str(path))


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """A recipe from a mapping, for Python callers; paths are taken as they are.

    >>> parse_recipe({"base": "b", "experts": ["e"], "weighting": {"weights": {"e": 0.3}}}).method.name
    'linear'

    Raises:
        EmbedmergeError: An unknown key, or a value that does not fit.
    """
    return _validated(content, "recipe")


def read_suite(given: str | Path) -> Suite:
    """A suite by its name or from its file; folders are taken from where the file lies.

    >>> len(read_suite("nano").general)
    9

    Args:
        given: Name of a suite that comes with embedmerge, or a file.

    Raises:
        EmbedmergeError: No such suite or file, not YAML, or a key it should not have.
    """
    known = bundled_suites()
    path = known.get(str(given)) or Path(expanded(str(given)))
    content = read_mapping(path, f"a suite is a YAML file, or one of {', '.join(known)}")
    try:
        located = Suite.model_validate(content).model_dump()
        locate_tasks(located, path.parent)
        return Suite.model_validate(located).with_languages()
    except ValidationError as error:
        raise _readable(error, str(path), Suite) from error


def read_mapping(path: Path, otherwise: str) -> dict[str, Any]:
    """Keys and values of a YAML file.

    Args:
        path: The file.
        otherwise: What to do where there is none, for the error.

    Raises:
        EmbedmergeError: Missing, not text, not YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EmbedmergeError(f"{path}: no such file; {otherwise}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise EmbedmergeError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise EmbedmergeError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(content, dict):
        raise EmbedmergeError(f"{path}: not a mapping of keys to values; {otherwise}")
    return content


def _validated(content: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _readable(error, where, Recipe) from error
    except EmbedmergeError as error:
        raise EmbedmergeError(f"{where}: {error}") from error


def _readable(error: ValidationError, where: str, root: type[BaseModel]) -> EmbedmergeError:
    """The first fault as one line that names the key and, where it is unknown, the nearest one."""
    # A misspelt key is often missing under its right name too; the spelling is what to mend.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    location = [part for part in fault["loc"] if part not in (*STRATEGIES, ENTRY)]
    key = ".".join(str(part) for part in location) or "recipe"
    if fault["type"] == "extra_forbidden":
        fields = list(_model_at(root, fault["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(fault["loc"][-1]), fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(fields)}"
        return EmbedmergeError(f"{where}: {key}: unknown key; {hint}")
    if fault["type"] == "missing":
        return EmbedmergeError(f"{where}: {key}: missing, and needed")
    if fault["type"].startswith("union_tag"):
        return EmbedmergeError(f"{where}: {key}: give `weights`, or a `strategy` of {', '.join(STRATEGIES)}")
    return EmbedmergeError(f"{where}: {key}: {fault['msg']} (found {fault['input']!r})")


def _model_at(root: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    model = root
    for part in location:
        if part in STRATEGIES:
            model = STRATEGIES[str(part)]
        elif part in model.model_fields:
            model = next(_models_in(model.model_fields[str(part)].annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
