"""The suite on an emulator of Momento, which has the real wire types; Momento itself was not run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

from plusone.lab.servers.momento import api_key, momento_emulator, url_of
from plusone.stores.momento.blob import MAGIC
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.momento import own_prefix, shared_url


@pytest.fixture(scope="module")
def one_cache() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture
def is_apply() -> IsApply:
    # The method's name is on the wire only once: HTTP/2 indexes it. Each item that is written begins with this.
    return lambda request: MAGIC in request


class TestMomento(ConformanceSuite, FaultSuite, CrashSuite):
    @pytest.fixture
    def store_url(self, one_cache: str) -> str:
        return own_prefix(one_cache)

    @pytest.fixture
    def crashing(self) -> Iterator[Crashing]:
        with momento_emulator() as server, api_key():
            yield Crashing(url_of(server), server, keeps=False)
