"""etcd: three members on this machine, durable at every commit, and aetcd's client with its defaults."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import aetcd

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import etcd


class _Aetcd:
    """What everybody writes: read the value, put one more if it is still the same, else once more from the start."""

    def __init__(self, client: aetcd.Client) -> None:
        self.client = client

    async def increment(self, name: str) -> object:
        key, transactions = name.encode(), self.client.transactions
        while True:
            found = await self.client.get(key)
            value = 1 if found is None else int(found.value) + 1
            unchanged = transactions.mod(key) == (0 if found is None else found.mod_revision)
            put = transactions.put(key, str(value).encode())
            applied, _ = await self.client.transaction(compare=[unchanged], success=[put], failure=[])
            if applied:
                return value

    async def read(self, name: str) -> int:
        found = await self.client.get(name.encode())
        return 0 if found is None else int(found.value)


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_Aetcd]:
    address = urlsplit(url)
    async with aetcd.Client(address.hostname, address.port) as client:
        yield _Aetcd(client)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Three members; the URL names the first of them."""
    if reason := etcd.missing():
        raise servers.Missing(reason)
    with etcd.etcd_cluster() as members:
        yield etcd.url_of(members[0])


PLAIN = Plain("etcd", "etcd, three members", "aetcd get, then put if unchanged", _server, _connect)
