"""What every command does with an error: one readable line, and an exit code."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from embedmerge.errors import EmbedmergeError

BAD_INPUT = 2
INTERNAL = 1
INTERRUPTED = 130


class Commands(TyperGroup):
    """A group whose commands end in one line instead of a traceback, unless `--debug` is given."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; bad input exits with 2, an interruption with 130, anything else with 1."""
        try:
            return super().invoke(ctx)
        except EmbedmergeError as error:
            self._end(ctx, f"error: {error}", BAD_INPUT, error)
        except KeyboardInterrupt as error:
            self._end(ctx, "interrupted; the same command goes on from here", INTERRUPTED, error)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            self._end(ctx, f"error: {place}{error.strerror or error}", BAD_INPUT, error)
        except Exception as error:
            if hasattr(error, "exit_code") or isinstance(error, typer.Exit | typer.Abort):
                raise  # the command line's own: usage errors, and ends that are none
            text = f"internal error: {type(error).__name__}: {error}; `embedmerge --debug ...` shows where"
            self._end(ctx, text, INTERNAL, error)

    @staticmethod
    def _end(ctx: Any, text: str, code: int, error: BaseException) -> None:
        if ctx.params.get("debug"):
            raise error
        typer.echo(" ".join(text.split()), err=True)
        raise typer.Exit(code)
