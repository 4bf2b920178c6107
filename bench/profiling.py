"""Where the time goes on our own side of an entry."""

from __future__ import annotations

import contextlib
import cProfile
import os
import pstats
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import servers
from bench.measure import Entry

_LINES: Final = 25
_INSIDE: Final = Path(__file__).with_name("inside")


def profile(entry: Entry, seconds: float, console: Console) -> None:
    """Print the functions that take the most time, without what they call."""
    with servers.folder() as folder, _profiled_processes(folder):
        threads = _ThreadProfiles()
        with threads, entry.prepare() as pair:
            pair.ours(seconds / 2)
            own = cProfile.Profile()
            own.enable()
            figure = pair.ours(seconds)
            own.disable()
        console.print(f"{entry.name}: {figure:,.1f} {entry.unit} while profiled, which slows it down")
        _show("this process, the calling thread", own, console)
        for name, found in threads.found.items():
            _show(f"this process, thread {name}", found, console)
        for file in folder.glob("*.prof"):
            _show("a worker of the service", str(file), console)


def _show(title: str, found: cProfile.Profile | str, console: Console) -> None:
    text = StringIO()
    pstats.Stats(found, stream=text).sort_stats("tottime").print_stats(_LINES)
    console.rule(title)
    console.print(
        "\n".join(line for line in text.getvalue().splitlines() if line.strip()), markup=False, highlight=False
    )


class _ThreadProfiles:
    """A profiler for each thread that starts meanwhile."""

    def __init__(self) -> None:
        self.found: dict[str, cProfile.Profile] = {}

    def __enter__(self) -> None:
        threading.setprofile(self._begin)

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)

    def _begin(self, *_: object) -> None:
        found = self.found[threading.current_thread().name] = cProfile.Profile()
        found.enable()


@contextlib.contextmanager
def _profiled_processes(folder: Path) -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    os.environ["BENCH_PROFILES"] = str(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_INSIDE), before)))
    try:
        yield
    finally:
        del os.environ["BENCH_PROFILES"], os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
