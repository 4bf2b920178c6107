"""The suite on DynamoDB Local; its faults are in a module of their own, which runs beside this one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("aiobotocore")

from tests.conformance.suite import ConformanceSuite
from tests.servers.dynamodb import own_table, shared_url, skip_without_dynamodb

skip_without_dynamodb()


@pytest.fixture(scope="module")
def one_server() -> Iterator[str]:
    with shared_url() as url:
        yield url


class TestDynamoDB(ConformanceSuite):
    @pytest.fixture
    def store_url(self, one_server: str) -> Iterator[str]:
        yield from own_table(one_server)
