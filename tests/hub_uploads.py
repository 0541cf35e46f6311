"""The writing half of the hub on this machine: repositories made, files received, cards checked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from fnmatch import fnmatch
from typing import Any

import yaml

WRITING = re.compile(
    r"api/(?:whoami-v2|validate-yaml|repos/create)|api/models/[^/]+/[^/]+/(?:preupload|commit|branch)/.+"
    r"|[^/]+/[^/]+\.git/info/lfs/objects/batch|received/[0-9a-f]{64}"
)
TYPES = {"license": str, "library_name": str, "pipeline_tag": str, "base_model_relation": str}
LICENCES = {"mit", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-3.0", "lgpl-3.0", "other"}
RESULT = {"task": ("type",), "dataset": ("type", "name"), "metrics": ("type", "value")}


class Receiving:
    """Answers requests that write; mixed into a handler with `reply`, `missing`, `hub` and `body`."""

    def answer_writing(self, place: str) -> None:
        """Answer one request whose path `WRITING` matches."""
        if place.startswith("received/"):
            self.hub.received[place.removeprefix("received/")] = self.body
            return self.reply(200, b"")
        if place == "api/validate-yaml":
            return self.validate(json.loads(self.body)["content"])
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.hub.tokens:
            return self.say(401, {"error": "Invalid username or password."})
        return self.answer_known(place, token)

    def answer_known(self, place: str, token: str) -> None:
        """Answer somebody whose token is known."""
        if place == "api/whoami-v2":
            return self.say(200, {"type": "user", "name": self.hub.tokens[token], "orgs": []})
        if place == "api/repos/create":
            return self.create(self.hub.tokens[token], json.loads(self.body))
        if place.endswith("/batch"):
            return self.say(
                200, {"objects": [self.wanted(each) for each in json.loads(self.body)["objects"]]}
            )
        _, _, owner, name, what, *revision = place.split("/")
        if owner != self.hub.tokens[token]:
            return self.say(403, {"error": f"you may not write to {owner}"})
        if what == "preupload":
            return self.say(200, {"files": [mode(each) for each in json.loads(self.body)["files"]]})
        if what == "branch":
            self.hub.add_ref(f"{owner}/{name}", "/".join(revision))
            return self.say(200, {})
        return self.commit(f"{owner}/{name}", "/".join(revision))

    def create(self, user: str, asked: dict[str, Any]) -> None:
        """Make an empty repository; 409 where there is one."""
        identity = f"{asked.get('organization') or user}/{asked['name']}"
        url = {"url": f"{self.hub.endpoint}/{identity}"}
        if not identity.startswith(f"{user}/"):
            return self.say(403, {"error": "not your namespace"})
        if ("model", identity) in self.hub.repositories:
            return self.say(409, url)
        folder = self.hub.shelf / identity.replace("/", "--")
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
        self.hub.serve("model", identity, folder, "0" * 40)
        private = asked.get("visibility", "public") == "private" or bool(asked.get("private"))
        self.hub.private[identity] = private
        return self.say(200, url)

    def wanted(self, described: dict[str, Any]) -> dict[str, Any]:
        """Where to put a large file."""
        href = f"{self.hub.endpoint}/received/{described['oid']}"
        return {**described, "actions": {"upload": {"href": href}}}

    def commit(self, identity: str, revision: str) -> None:
        """Carry out the lines of a commit."""
        folder = self.hub.repositories["model", identity].folder
        lines = [json.loads(line) for line in self.body.splitlines()]
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header":
                self.hub.messages.append((revision, value["summary"]))
                continue
            path = folder / value["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if key == "file":
                path.write_bytes(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                content = self.hub.received[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                path.write_bytes(self.hub.spoilt.get(value["path"], content))
            else:
                path.unlink()
        oid = hashlib.sha1(self.body, usedforsecurity=False).hexdigest()
        self.hub.renew(identity, oid)
        answer = {
            "success": True,
            "commitOid": oid,
            "commitUrl": f"{self.hub.endpoint}/{identity}/commit/{oid}",
        }
        if "create_pr=1" in self.path:
            self.hub.add_ref(identity, "refs/pr/1")
            answer["pullRequestUrl"] = f"{self.hub.endpoint}/{identity}/discussions/1"
        return self.say(200, answer)

    def validate(self, content: str) -> None:
        """What the hub's check of a card looks at."""
        faults = list(metadata_faults(yaml.safe_load(content.split("---\n")[1])))
        if faults:
            return self.reply(400, json.dumps({"errors": [{"message": each} for each in faults]}).encode())
        return self.say(200, {"errors": [], "warnings": []})

    def say(self, status: int, value: Any) -> None:
        self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def mode(described: dict[str, Any]) -> dict[str, Any]:
    """How the hub wants a file: large ones apart."""
    large = any(fnmatch(described["path"], each) for each in ("*.safetensors", "*.onnx", "*.bin"))
    return {"path": described["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}


def metadata_faults(data: dict[str, Any]):
    """Faults of a card's metadata, by the hub's documentation of it."""
    for key, kind in TYPES.items():
        if key in data and not isinstance(data[key], kind):
            yield f'"{key}" must be a string'
    if data.get("license", "mit") not in LICENCES:
        yield f'"license" must be one of {sorted(LICENCES)}'
    tags, bases = data.get("tags", []), data.get("base_model", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        yield '"tags" must be a list of strings'
    bases = [bases] if isinstance(bases, str) else bases
    if not all(isinstance(base, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", base) for base in bases):
        yield '"base_model" must be ids of models'
    for place, model in enumerate(data.get("model-index", [])):
        if not model.get("name") or not isinstance(model.get("results"), list):
            yield f'"model-index[{place}]" must have a name and results'
        yield from (fault for result in model.get("results") or [] for fault in result_faults(result))


def result_faults(result: dict[str, Any]):
    """Faults of one result of a model-index."""
    for part, keys in RESULT.items():
        entries = result.get(part) or [{}]
        for entry in entries if isinstance(entries, list) else [entries]:
            for key in keys:
                if entry.get(key) in (None, ""):
                    yield f'"model-index: {part}.{key}" is required'
    for metric in result.get("metrics") or []:
        if isinstance(metric.get("value"), str):
            yield '"model-index: metrics.value" must be a number'
