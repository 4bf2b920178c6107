"""What the kernel tells of processes, in /proc. A system without one tells nothing: there, nobody is waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_STOPPED: Final = frozenset("Tt")
_ENDED: Final = frozenset("ZX")


class Process(NamedTuple):
    pid: int
    parent: int
    group: int


def processes() -> Iterator[Process]:
    """All that run."""
    for folder in Path("/proc").glob("[0-9]*"):
        if (told := _stat(folder)) is not None:
            yield Process(int(folder.name), int(told[1]), int(told[2]))


def runs(pid: int) -> bool:
    """Whether this process has not ended; one that stands still has not."""
    return _stat(Path(f"/proc/{pid}")) is not None


def stands_still(pid: int) -> bool:
    """Whether each thread of this process is stopped, or has ended.

    A signal is delivered when the thread that it is for gets its turn. Until then the others go on.
    """
    threads = (_stat(thread) for thread in Path(f"/proc/{pid}/task").glob("[0-9]*"))
    return all(told is None or told[0] in _STOPPED for told in threads)


def _stat(folder: Path) -> Sequence[str] | None:
    """State, parent and group of a process, or of a thread; None if it has ended."""
    try:
        told = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if told[0] in _ENDED else told
