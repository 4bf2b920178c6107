"""Runs tests on a copy of the package in which a line was changed. The checkout is not touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.mutations.mutants import Mutant
from tests.mutations.witness import VARIABLE, Ended

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "src" / "plusone"
WITHIN_SECONDS: Final = 60
"""For each test, and thrice that for a selection; a mutant that hangs is not caught by an assertion."""


def mutate(text: str, mutant: Mutant) -> str:
    """The file's text with the line changed; it must stand there once."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines) if line.strip() == mutant.before]
    assert len(found) == 1, f"{mutant.file} has the line {len(found)} times: {mutant.before}"
    line = lines[found[0]]
    lines[found[0]] = line[: len(line) - len(line.lstrip())] + mutant.after
    return "\n".join(lines) + "\n"


def overlay(folder: Path, mutant: Mutant | None) -> Path:
    """A copy of the package in `folder`, changed; what goes onto PYTHONPATH."""
    copy = folder / "plusone"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        file = copy / mutant.file
        file.write_text(mutate(file.read_text(encoding="utf-8"), mutant), encoding="utf-8")
    return folder


class Ran(msgspec.Struct, frozen=True):
    """What a run of pytest came to."""

    status: int
    """pytest's exit status."""
    ended: Sequence[Ended]
    output: str


def run(tests: Sequence[str], package: Path, report: Path, servers: Mapping[str, str]) -> Ran:
    """Run these tests with the package in that folder until one fails; `report` is a file to write into."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST_", "COV_CORE_"))}
    # Plugins that are found by themselves take longer to import than most selections take to run.
    environment = {
        **ours,
        **servers,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(package),
        VARIABLE: str(report),
    }
    plugins = ("-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "tests.mutations.witness")
    options = ("-x", "-q", *plugins, "--timeout", str(WITHIN_SECONDS))
    process = subprocess.run(
        (sys.executable, "-m", "pytest", *options, *tests),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=3 * WITHIN_SECONDS,
        check=False,
    )
    lines = report.read_bytes().splitlines() if report.exists() else []
    ended = [msgspec.json.decode(line, type=Ended) for line in lines]
    return Ran(process.returncode, ended, process.stdout.decode(errors="replace"))
