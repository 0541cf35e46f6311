"""A hub on this machine: as much of the Hugging Face Hub's interface as its clients ask for, over folders."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from hub_uploads import WRITING, Receiving

if TYPE_CHECKING:
    from pathlib import Path

IN_LFS = ("*.parquet", "*.safetensors")  # the hub keeps binary files elsewhere and redirects to them


@dataclass(frozen=True)
class Repository:
    """A folder that is served as one commit."""

    folder: Path
    commit: str
    refs: tuple[str, ...] = ("main",)

    def knows(self, revision: str) -> bool:
        return revision in (self.commit, *self.refs)

    def files(self) -> dict[str, Path]:
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}

    def entries(self, below: str = "", recursive: bool = True) -> list[dict[str, Any]]:
        """What the hub lists of files and folders below a folder."""
        prefix = f"{below}/" if below else ""
        files = {place: path for place, path in self.files().items() if place.startswith(prefix)}
        folders = {
            "/".join(place.split("/")[:depth])
            for place in files
            for depth in range(1, place.count("/") + 1)
            if depth > prefix.count("/")
        }
        listed = [{"type": "directory", "path": place, "size": 0, "oid": "d" * 40} for place in folders]
        listed += [described(place, path) for place, path in files.items()]
        return [entry for entry in listed if recursive or "/" not in entry["path"].removeprefix(prefix)]


class Handler(Receiving, BaseHTTPRequestHandler):
    """Answers one request."""

    hub: LoopbackHub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        place = unquote(path).strip("/")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(place)
        if WRITING.fullmatch(place):
            return self.answer_writing(place)
        api = place.startswith("api/")
        kind = "dataset" if place.removeprefix("api/").startswith("datasets/") else "model"
        parts = path.strip("/").removeprefix("api/").removeprefix(f"{kind}s/").split("/") + [""] * 2
        owner, name, *rest = map(unquote, parts)  # a revision may have slashes of its own
        identity, rest = f"{owner}/{name}", [part for part in rest if part]
        if identity in self.hub.silent:
            self.close_connection = True
        elif identity in self.hub.ill:
            self.reply(500, b"")
        elif (kind, identity) not in self.hub.repositories or identity in self.hub.late:
            self.hub.late.discard(identity)
            self.missing("RepoNotFound")
        elif api:
            self.answer_api(identity, self.hub.repositories[kind, identity], rest, parse_qs(query))
        else:
            self.answer_file(self.hub.repositories[kind, identity], rest)

    def answer_api(
        self, identity: str, repository: Repository, rest: list[str], query: dict[str, list[str]]
    ) -> None:
        what, revision, *below = rest or ["revision", "main"]
        if not repository.knows(revision):
            return self.missing("RevisionNotFound")
        if what == "revision":
            files = [{"rfilename": place} for place in repository.files()]
            private = self.hub.private.get(identity, False)
            value: Any = {"id": identity, "sha": repository.commit, "private": private, "siblings": files}
        elif what == "tree":
            value = repository.entries("/".join(below), query.get("recursive", [""])[0].lower() == "true")
            if below and not value:
                return self.missing("EntryNotFound")
        elif what == "paths-info":
            wanted = self.wanted_paths()
            value = [entry for entry in repository.entries() if entry["path"] in wanted]
        else:
            return self.missing("RepoNotFound")
        return self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def wanted_paths(self) -> list[str]:
        text = self.body.decode()
        if "json" in self.headers.get("Content-Type", ""):
            return list(json.loads(text)["paths"])
        return parse_qs(text).get("paths", [])

    def answer_file(self, repository: Repository, rest: list[str]) -> None:
        how, revision, place = rest[0], rest[1], "/".join(rest[2:])
        if not repository.knows(revision):
            return self.missing("RevisionNotFound")
        path = repository.files().get(place)
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if path is None:
            return self.missing("EntryNotFound", headers)
        content, entry = path.read_bytes(), described(place, path)
        tag = f'"{entry.get("lfs", entry)["oid"]}"'
        if how == "resolve" and "lfs" in entry:
            headers |= {
                "X-Linked-ETag": tag,
                "X-Linked-Size": str(len(content)),
                "Location": self.hub.endpoint + self.path.partition("?")[0].replace("/resolve/", "/stored/"),
            }
            return self.reply(302, b"", headers)
        return self.reply_range(content, headers | {"ETag": tag})

    def reply_range(self, content: bytes, headers: dict[str, str]) -> None:
        """The content, or the one range of it that is asked for."""
        first, dash, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not dash or not first:
            return self.reply(200, content, headers)
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self.reply(206, content[start : end + 1], headers)

    def missing(self, code: str, headers: dict[str, str] | None = None) -> None:
        self.reply(404, json.dumps({"error": code}).encode(), {"X-Error-Code": code, **(headers or {})})

    def reply(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class LoopbackHub:
    """A server of models and data sets, and the record of what it was asked.

    Attributes:
        endpoint: Its address, for `HF_ENDPOINT`.
        asked: The path of every request.
        silent: Ids on which it hangs up.
        ill: Ids on which it answers 500.
        late: Ids that it does not know when asked for the first time.
        tokens: Whose a token is, of those who may write to their own models.
        shelf: Folder for models that are sent; None takes none.
        private: Whether a model is private, by id.
        messages: Branch and message of every commit.
        spoilt: What arrives in place of a large file, by its place.
    """

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.shelf: Path | None = None
        self.private: dict[str, bool] = {}
        self.messages: list[tuple[str, str]] = []
        self.received: dict[str, bytes] = {}
        self.spoilt: dict[str, bytes] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.ill: set[str] = set()
        self.late: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(
        self, kind: str, identity: str, folder: Path, commit: str, refs: tuple[str, ...] = ("main",)
    ) -> None:
        """Serve a folder as a `model` or a `dataset`."""
        self.repositories[kind, identity] = Repository(folder, commit, refs)

    def renew(self, identity: str, commit: str) -> None:
        """Serve a model's folder as another commit."""
        before = self.repositories["model", identity]
        self.repositories["model", identity] = replace(before, commit=commit)

    def add_ref(self, identity: str, ref: str) -> None:
        """Serve a model's folder under a further branch."""
        before = self.repositories["model", identity]
        self.repositories["model", identity] = replace(before, refs=(*before.refs, ref))

    def close(self) -> None:
        """Stop; a later request finds nobody there."""
        self._server.shutdown()
        self._server.server_close()


def described(place: str, path: Path) -> dict[str, Any]:
    """What the hub says of one file."""
    content = path.read_bytes()
    entry = {
        "type": "file",
        "path": place,
        "size": len(content),
        "oid": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
    }
    if any(fnmatch(place, pattern) for pattern in IN_LFS):
        stored = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        entry["lfs"] = stored
    return entry


def environment(endpoint: str, home: Path, offline: bool = False) -> dict[str, str]:
    """Variables of a process that sees this hub and no other, with caches of its own below `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith(("_proxy", "_offline"))
        and not name.startswith(("HF_", "HUGGING"))
        and name != "EMBEDMERGE_CACHE"  # scores kept there would be given without asking for the data
    }
    kept |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "EMBEDMERGE_CACHE": str(home / "embedmerge")}
    return kept | ({"HF_HUB_OFFLINE": "1"} if offline else {})
