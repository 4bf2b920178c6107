"""The suite on the reference store."""

from __future__ import annotations

import pytest

from plusone.clock import Clock
from plusone.stores.protocol import Store
from plusone.stores.registry import make_store
from tests.conformance.harness import DAY_MS, NewStore
from tests.conformance.suite import ConformanceSuite


@pytest.fixture
def store_url() -> str:
    return "memory://"


@pytest.fixture
def new_store(store_url: str) -> NewStore:
    """The same store again and again: here a URL leads to new memory each time."""

    made: list[Store] = []

    def make(*, clock: Clock | None = None, token_retention_ms: int = DAY_MS) -> Store:
        if not made:
            made.append(make_store(store_url, clock=clock or Clock(), token_retention_ms=token_retention_ms))
        return made[0]

    return make


class TestMemory(ConformanceSuite):
    pass
