"""What a MongoDB URL says, and the driver's client that it asks for."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

_DATABASE: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
_COLLECTION: Final = re.compile(r"(?!system\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_PORT: Final = 27_017
_CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A MongoDB URL, taken apart and checked. Raises `ConfigurationError`."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    database: str
    collection: str
    username: str | None
    password: str | None
    auth_source: str | None
    replica_set: str | None
    tls: bool
    ca_file: str | None
    secondaries: bool
    """Whether eventual reads go to a secondary where there is one."""
    connect_timeout_ms: int
    connections: int

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        url.only(
            "collection",
            "auth_source",
            "replica_set",
            "tls",
            "ca_file",
            "secondaries",
            "connect_timeout",
            "connections",
        )
        scheme, parts = url.scheme, url.parts
        if not parts.hostname or parts.fragment:
            raise ConfigurationError(f"{scheme}: the store URL must read {scheme}://[user:password@]host:port/database")
        database = url.path.removeprefix("/") or "plusone"
        if not _DATABASE.fullmatch(database):
            raise ConfigurationError(f"{scheme}: the database must be 1 to 63 of A-Z a-z 0-9 _ -")
        collection = url.query.get("collection", "counters")
        if not _COLLECTION.fullmatch(collection):
            raise ConfigurationError(f"{scheme}: collection must be 1 to 64 of A-Z a-z 0-9 _ . -")
        hosts = url.hosts(_PORT)
        if scheme == "mongodb+srv" and (len(hosts) > 1 or parts.port is not None):
            raise ConfigurationError("mongodb+srv: the store URL names one host, without a port: DNS knows the rest")
        tls = url.flag("tls", default=scheme != "mongodb")
        return cls(
            scheme=scheme,
            hosts=hosts,
            database=database,
            collection=collection,
            username=url.username,
            password=url.password,
            auth_source=url.query.get("auth_source"),
            replica_set=url.query.get("replica_set"),
            tls=tls,
            ca_file=url.file("ca_file", needs=None if tls else "tls=yes"),
            secondaries=url.flag("secondaries", default=False),
            connect_timeout_ms=url.integer("connect_timeout", 2_000, 1, 60_000),
            connections=url.integer("connections", 32, 1, 10_000),
        )

    def client(self) -> AsyncMongoClient[dict[str, Any]]:
        """A client that never repeats a command. It connects when it is first used, on the event loop of that use.

        Reading has no timeout of its own: whoever waits for an answer cancels.
        """
        options: dict[str, Any] = {
            "retryWrites": False,
            "retryReads": False,
            "connectTimeoutMS": self.connect_timeout_ms,
            "serverSelectionTimeoutMS": self.connect_timeout_ms,
            "waitQueueTimeoutMS": self.connect_timeout_ms,
            "socketTimeoutMS": None,
            "maxPoolSize": self.connections,
            "appname": "plusone",
            "tls": self.tls,
        }
        given = {
            "username": self.username,
            "password": self.password,
            "authSource": self.auth_source,
            "replicaSet": self.replica_set,
            "tlsCAFile": self.ca_file,
        }
        options |= {name: value for name, value in given.items() if value is not None}
        host: str | list[str]
        if self.scheme == "mongodb+srv":
            host = f"mongodb+srv://{self.hosts[0][0]}"
        else:
            host = [f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name, port in self.hosts]
        return AsyncMongoClient(host, document_class=dict, **options)

    def counters(self, client: AsyncMongoClient[dict[str, Any]]) -> AsyncCollection[dict[str, Any]]:
        """The collection; what it reads comes from the primary, and stays through a failover."""
        # DocumentDB's primary answers from what is durable already, and its manual knows no read concern.
        concern = ReadConcern() if self.scheme == "documentdb" else ReadConcern("majority")
        return client[self.database].get_collection(
            self.collection,
            codec_options=_CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority", j=True),
            read_concern=concern,
        )
