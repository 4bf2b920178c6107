"""Counting with PyMongo, as it is commonly written."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Counting, Subject
from plusone.stores.registry import StoreURL

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

_SCHEMES: Final = frozenset({"mongodb", "mongodb+srv", "documentdb"})


class _Counter:
    """A document of a collection is a counter."""

    def __init__(self, counters: AsyncCollection[dict[str, Any]]) -> None:
        self._counters = counters

    async def read(self, name: str) -> Counted:
        found = await self._counters.find_one({"_id": name})
        return Counted(value=0 if found is None else int(found["value"]))

    async def remove(self, names: Sequence[str]) -> None:
        await self._counters.drop()


class _Inc(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        from pymongo import ReturnDocument

        found: Any = await self._counters.find_one_and_update(
            {"_id": name}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        return Counted(value=int(found["value"]))


class _FilteredUpsert(_Counter):
    """The filter admits what is below the maximum; the upsert of what it does not admit is a duplicate key."""

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        from pymongo.errors import DuplicateKeyError

        below = {} if ceiling is None else {"value": {"$lt": ceiling}}
        try:
            await self._counters.update_one({"_id": name, **below}, {"$inc": {"value": 1}}, upsert=True)
        except DuplicateKeyError:
            if ceiling is None:
                raise
            return Counted(applied=False)
        return await self.read(name)


@contextlib.asynccontextmanager
async def _collection(url: str, place: str) -> AsyncIterator[AsyncCollection[dict[str, Any]]]:
    """PyMongo with its defaults, but for what a count needs in order to be kept at all: the majority, and the journal.

    DocumentDB is the exception that its own manual makes: it has no retryable writes.
    """
    from pymongo import AsyncMongoClient

    from plusone.stores.mongodb.settings import Settings

    settings = Settings.from_url(StoreURL.parse(url))
    given = {
        "username": settings.username,
        "password": settings.password,
        "authSource": settings.auth_source,
        "replicaSet": settings.replica_set,
        "tlsCAFile": settings.ca_file,
        "retryWrites": False if settings.scheme == "documentdb" else None,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    hosts: str | list[str] = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in settings.hosts]
    if settings.scheme == "mongodb+srv":
        hosts = f"mongodb+srv://{settings.hosts[0][0]}"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        hosts, tls=settings.tls, w="majority", journal=True, **options
    )
    async with client:
        yield client[settings.database][place]


def _with(kind: Callable[[AsyncCollection[dict[str, Any]]], Counting]) -> Connect:
    @contextlib.asynccontextmanager
    async def connect(url: str, place: str = PLACE) -> AsyncIterator[Counting]:
        async with _collection(url, place) as counters:
            yield kind(counters)

    return connect


INC: Final = Subject(
    name="mongodb-inc",
    title="PyMongo `find_one_and_update` with `$inc`",
    schemes=_SCHEMES,
    found="MongoDB's manual on sequence numbers, and articles on auto-increment with findAndModify",
    told="value",
    bounded=False,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Inc),
)
FILTERED_UPSERT: Final = Subject(
    name="mongodb-filtered-upsert",
    title="PyMongo upsert with a filter on the maximum, then `find_one`",
    schemes=_SCHEMES,
    found="articles on atomic counters with a maximum on DocumentDB and MongoDB",
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment", "duplicate value", "false rejection"}),
    rare=frozenset({"false rejection"}),
    connect=_with(_FilteredUpsert),
)
