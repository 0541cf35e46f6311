"""The data of mteb's own tasks: from the hub or, offline, from what its cache holds."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable


def with_cached_data(task: Any) -> Any:
    """Make an mteb task load its data offline too, whatever filled the cache.

    Offline, `datasets` takes a data set without a default configuration (all of NanoBEIR) for
    missing and never reads the files that `hf download` brings. So the snapshot in the hub's cache
    is loaded as a folder there, while the task keeps the hub's name and revision.

    Args:
        task: The task; its own `load_data` is wrapped.

    Returns:
        The same task. Whatever keeps its data away is an `EmbedmergeError` of one line from then on.
    """
    own = task.load_data

    def load_data(*args: Any, **kwargs: Any) -> None:
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HTTPError

        _stay_with_the_hub()
        try:
            _load(task, lambda: own(*args, **kwargs))
        except (OSError, ValueError, DatasetsError, HTTPError) as error:
            raise _unavailable(task, error) from error

    task.load_data = load_data
    return task


def is_cached(task: Any) -> bool:
    """Whether a task's data is in the hub's cache or among the tables of `datasets`, at its revision."""
    dataset = task.metadata.dataset
    snapshot = _snapshot(dataset)
    if snapshot is not None and any(
        file.is_file() and file.name != "README.md" for file in snapshot.rglob("*")
    ):
        return True
    return dataset["revision"] in _revisions(dataset)


def fetch_command(task: Any) -> str:
    """What to run where there is a network, to get a task's data at its revision."""
    dataset = task.metadata.dataset
    return f"hf download {dataset['path']} --repo-type dataset --revision {dataset['revision']}"


def _unavailable(task: Any, error: Exception) -> EmbedmergeError:
    """Which task, which revision, why not, and how to bring it."""
    from huggingface_hub import constants

    dataset = task.metadata.dataset
    reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(". ")
    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{dataset['path'].replace('/', '--')}"
    return EmbedmergeError(
        f"{task.metadata.name}: its data ({dataset['path']}@{dataset['revision']}) is not in the Hugging "
        f"Face cache and cannot be fetched ({reason}); where there is a network run `{fetch_command(task)}` "
        f"and bring what it fetched as {folder}, or name a local collection"
    )


def _load(task: Any, own: Callable[[], None]) -> None:
    """From the snapshot where offline and there is one, else as `datasets` does it."""
    if not _is_offline():
        return own()
    published = task.metadata
    snapshot = _snapshot(published.dataset)
    if snapshot is not None:
        dataset = {**published.dataset, "path": str(snapshot)}
        task.metadata = published.model_copy(update={"dataset": dataset})
        try:
            return own()
        except Exception as error:  # half a snapshot; the tables that `datasets` made may still be whole
            logging.getLogger(__name__).debug("%s: %s", snapshot, error)
        finally:
            task.metadata = published
    _refuse_other_revisions(published.dataset)
    return own()


def _is_offline() -> bool:
    from datasets import config
    from huggingface_hub import constants

    return bool(config.HF_HUB_OFFLINE or constants.HF_HUB_OFFLINE)


def _snapshot(dataset: dict[str, Any]) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        found = snapshot_download(
            dataset["path"],
            repo_type="dataset",
            revision=dataset["revision"],
            local_files_only=True,
            ignore_patterns=[".*"],  # `datasets` never fetches .gitattributes
        )
    except (OSError, HFValidationError):
        return None
    return Path(found)


def _refuse_other_revisions(dataset: dict[str, Any]) -> None:
    """Offline, `datasets` takes the newest tables it has of a data set, whatever revision is asked for."""
    if _revisions(dataset) - {dataset["revision"]}:
        raise FileNotFoundError(f"{_tables(dataset)} holds other revisions of it")


def _revisions(dataset: dict[str, Any]) -> set[str]:
    """Revisions of which `datasets` has tables."""
    return {found.name for found in _tables(dataset).glob("*/*/*") if found.is_dir()}


def _tables(dataset: dict[str, Any]) -> Path:
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    *owner, name = dataset["path"].split("/")
    return Path(config.HF_DATASETS_CACHE) / "___".join([*owner, camelcase_to_snakecase(name)])


def _stay_with_the_hub() -> None:
    from datasets import config

    # `datasets` reports every load to a host that is not the hub and waits up to 3 s for it, seven
    # times a task: on a network that reaches only a hub's mirror that is minutes for a benchmark.
    if "HF_UPDATE_DOWNLOAD_COUNTS" not in os.environ:
        config.HF_UPDATE_DOWNLOAD_COUNTS = False
    for chatty in ("datasets", "huggingface_hub"):  # the error that ends it all is one line, and says it
        logging.getLogger(chatty).setLevel(logging.ERROR)
