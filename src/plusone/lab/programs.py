"""Programs that the lab runs to their end, and the error of those that do not do what they should."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plusone.errors import PlusoneError

PRINTED_CHARACTERS_SHOWN: Final = 4_000
"""How much of a log an error shows: its end."""


class ServerFailed(PlusoneError):
    """A server that the lab started does not do what it should. The end of its log, in the message, says why."""

    code = "server-failed"
    http_status = 503


def run(
    command: Sequence[str | Path], folder: Path | None = None, *, user: str | None = None, seconds: float = 120
) -> str:
    """What a program printed, run to its end. Raises `ServerFailed` with the end of it, if it failed."""
    try:
        done = subprocess.run(  # noqa: S603  # the commands are the lab's own
            command,
            cwd=folder,
            user=user,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"{command[0]} took more than {seconds:.0f} s") from None
    if done.returncode:
        end = done.stdout[-PRINTED_CHARACTERS_SHOWN:].strip()
        raise ServerFailed(f"{command[0]} ended with status {done.returncode}; it printed at the end:\n{end}")
    return done.stdout
