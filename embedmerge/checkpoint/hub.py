"""From a folder or a hub id to a folder on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from embedmerge.errors import EmbedmergeError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Enough to read, gate, encode and export; never the ONNX or TensorFlow copies beside it. Code that
# comes with a model is copied into the merged one and never run.
WANTED = [
    *("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py", "README.md"),
    *("LICENSE*", "LICENCE*", "COPYING"),
    *("colbert_linear.pt", "sparse_linear.pt"),
]
UNWANTED = ["onnx/*", "openvino/*"]
TORCH_WEIGHTS = re.compile(r"(?P<folder>(?:.*/)?)(?:pytorch_model[\w.-]*|adapter_model)\.bin")


@dataclass(frozen=True)
class Location:
    """A source on disk.

    Attributes:
        given: The folder as the user wrote it, or the hub id alone.
        folder: The folder on this machine.
        revision: The commit for a hub id, None for a folder.
    """

    given: str
    folder: Path
    revision: str | None


def locate(given: str, revision: str | None = None) -> Location:
    """Find a source, through the hub or its cache where it is no folder.

    Args:
        given: A folder, or a hub id such as `BAAI/bge-small-en-v1.5`, with `@revision` where one is wanted.
        revision: Branch, tag or commit on the hub; must be None for a folder.

    Raises:
        EmbedmergeError: Neither a folder nor a model that the hub or its cache can give.
    """
    if not given.strip():  # the empty path is the current folder, which nobody means
        raise EmbedmergeError("a source has an empty path; name a folder or a hub id")
    try:
        folder = Path(given).expanduser()
        is_folder = folder.is_dir()
    except (RuntimeError, ValueError, OSError) as error:  # no such user; a null character; too long a name
        raise _no_folder(given) from error
    if is_folder:
        if revision is not None:
            msg = f"{given}: a folder has no revision; remove `revision`, or name a hub id"
            raise EmbedmergeError(msg)
        return Location(given, folder, None)
    if folder.exists():
        msg = f"{given}: a file, where a model folder is wanted; name the folder that holds it"
        raise EmbedmergeError(msg)
    name, _, stated = given.partition("@")
    if not HUB_ID.fullmatch(name) or (stated and revision is not None):
        raise _no_folder(given)
    return _snapshot(name, revision or stated or None)


def _no_folder(given: str) -> EmbedmergeError:
    return EmbedmergeError(
        f"{given}: no such folder; check the path, or give a hub id such as BAAI/bge-small-en-v1.5"
    )


def _snapshot(given: str, revision: str | None) -> Location:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # of the HTTP client that this version of the library stands on
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    asked = f"{given}@{revision}" if revision else given
    try:
        snapshot = Path(
            snapshot_download(
                given,
                revision=revision,
                allow_patterns=[*WANTED, *_torch_weights(given, revision)],
                ignore_patterns=UNWANTED,
                # Asked for a commit, some versions go to the hub although it is in the cache.
                local_files_only=constants.is_offline_mode(),
            )
        )
    except RepositoryNotFoundError as error:
        msg = f"{asked}: no such folder here and no such model on the hub; check the spelling or the token"
        raise EmbedmergeError(msg) from error
    except LocalEntryNotFoundError as error:
        msg = f"{asked}: no such folder here, not in the hub cache, and the hub cannot be reached"
        raise EmbedmergeError(msg) from error
    except HFValidationError as error:
        raise _no_folder(given) from error
    except (HTTPError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        msg = f"{asked}: no such folder here, and the hub did not give it ({reason})"
        raise EmbedmergeError(msg) from error
    return Location(given, snapshot, snapshot.name)


def _torch_weights(given: str, revision: str | None) -> list[str]:
    """The .bin weights of those folders of a repository that hold no safetensors; none without the hub."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        listed = HfApi().list_repo_files(given, revision=revision)
    except (HTTPError, OSError):  # the download that follows says what is wrong, or finds it in the cache
        return []
    safe = {name.rpartition("/")[0] for name in listed if name.endswith(".safetensors")}
    torch_weights = [match for name in listed if (match := TORCH_WEIGHTS.fullmatch(name))]
    return [match.string for match in torch_weights if match["folder"].rstrip("/") not in safe]
