"""Whether a model card is one that the hub takes, as far as that can be told without asking it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError
from embedmerge.report.redaction import local_path

if TYPE_CHECKING:
    from pathlib import Path

BAD_REQUEST = 400
# What the hub shows a widget and a snippet for, of what a merged model may be.
TASKS = ("sentence-similarity", "feature-extraction")


@dataclass
class CardFaults:
    """What is wrong with a card.

    Attributes:
        errors: What the hub refuses, or must not be published.
        warnings: What its readers will miss.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def card_faults(path: Path) -> CardFaults:
    """Parse a card as huggingface_hub does, and look at what it says.

    Args:
        path: `README.md` of a model folder; need not be there.
    """
    if not path.is_file():
        return CardFaults(warnings=["no README.md: people who find this model will not know what it is"])
    content = path.read_text(encoding="utf-8", errors="replace")
    faults = CardFaults()
    try:
        data = _metadata(content)
    except Exception as error:  # yaml's, and whatever the library makes of a wrong model-index
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return CardFaults(errors=[f"its metadata cannot be read ({reason})"])
    faults.errors += _wrong(data)
    if path_named := local_path(content):
        faults.warnings.append(f"the card names {path_named}: is that a path of this machine?")
    if not data.get("license"):
        faults.warnings.append("the card names no licence: say what the sources allow before others use it")
    return faults


def _metadata(content: str) -> dict[str, Any]:
    from huggingface_hub import ModelCard

    # With `ignore_metadata_errors` a wrong model-index would be dropped in silence.
    card = ModelCard(content, ignore_metadata_errors=False)
    found: dict[str, Any] = card.data.to_dict()
    return found


def _wrong(data: dict[str, Any]) -> list[str]:
    base = data.get("base_model") or []
    bases = [base] if isinstance(base, str) else base
    wrong = [f"base_model {each!r} is no id on the hub" for each in bases if not _is_id(each)]
    if data.get("library_name") != "sentence-transformers":
        wrong.append("library_name is not sentence-transformers")
    if data.get("pipeline_tag") not in TASKS:
        wrong.append(f"pipeline_tag is none of {', '.join(TASKS)}")
    if not all(isinstance(tag, str) for tag in data.get("tags") or []):
        wrong.append("a tag is no text")
    return wrong


def _is_id(given: Any) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(given)
    except HFValidationError:
        return False
    return True


def validate_on_hub(path: Path) -> None:
    """Have the hub itself check the card.

    `ModelCard.validate` asks the same, but some versions ask huggingface.co whatever HF_ENDPOINT says.

    Raises:
        EmbedmergeError: It refuses it.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session, hf_raise_for_status

    if not path.is_file():
        return
    asked = {"repoType": "model", "content": path.read_text(encoding="utf-8")}
    response = get_session().post(f"{constants.ENDPOINT}/api/validate-yaml", json=asked)
    if response.status_code == BAD_REQUEST:
        raise EmbedmergeError(f"{path}: the hub refuses this card: {_reasons(response.text)}")
    hf_raise_for_status(response)


def _reasons(answer: str) -> str:
    """The hub's messages, of which it sends a list."""
    try:
        return "; ".join(each["message"] for each in json.loads(answer)["errors"])
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.split())
