"""etcd for tests, or the user's own at `PLUSONE_TEST_ETCD_URL`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, TypeVar

import grpc
from aetcd import rpc

from plusone.lab.servers.etcd import etcd_cluster, missing, url_of
from plusone.stores.etcd import records
from plusone.stores.etcd.settings import Settings
from plusone.stores.etcd.store import EtcdStore
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers.available import shared, skip_without

T = TypeVar("T")

skip_without_etcd: Final = partial(skip_without, "ETCD", missing())
store_at: Final = partial(store_of, EtcdStore)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a cluster for many tests: the user's, or one of three members that is started."""
    return shared("ETCD", etcd_cluster, lambda members: url_of(*members))


def own_prefix(url: str) -> Generator[str]:
    """The URL with a key prefix of its own; behind it, what stands under that prefix is removed."""
    prefix = f"test-{secrets.token_hex(8)}/"
    yield url + ("&" if "?" in url else "?") + f"prefix={prefix}"
    everything = rpc.DeleteRangeRequest(key=prefix.encode(), range_end=records.end_of(prefix.encode()))
    ask(url, lambda channel: rpc.KVStub(channel).DeleteRange(everything))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def ask(url: str, question: Callable[[grpc.Channel], Any]) -> Any:
    """What a member answers to aetcd's own stubs, for what a test does beside the store."""

    async def asked() -> Any:
        settings = Settings.from_url(StoreURL.parse(url))
        async with settings.channel(settings.endpoints[0]) as channel:
            return await question(channel)

    return run(asked())
