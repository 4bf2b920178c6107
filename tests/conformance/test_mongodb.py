"""The suite on MongoDB's protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("pymongo")

from plusone.lab.servers.mongo import url_of
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.mongo import (
    CAN_START,
    FORGOTTEN_SOCKETS,
    mongo_server,
    own_collection,
    shared_url,
    skip_without_mongo,
)

skip_without_mongo()
pytestmark = FORGOTTEN_SOCKETS


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


if CAN_START:  # a server of the user's alone is not ours to kill

    class TestMongoDBThatKeeps(CrashSuite):
        """A server that has everything in its file before it answers."""

        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with mongo_server(keeps=True) as server, server.shown():
                yield Crashing(url_of(server), server, keeps=True)

    class TestMongoDBThatForgets(CrashSuite):
        """One that loses the last second."""

        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with mongo_server() as server, server.shown():
                yield Crashing(url_of(server), server, keeps=False)
