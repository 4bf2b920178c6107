"""Runs as `plusone verify` and `plusone compare` left them: folders with a `result.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from plusone.errors import ConfigurationError
from plusone.lab.results import FORMAT, Comparison, Result, Verification

FILE: Final = "result.json"
RUNS_MAX: Final = 1_000
BYTES_MAX: Final = 32 * 1024 * 1024
MEMBERS_MAX: Final = 100_000
"""Of any list in a result: points of a timeline, promises, columns, …"""
WITNESSES_MAX: Final = 10_000
"""Operations of one contradiction. They are the smallest set, so there are few."""
NANOSECONDS_MAX: Final = 2**63


class Run(msgspec.Struct, frozen=True):
    """A result, and what to call it."""

    name: str
    """The run's folder, or the file, without what leads to it."""
    result: Result


class _Kind(msgspec.Struct):
    type: str = "nothing"
    format: int = 0


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in these folders or `result.json` files; one that is named twice is read once.

    A folder without a result of its own stands for the runs in it, two levels deep: what a verification of several
    subjects wrote, or all of `plusone-runs`.

    Raises ConfigurationError, with the file's name, where one is missing, malformed, of another format or too large.
    """
    files = list(dict.fromkeys(file.resolve() for path in paths for file in _files(path)))
    if len(files) > RUNS_MAX:
        raise ConfigurationError(f"RUN: at most {RUNS_MAX:,} runs fit into one report, not {len(files):,}")
    return [_read(file) for file in files]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    for pattern in (FILE, f"*/{FILE}", f"*/*/{FILE}"):
        if found := sorted(path.glob(pattern)):
            return found
    raise ConfigurationError(f"{path}: there is no {FILE} in this folder: is it a run that did not finish?")


def _read(file: Path) -> Run:
    try:
        if (size := file.stat().st_size) > BYTES_MAX:
            raise ConfigurationError(f"{file}: {size:,} bytes; a result has at most {BYTES_MAX:,}")
        content = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    name = file.parent.name if file.name == FILE else file.stem
    return Run(name or file.name, _decoded(file, content))


def _decoded(file: Path, content: bytes) -> Result:
    try:
        kind = msgspec.json.decode(content, type=_Kind)
        if kind.type not in ("verification", "comparison"):
            raise ConfigurationError(f"{file}: not a result of `plusone verify` or `plusone compare`")
        if kind.format != FORMAT:
            raise ConfigurationError(f"{file}: of format {kind.format}; this version of plusone reads format {FORMAT}")
        result = msgspec.json.decode(content, type=Verification | Comparison)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file}: not a result of the lab: {error}") from error
    if problem := _unusable(result):
        raise ConfigurationError(f"{file}: {problem}")
    return result


def _unusable(result: Result) -> str | None:
    """What no run writes: a list that is too long, times that make no sense. None if all is well."""
    for field in result.__struct_fields__:
        value = getattr(result, field)
        if not isinstance(value, str | int | float) and len(value) > MEMBERS_MAX:
            return f"{field}: {len(value):,} members; at most {MEMBERS_MAX:,}"
    for contradiction in result.contradictions if isinstance(result, Verification) else ():
        if len(contradiction.operations) > WITNESSES_MAX:
            return f"contradictions: one has {len(contradiction.operations):,} operations; at most {WITNESSES_MAX:,}"
        for each in contradiction.operations:
            if not 0 <= each.called_ns <= (each.answered_ns or each.called_ns) < NANOSECONDS_MAX:
                return f"contradictions: operation {each.number} is answered before it is called, or never began"
    return None
