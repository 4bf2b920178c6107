"""etcd, three members. The tests remove what they made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("aetcd")

from plusone.lab.processes import ServerProcess
from plusone.lab.servers.etcd import etcd_server, url_of
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.etcd import own_prefix, shared_url, skip_without_etcd

skip_without_etcd()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture(scope="module")
def member() -> Iterator[ServerProcess]:
    with etcd_server() as server:
        yield server


@pytest.fixture
def store_url(cluster: str) -> Iterator[str]:
    yield from own_prefix(cluster)


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"/c/default/" in request and b"[1," in request


class TestEtcd(ConformanceSuite):
    pass


class TestEtcdFaults(FaultSuite, CrashSuite):
    @pytest.fixture
    def store_url(self, member: ServerProcess) -> Iterator[str]:
        with member.shown():
            yield from own_prefix(url_of(member))

    @pytest.fixture
    def crashing(self, member: ServerProcess, store_url: str) -> Crashing:
        return Crashing(store_url, member, keeps=True)
