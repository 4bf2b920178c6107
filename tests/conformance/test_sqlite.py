"""The suite on SQLite: a file per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.suite import ConformanceSuite


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/counters.db"


class TestSQLite(ConformanceSuite):
    pass
