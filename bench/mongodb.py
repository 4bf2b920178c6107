"""MongoDB's protocol: mongo-java-server with every write in its file before it answers, and PyMongo."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient, ReturnDocument

from bench import servers
from bench.plain import CALLERS, Plain
from plusone.lab.servers import mongo


class _PyMongo:
    def __init__(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        self._plain = client["plusone"]["plain"]

    async def increment(self, name: str) -> object:
        return await self._plain.find_one_and_update(
            {"_id": name}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
        )

    async def read(self, name: str) -> int:
        found = await self._plain.find_one({"_id": name})
        return 0 if found is None else int(found["value"])


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_PyMongo]:
    parts = urlsplit(url)
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(parts.hostname, parts.port, maxPoolSize=CALLERS, w="majority", journal=True) as client:
        yield _PyMongo(client)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := mongo.missing():
        raise servers.Missing(reason)
    with mongo.mongo_server(keeps=True) as server:
        yield mongo.url_of(server)


PLAIN = Plain(
    "mongodb",
    "mongo-java-server, every write in its file",
    "PyMongo `find_one_and_update` with `$inc`",
    _server,
    _connect,
)
