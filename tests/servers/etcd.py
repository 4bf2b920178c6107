"""Real etcd servers for tests, one member or three, or the user's own at `PLUSONE_TEST_ETCD_URL`."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
from aetcd import rpc

from plusone.stores.etcd import records
from plusone.stores.etcd.settings import Settings
from plusone.stores.etcd.store import EtcdStore
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers.available import not_installed, shared, skip_without
from tests.servers.process import STARTS_WITHIN_SECONDS, ServerProcess, free_port

T = TypeVar("T")

_MISSING: Final = not_installed("etcd-server", "etcd")
HAS_ETCD: Final = _MISSING is None
skip_without_etcd: Final = partial(skip_without, "ETCD", _MISSING)
store_at: Final = partial(store_of, EtcdStore)
_ANYONE: Final = ssl._create_unverified_context()  # whoever it is, it only has to be ready


def etcd_server(*options: str, scheme: str = "http", asked_at: int | None = None) -> ServerProcess:
    """One member; `options` are those of its command line. Its health is asked at a port of its own, or `asked_at`."""
    peer = free_port()
    member = _Member("etcd", peer, f"etcd=http://127.0.0.1:{peer}", options, scheme)
    if asked_at is not None:
        return ServerProcess("etcd", member.command, lambda _: _serves(asked_at))
    return ServerProcess("etcd", member.command, lambda port: _serves(port, scheme))


@contextmanager
def etcd_cluster(*options: str) -> Iterator[Sequence[ServerProcess]]:
    """Three members, once all of them serve."""
    peers = {f"member-{number}": free_port() for number in range(3)}
    cluster = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, peer in peers.items())
    most_run = False

    def is_ready(port: int) -> bool:
        # A member serves once most of them run, which is not before the second one does.
        return _serves(port) if most_run else _listens(port)

    members = [
        ServerProcess(name, _Member(name, peer, cluster, options).command, is_ready) for name, peer in peers.items()
    ]
    with ExitStack() as stack:
        for member in members:
            stack.enter_context(member)
            most_run = member is not members[0]
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not all(_serves(member.port) for member in members):
            assert time.monotonic() < deadline, members[0].log()
        yield members


def shared_url() -> AbstractContextManager[str]:
    """The URL of a cluster for many tests: the user's, or one of three members that is started."""
    return shared("ETCD", etcd_cluster, lambda members: url_of(*members))


def url_of(*members: ServerProcess, **parameters: str | int) -> str:
    hosts = ",".join(f"127.0.0.1:{member.port}" for member in members)
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"etcd://{hosts}" + (f"?{query}" if query else "")


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


class _Member:
    def __init__(self, name: str, peer: int, cluster: str, options: Sequence[str], scheme: str = "http") -> None:
        self._name, self._peer, self._cluster, self._options, self._scheme = name, peer, cluster, options, scheme

    def command(self, port: int, folder: Path) -> Sequence[str]:
        client, peer = f"{self._scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{self._peer}"
        return (
            *("etcd", "--name", self._name, "--data-dir", str(folder / "data")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", self._cluster, "--initial-cluster-token", self._cluster),
            *("--logger", "zap", *self._options),
        )


def _serves(port: int, scheme: str = "http") -> bool:
    """Whether the member and most others answer: `/health` is a linearizable read."""
    try:
        with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/health", timeout=1, context=_ANYONE) as answer:
            return b'"true"' in answer.read()
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
