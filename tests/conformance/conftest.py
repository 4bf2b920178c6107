"""Fixtures of the conformance suite, and the rule that every skip has a registered reason."""

from __future__ import annotations

from collections.abc import Generator

import pytest

_MODULES = ("harness", "steps", "records", "tokens", "names", "facade", "facade_tokens", "faults", "crashes")
pytest.register_assert_rewrite(*(f"tests.conformance.{module}" for module in _MODULES))

from plusone.clock import Clock  # noqa: E402
from plusone.lab import proxies  # noqa: E402
from plusone.stores.protocol import Store  # noqa: E402
from plusone.stores.registry import make_store  # noqa: E402
from tests.conformance.faults import Proxied  # noqa: E402
from tests.conformance.harness import DAY_MS, NewStore, World  # noqa: E402
from tests.conformance.reasons import is_registered  # noqa: E402


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_store(store_url: str) -> NewStore:
    def make(*, clock: Clock | None = None, token_retention_ms: int = DAY_MS) -> Store:
        return make_store(store_url, clock=clock or Clock(), token_retention_ms=token_retention_ms)

    return make


@pytest.fixture
def proxied() -> Proxied:
    return proxies.proxied


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip whose reason is not registered is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not is_registered(reason):
            report.outcome = "failed"
            report.longrepr = f"skipped for a reason that tests/conformance/reasons.py does not register: {reason}"
    return report
