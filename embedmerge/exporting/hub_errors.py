"""What goes wrong with the hub, in one line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED = {
    401: "the hub does not know the token; run `hf auth login` again",
    403: "the token may not write there; use one with write access, or a repository of your own",
    404: "there is none, or the token may not see it; check the name",
    413: "a file is too large for the hub",
}


@contextmanager
def readable(repo_id: str) -> Iterator[None]:
    """Turn the hub's errors into one readable line.

    Args:
        repo_id: What is being worked on.

    Raises:
        EmbedmergeError: In place of the library's errors.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise EmbedmergeError(f"{repo_id}: HF_HUB_OFFLINE is set; unset it to reach the hub") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = (
            REFUSED.get(status) or f"the hub answered {status}: {error.server_message or 'no reason given'}"
        )
        raise EmbedmergeError(f"{repo_id}: {reason}") from error
    except (HTTPError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EmbedmergeError(f"{repo_id}: the hub cannot be reached ({reason})") from error
