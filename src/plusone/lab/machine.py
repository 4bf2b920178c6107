"""Where a run took place, for whoever compares it with another."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

_PACKAGES: Final = (
    "plusone",
    "uvloop",
    "aetcd",
    "aiobotocore",
    "asyncmy",
    "asyncpg",
    "grpcio",
    "hiredis",
    "pymongo",
    "redis",
)


def this_machine() -> str:
    """Cores, processor and system, in a line."""
    return f"{cores()} cores of {processor()}, {platform.system()} {platform.release().split('-')[0]}"


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Python's version, and those of plusone and of the drivers that are installed."""
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
