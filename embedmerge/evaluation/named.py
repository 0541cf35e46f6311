"""How a task is named: in a suite, in a recipe and on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from embedmerge.errors import EmbedmergeError

ENTRY = "task entry"  # stands in the place of a fault, and is no key
# NAME[language,language]:split
NAME = re.compile(r"(?P<task>.+?)(\[(?P<languages>[^\[\]]*)\])?(:(?P<split>[^:/\\]*))?", re.DOTALL)


class Prompts(BaseModel):
    """What is put before texts in place of the model's own prompts.

    Attributes:
        query: Before a query; None for the model's own, empty for none.
        document: Before a document.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str | None = None
    document: str | None = None


class NamedTask(BaseModel):
    """A task by its name, with what is said of it besides.

    Attributes:
        task: mteb task or benchmark, folder or file of a collection, or a pattern such as `*` for
            collections below the data folder; `NAME[deu]:dev` is short for languages and split.
        split: Split of the qrels.
        languages: ISO 639-3 codes such as `deu`, or names of mteb's subsets such as `de`.
        prompts: What is put before texts in place of the model's own prompts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    split: str | None = None
    languages: tuple[str, ...] = ()
    prompts: Prompts | None = None

    @property
    def stated_prompts(self) -> dict[str, str] | None:
        """`query` and `document` as far as they are given."""
        return self.prompts.model_dump(exclude_none=True) or None if self.prompts else None

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for any number of collections."""
        return any(sign in self.task for sign in "*?")


def _kind(value: Any) -> str:
    return "name" if isinstance(value, str) else ENTRY


TaskName = Annotated[
    Annotated[str, Tag("name")] | Annotated[NamedTask, Tag(ENTRY)],
    Discriminator(_kind),
]


def named(given: str | NamedTask) -> NamedTask:
    """The task with languages and split taken out of its name.

    >>> named("MIRACLRetrieval[de,fr]:dev")
    NamedTask(task='MIRACLRetrieval', split='dev', languages=('de', 'fr'), prompts=None)
    >>> named("MTEB(eng, v2)").task
    'MTEB(eng, v2)'

    Raises:
        EmbedmergeError: They are given twice, in different ways.
    """
    entry = NamedTask(task=given) if isinstance(given, str) else given
    task, split, languages = _parsed(entry.task)
    for stated, said in ((entry.split, split), (entry.languages, languages)):
        if stated and said and stated != said:
            raise EmbedmergeError(
                f"{entry.task}: says {said!r} by its name and {stated!r} beside it; say one"
            )
    return entry.model_copy(
        update={
            "task": task,
            "split": split if split is not None else entry.split,
            "languages": languages or entry.languages,
        }
    )


def _parsed(name: str) -> tuple[str, str | None, tuple[str, ...]]:
    if not name.strip():
        raise EmbedmergeError("a task's name is empty; name an mteb task or benchmark, or a folder")
    if Path(name).expanduser().exists():
        return name, None, ()
    before, colon, after = name.rpartition(":")
    if colon and Path(before).expanduser().exists():
        return before, after, ()
    match = NAME.fullmatch(name)
    if match is None:
        raise EmbedmergeError(
            f"{name}: not a task's name; it is NAME, NAME[language] or NAME[language]:split"
        )
    listed = (match["languages"] or "").split(",")
    return match["task"], match["split"], tuple(each.strip() for each in listed if each.strip())
