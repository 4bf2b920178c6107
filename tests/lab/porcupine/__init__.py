"""Porcupine, the checker in Go, as the tests run it: built once into the user's cache, under its sources' hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from plusone.lab.history import Event

_SOURCES: Final = ("go.mod", "go.sum", "main.go")
_PROGRAM: Final = "porcupine"
BUILDS_WITHIN_SECONDS: Final = 300


def porcupine() -> Path:
    """The program. Skips the test where there is no Go to build it with."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(name.encode() + b"\0" + (here / name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plusone"
    target = cache / f"{_PROGRAM}-{digest.hexdigest()[:16]}"
    if (target / _PROGRAM).exists():
        return target / _PROGRAM
    if shutil.which("go") is None:
        pytest.skip("go is not installed: apt-get install golang-go")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as place:
        work = Path(place) / "work"
        work.mkdir()
        for name in _SOURCES:
            shutil.copy(here / name, work)
        command = ["go", "build", "-mod=readonly", "-trimpath", "-o", _PROGRAM, "."]
        built = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=BUILDS_WITHIN_SECONDS)
        assert built.returncode == 0, built.stderr
        # Whoever builds at the same time, the first one's stays.
        if not target.is_dir():
            work.rename(target)
    return target / _PROGRAM


def verdicts(program: Path, histories: Sequence[Sequence[Event]]) -> list[str]:
    """What Porcupine says of each: ok or illegal."""
    lines = b"\n".join(msgspec.json.encode(history) for history in histories) + b"\n"
    done = subprocess.run([program], input=lines, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()
