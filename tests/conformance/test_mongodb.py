"""The suite on MongoDB's protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("pymongo")

from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.mongo import own_collection, shared_url, skip_without_mongo

skip_without_mongo()


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture
def store_url(server_url: str) -> Iterator[str]:
    yield from own_collection(server_url)


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"update\0" in request[:64]


class TestMongoDB(ConformanceSuite, FaultSuite):
    pass
