"""A merged model to the Hugging Face Hub: looked at first, sent only when told to, compared afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedmerge.checkpoint.lineage import file_sha256
from embedmerge.errors import EmbedmergeError
from embedmerge.exporting.hub_card import card_faults, validate_on_hub
from embedmerge.exporting.hub_errors import readable
from embedmerge.exporting.readers import unreadable
from embedmerge.manifest import NAME as MANIFEST
from embedmerge.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from huggingface_hub import HfApi

    Progress = Callable[[str, int, int], None]

MAIN = "main"
ATTRIBUTES = ".gitattributes"  # the hub's own


@dataclass(frozen=True)
class Upload:
    """What is, or would be, sent.

    Attributes:
        folder: The model.
        repo_id: Where to, such as `me/legal-retriever`.
        revision: Branch.
        private: Whether a repository made for it is private.
        files: Size of every file in bytes, by its place.
        notes: What the reader of the model should know: programs that cannot read it, a card without licence.
        url: Of the commit or pull request; None where nothing was sent.
    """

    folder: Path
    repo_id: str
    revision: str
    private: bool
    files: dict[str, int]
    notes: tuple[str, ...] = ()
    url: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """As `--json` says it."""
        return {
            "model": str(self.folder),
            "repo_id": self.repo_id,
            "revision": self.revision,
            "private": self.private,
            "files": self.files,
            "bytes": sum(self.files.values()),
            "notes": list(self.notes),
            "uploaded": self.url is not None,
            "url": self.url,
        }


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        repo_id: Where to.
        private: Whether a repository made for it is private, and a public one refused.
        revision: Branch; made where there is none.
        message: Of the commit.
        create_pr: Open a pull request in place of a commit.
        replace: Remove files of the repository that the model has not.
    """

    repo_id: str
    private: bool = True
    revision: str | None = None
    message: str | None = None
    create_pr: bool = False
    replace: bool = False


def plan_upload(folder: Path, request: Request, progress: Progress | None = None) -> Upload:
    """Check everything that can be checked here. The hub is not asked, and nothing is sent.

    Args:
        folder: A model that embedmerge has written.
        request: Where to and how.
        progress: Called with a label, bytes done and bytes in all.

    Returns:
        What would be sent.

    Raises:
        EmbedmergeError: A bad name, a file that is not as recorded, or a card that the hub would not take.
    """
    _require_name(request)
    verification = verify(folder, progress=progress)
    wrong = [(place, state) for place, state in verification.states.items() if state != "ok"]
    if wrong:
        place, state = wrong[0]
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        msg = (
            f"{folder / place}: {state}{more}, against {MANIFEST}; not what was merged, so it is not uploaded"
        )
        raise EmbedmergeError(msg)
    faults = card_faults(folder / "README.md")
    if faults.errors:
        raise EmbedmergeError(f"{folder / 'README.md'}: {faults.errors[0]}; the hub would not take this card")
    places = sorted([*verification.manifest.files, MANIFEST])
    return Upload(
        folder,
        request.repo_id,
        request.revision or MAIN,
        request.private,
        {place: (folder / place).stat().st_size for place in places},
        (*faults.warnings, *map(str, unreadable(folder))),
    )


def _require_name(request: Request) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(request.repo_id)
    except HFValidationError as error:
        msg = f"{request.repo_id}: no name of a repository; it is OWNER/NAME, such as me/legal-retriever"
        raise EmbedmergeError(msg) from error
    if request.create_pr and request.revision not in (None, MAIN):
        raise EmbedmergeError("--create-pr: a pull request is against main; leave --revision out")


def upload(plan: Upload, request: Request) -> Upload:
    """Send what was planned, and compare what arrived.

    Args:
        plan: From `plan_upload` of the same request.
        request: Where to and how.

    Returns:
        The plan with the address of the commit.

    Raises:
        EmbedmergeError: No token, no right to write, a public repository where a private one is meant, files
            of another model in it, a card that the hub refuses, no connection, or other bytes on arrival.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        msg = f"{request.repo_id}: no token for the hub; run `hf auth login`, or set HF_TOKEN"
        raise EmbedmergeError(msg)
    api = HfApi(library_name="embedmerge")
    with readable(request.repo_id):
        validate_on_hub(plan.folder / "README.md")
        _prepare(api, plan, request)
        stale = _stale(api, plan, request)
        sent = api.upload_folder(
            repo_id=request.repo_id,
            folder_path=plan.folder,
            allow_patterns=list(plan.files),
            delete_patterns=stale or None,
            revision=None if request.create_pr else plan.revision,
            create_pr=request.create_pr,
            commit_message=request.message or "Upload a model merged with embedmerge",
        )
        # The hub gives a pull request's own revision only through its address.
        arrived = f"refs/pr/{sent.pr_num}" if request.create_pr else plan.revision
        _require_arrived(api, plan, arrived)
    return Upload(**{**vars(plan), "url": str(sent.pr_url or sent.commit_url)})


def _prepare(api: HfApi, plan: Upload, request: Request) -> None:
    """Make repository and branch where there are none."""
    if not api.repo_exists(plan.repo_id):
        api.create_repo(plan.repo_id, private=plan.private, exist_ok=True)
    elif plan.private and not api.model_info(plan.repo_id).private:
        msg = f"{plan.repo_id}: is there and is public; give --public if everybody may have this model"
        raise EmbedmergeError(msg)
    if plan.revision != MAIN and not request.create_pr:
        api.create_branch(plan.repo_id, branch=plan.revision, exist_ok=True)


def _stale(api: HfApi, plan: Upload, request: Request) -> list[str]:
    """Files that lie there and are none of this model's: another model's shards would be loaded with it."""
    there = api.list_repo_files(plan.repo_id, revision=plan.revision)
    stale = sorted(set(there) - {*plan.files, ATTRIBUTES})
    if stale and not request.replace:
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        msg = f"{plan.repo_id}: holds {stale[0]}{more}, which this model has not"
        raise EmbedmergeError(f"{msg}; give --replace to have them removed, or another repository")
    return stale


def _require_arrived(api: HfApi, plan: Upload, revision: str) -> None:
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(plan.repo_id, recursive=True, revision=revision)
    there = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    for place, size in plan.files.items():
        entry = there.get(place)
        digest = entry.lfs.sha256 if entry and entry.lfs else None
        if entry is None or entry.size != size or (digest and digest != file_sha256(plan.folder / place)):
            what = "did not arrive" if entry is None else "arrived with other bytes"
            raise EmbedmergeError(f"{plan.repo_id}: {place} {what}; push again")
