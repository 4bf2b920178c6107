"""Where and with what it was measured."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from plusone.lab import machine

_PACKAGES: Final = ("plusone", "redis", "hiredis", "uvloop", "granian")
_VERSION: Final = re.compile(r"\d+(\.\d+)+")


class Machine(msgspec.Struct, frozen=True):
    """The machine and the versions of everything that took part."""

    cores: int
    processor: str
    system: str
    python: str
    filesystem: str
    """Of the folder that SQLite wrote to."""
    versions: dict[str, str]

    def sentence(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"{self.cores} cores of {self.processor}, {self.system}, Python {self.python}, {self.filesystem};"
            f" {versions}"
        )


def this_machine() -> Machine:
    versions = {
        "redis-server": _asked("redis-server", "--version"),
        "webdis": _installed("webdis"),
        "wrk": _asked("wrk", "-v"),
        "SQLite": sqlite3.sqlite_version,
    }
    versions |= {{"redis": "redis-py"}.get(name, name): importlib.metadata.version(name) for name in _PACKAGES}
    return Machine(
        cores=machine.cores(),
        processor=machine.processor(),
        system=f"Linux {platform.release().split('-')[0]}",
        python=platform.python_version(),
        filesystem=_filesystem(Path(tempfile.gettempdir())),
        versions=versions,
    )


def _asked(program: str, option: str) -> str:
    if shutil.which(program) is None:
        return "not installed"
    found = _VERSION.search(subprocess.run([program, option], capture_output=True, text=True).stdout)
    return found[0] if found else "unknown"


def _installed(package: str) -> str:
    """For a program that does not tell its version: the package manager's."""
    if shutil.which(package) is None:
        return "not installed"
    if shutil.which("dpkg-query") is None:
        return "unknown"
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(command, capture_output=True, text=True).stdout or "unknown"


def _filesystem(folder: Path) -> str:
    """The type of the mount that the folder is on: the one with the longest path that leads to it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    leading = [(where, kind) for where, kind in mounts if folder.resolve().is_relative_to(where)]
    return max(leading, key=lambda mount: len(mount[0]))[1]
