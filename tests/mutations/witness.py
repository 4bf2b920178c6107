"""A plugin of pytest that writes down how each test ended, by an assertion or otherwise, and whose package it ran."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Final, Literal

import msgspec
import pytest

VARIABLE: Final = "PLUSONE_MUTATION_REPORT"


class Ended(msgspec.Struct, frozen=True):
    """How a test ended."""

    test: str
    how: Literal["passed", "assertion", "error", "skipped"]
    package: str
    """The folder that `plusone` was imported from."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    import plusone

    report = yield
    how: Literal["passed", "assertion", "error", "skipped"] = "passed"
    if report.skipped:
        how = "skipped"
    elif report.failed:
        how = "assertion" if call.when == "call" and _is_assertion(call.excinfo) else "error"
    if call.when == "call" or how != "passed":
        ended = Ended(item.nodeid, how, str(Path(plusone.__file__ or "").parent.parent))
        with Path(os.environ[VARIABLE]).open("ab") as file:
            file.write(msgspec.json.encode(ended) + b"\n")
    return report


def _is_assertion(excinfo: pytest.ExceptionInfo[BaseException] | None) -> bool:
    return excinfo is not None and _holds_assertion(excinfo.value)


def _holds_assertion(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_holds_assertion(each) for each in error.exceptions)
    return isinstance(error, AssertionError | pytest.fail.Exception)
