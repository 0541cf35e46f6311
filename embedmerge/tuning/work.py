"""The folder beside a tuned model: what an interrupted run goes on from, and what is left to merge with.

Beside the model `law/`, with its `tuning.json`, lies `law-tuning/`:

- `run.json` says which run it is;
- `held-out/` and `examples/` are the queries that are not trained on, as BEIR folders;
- `pairs.jsonl` is what is trained on, and `trainer/` holds checkpoints; both are gone when the run is over;
- `checkpoints/` are the models along the way, each a whole folder, and `adapter/` LoRA's, where asked for.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmerge.atomic import refuse_occupied, write_json, write_text
from embedmerge.checkpoint.text_files import read_object
from embedmerge.errors import EmbedmergeError
from embedmerge.retrieval.collection import read_collection
from embedmerge.tuning.held_out import SPLIT, HeldOut
from embedmerge.tuning.record import read_record
from embedmerge.tuning.rows import Row
from embedmerge.tuning.training import START, TRAINER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedmerge.tuning.mining import Negatives, Pair
    from embedmerge.tuning.record import Record

RUN = "run.json"
PAIRS = "pairs.jsonl"
NEGATIVES = "negatives.json"
HELD_OUT = "held-out"
EXAMPLES = "examples"
CHECKPOINTS = "checkpoints"
ADAPTER = "adapter"
LAST_GOOD = "last-good"
_OWN = (RUN, PAIRS, NEGATIVES, HELD_OUT, EXAMPLES, CHECKPOINTS, ADAPTER, LAST_GOOD, START, TRAINER)


@dataclass(frozen=True)
class Work:
    """The folder beside a tuned model.

    Attributes:
        folder: Where it is.
        model: Where the tuned model goes.
    """

    folder: Path
    model: Path

    @classmethod
    def beside(cls, model: Path) -> Work:
        """The one of a model by its name."""
        return cls(model.parent / f"{model.name}-tuning", model)

    @property
    def trainer(self) -> Path:
        """The trainer's checkpoints."""
        return self.folder / TRAINER

    @property
    def examples(self) -> str:
        """The examples as a strategy takes them."""
        return f"{self.folder / EXAMPLES}:{SPLIT}"

    @property
    def along_the_way(self) -> tuple[Path, ...]:
        """The models along the way, the earliest first."""
        return tuple(sorted((self.folder / CHECKPOINTS).glob("step-*")))

    def at_step(self, step: int) -> Path:
        """Where the model of a step goes."""
        return self.folder / CHECKPOINTS / f"step-{step:06d}"

    def require_tuned(self) -> None:
        """Refuse to remove what is no tuned model.

        Raises:
            EmbedmergeError: There is something else in the model's place.
        """
        if self.model.is_dir() and read_record(self.model) is not None:
            return
        try:
            refuse_occupied(self.model)
        except EmbedmergeError as error:
            msg = f"{self.model}: not empty and no tuned model; name another folder with -o"
            raise EmbedmergeError(msg) from error

    def clear(self) -> None:
        """Remove the run and its model; whatever is no run's is left alone."""
        shutil.rmtree(self.model, ignore_errors=True)
        for name in _OWN:
            _remove(self.folder / name)

    def done(self, record: Record) -> Record | None:
        """The record of the model, if this run has written it."""
        found = read_record(self.model) if self.model.is_dir() else None
        return found if found is not None and found.run == record.run else None

    def require_free(self, record: Record) -> None:
        """Refuse folders that hold anything but this run.

        Raises:
            EmbedmergeError: They hold another run, or something else.
        """
        if self.done(record) is None:
            refuse_occupied(self.model)
        if read_object(self.folder / RUN).get("run") not in (None, record.run):
            msg = (
                f"{self.folder}: holds a tuning with other settings, data or versions; give --fresh to start "
                "over, or another folder with -o"
            )
            raise EmbedmergeError(msg)

    def claim(self, record: Record) -> None:
        """Take the folder for a run."""
        write_json(self.folder / RUN, {"run": record.run, **record.facts})

    def pairs(
        self, make: Callable[[], tuple[Sequence[Pair], Negatives]]
    ) -> tuple[list[Pair], dict[str, int]]:
        """The training pairs, made once: mining them again might find others where two are as near.

        Args:
            make: Makes them.
        """
        if not (self.folder / NEGATIVES).exists():
            made, negatives = make()
            text = "".join(json.dumps(list(pair), ensure_ascii=False) + "\n" for pair in made)
            write_text(self.folder / PAIRS, text)
            write_json(self.folder / NEGATIVES, negatives.facts)
        with (self.folder / PAIRS).open(encoding="utf-8", newline="\n") as lines:
            return [tuple(json.loads(line)) for line in lines], read_object(self.folder / NEGATIVES)

    def held_out(self, name: str, make: Callable[[], HeldOut]) -> HeldOut:
        """Held-out queries, made once.

        Args:
            name: Name of their folder.
            make: Makes them.
        """
        folder = self.folder / name
        if not folder.exists():
            make().write(folder)
        collection = read_collection(folder, SPLIT)
        texts = collection.texts
        rows = tuple(
            Row(
                query["id"],
                query["text"],
                tuple(texts[place] for place in collection.qrels[query["id"]]),
            )
            for query in collection.queries
        )
        return HeldOut(rows, tuple(dict.fromkeys(texts.values())))

    def finish(self) -> None:
        """Remove what only an unfinished run needs."""
        for name in (TRAINER, PAIRS, NEGATIVES, START, LAST_GOOD):
            _remove(self.folder / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
