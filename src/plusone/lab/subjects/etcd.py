"""Counting with aetcd, as it is commonly written."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from plusone.errors import ConfigurationError
from plusone.lab.subjects.protocol import PLACE, Counted, Subject
from plusone.stores.registry import StoreURL

_PORT: Final = 2_379


class _PutIfUnchanged:
    """Read the value, put one more if it is still the same, else once more from the start."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        key, transactions = name.encode(), self._client.transactions
        while True:
            found = await self._client.get(key)
            value = 0 if found is None else int(found.value)
            if ceiling is not None and value >= ceiling:
                return Counted(applied=False, value=value)
            unchanged = transactions.mod(key) == (0 if found is None else found.mod_revision)
            put = transactions.put(key, b"%d" % (value + 1))
            applied, _ = await self._client.transaction(compare=[unchanged], success=[put], failure=[])
            if applied:
                return Counted(value=value + 1)

    async def read(self, name: str) -> Counted:
        found = await self._client.get(name.encode())
        return Counted(value=0 if found is None else int(found.value))

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            await self._client.delete(name.encode())


@contextlib.asynccontextmanager
async def _put_if_unchanged(url: str, place: str = PLACE) -> AsyncIterator[_PutIfUnchanged]:
    """At the first member that the URL names: the driver knows one."""
    import aetcd

    from plusone.stores.etcd.settings import Settings

    parsed = StoreURL.parse(url)
    settings = Settings.from_url(parsed)
    if settings.tls:
        raise ConfigurationError("etcd: aetcd's client has no TLS, and so there is no such recipe to be verified")
    host, port = parsed.hosts(_PORT)[0]
    async with aetcd.Client(host, port, settings.username, settings.password) as client:
        yield _PutIfUnchanged(client)


PUT_IF_UNCHANGED: Final = Subject(
    name="etcd-put-if-unchanged",
    title="aetcd get, then put if unchanged",
    schemes=frozenset({"etcd"}),
    found="etcd's manual on transactions, and every recipe of optimistic concurrency",
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment"}),
    connect=_put_if_unchanged,
)
