"""Where nothing may be left out (`PLUSONE_TEST_SKIP_NOTHING`, which CI sets), a skip is a failure, a module's too."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final, TypeVar

import pytest

from plusone.lab.processes import choose_ports
from tests.conformance.reasons import is_registered

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

NOTHING_MAY_BE_SKIPPED: Final = bool(os.environ.get("PLUSONE_TEST_SKIP_NOTHING"))

# Test processes that run side by side choose among ports of their own.
choose_ports(int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _judged(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _judged(report)


def _judged(report: Report) -> Report:
    if NOTHING_MAY_BE_SKIPPED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not is_registered(reason):
            report.outcome = "failed"
            report.longrepr = f"nothing may be skipped here, and this was: {reason}"
    return report
