"""DynamoDB Local behind a line that has faults, and one that stands still and is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("aiobotocore")

from plusone.lab.processes import ServerProcess
from plusone.lab.servers.dynamodb import dynamodb_server, url_of
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.servers.dynamodb import HAS_DYNAMODB, own_table, shared_url, skip_without_dynamodb

skip_without_dynamodb()


@pytest.fixture(scope="module")
def one_server() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"DynamoDB_20120810.BatchExecute" in request or b"20120810.ExecuteTransaction" in request


class TestDynamoDBFaults(FaultSuite):
    attempt_seconds = 0.5

    @pytest.fixture
    def store_url(self, one_server: str) -> Iterator[str]:
        yield from own_table(one_server)


if HAS_DYNAMODB:  # a server of the user's is not ours to harm

    @pytest.fixture(scope="module")
    def harmed() -> Iterator[ServerProcess]:
        with dynamodb_server(keeps=True) as server:
            yield server

    class TestDynamoDBCrashes(CrashSuite):
        @pytest.fixture
        def crashing(self, harmed: ServerProcess) -> Iterator[Crashing]:
            with harmed.shown():
                for url in own_table(url_of(harmed)):
                    yield Crashing(url, harmed, keeps=True)
