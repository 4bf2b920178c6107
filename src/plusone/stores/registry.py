"""From a store URL to the store: a scheme names a module and a class, imported only when chosen."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from plusone.clock import Clock
from plusone.errors import ConfigurationError
from plusone.stores.protocol import Capabilities, Store

STORES: Final = {
    "memory": "plusone.stores.memory:MemoryStore",
    "sqlite": "plusone.stores.sqlite.store:SQLiteStore",
    "redis": "plusone.stores.redis.store:RedisStore",
    "rediss": "plusone.stores.redis.store:RedisStore",
    "redis+cluster": "plusone.stores.redis.cluster_store:RedisClusterStore",
    "rediss+cluster": "plusone.stores.redis.cluster_store:RedisClusterStore",
    "redis+sentinel": "plusone.stores.redis.sentinel:RedisSentinelStore",
    "dynamodb": "plusone.stores.dynamodb.store:DynamoDBStore",
    "mongodb": "plusone.stores.mongodb.store:MongoDBStore",
    "mongodb+srv": "plusone.stores.mongodb.store:MongoDBStore",
    "documentdb": "plusone.stores.mongodb.store:MongoDBStore",
    "mysql": "plusone.stores.mysql.store:MySQLStore",
    "mariadb": "plusone.stores.mysql.store:MariaDBStore",
    "tidb": "plusone.stores.mysql.store:TiDBStore",
    "postgresql": "plusone.stores.postgresql.store:PostgreSQLStore",
    "postgres": "plusone.stores.postgresql.store:PostgreSQLStore",
    "momento": "plusone.stores.momento.store:MomentoStore",
    "etcd": "plusone.stores.etcd.store:EtcdStore",
}

_NEED_NOTHING: Final = ("memory", "sqlite")

EXTRAS: Final = {scheme: target.split(".")[2] for scheme, target in STORES.items() if scheme not in _NEED_NOTHING}
"""Which extra of the package brings a scheme's driver: it has the name of the store's folder."""

SEVERAL_HOSTS: Final = frozenset({"etcd", "mongodb", "documentdb", "redis+cluster", "rediss+cluster", "redis+sentinel"})
"""Schemes whose URL may name several hosts, separated by commas."""


class StoreURL(msgspec.Struct, frozen=True):
    """A store URL taken apart. A store takes each query parameter it knows; what is left over is an error."""

    text: str
    parts: SplitResult
    query: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> StoreURL:
        """Raises `ConfigurationError` for what is no store URL. Secrets in it are never repeated in a message."""
        # The parsers' own messages are not passed on: after an unescaped "/", a password is a port to them.
        try:
            parts = urlsplit(text)
            if parts.scheme in SEVERAL_HOSTS:
                _hosts(parts)
            else:
                _ = parts.port
        except ValueError:
            raise ConfigurationError(
                "not a store URL: its host or port is malformed; a password's special characters are percent-encoded"
            ) from None
        try:
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
        except ValueError:
            raise ConfigurationError("not a store URL: its query is malformed") from None
        if not parts.scheme:
            raise ConfigurationError(f"not a store URL: no scheme; known are {', '.join(STORES)}")
        query = dict(pairs)
        if len(query) != len(pairs):
            raise ConfigurationError("not a store URL: a query parameter stands in it twice")
        return cls(text, parts, query)

    @property
    def scheme(self) -> str:
        return self.parts.scheme

    @property
    def path(self) -> str:
        return unquote(self.parts.path)

    @property
    def username(self) -> str | None:
        return unquote(self.parts.username) if self.parts.username else None

    @property
    def password(self) -> str | None:
        return unquote(self.parts.password) if self.parts.password else None

    def hosts(self, default_port: int) -> tuple[tuple[str, int], ...]:
        """The hosts and ports, in the order in which the URL names them. Raises `ConfigurationError` for none."""
        try:
            found = _hosts(self.parts)
        except ValueError:
            found = []
        if not found:
            raise ConfigurationError(f"{self.scheme}: the store URL names no host")
        if len(found) > 1 and self.scheme not in SEVERAL_HOSTS:
            raise ConfigurationError(f"{self.scheme}: the store URL must name one host")
        return tuple((host, default_port if port is None else port) for host, port in found)

    def redacted(self) -> str:
        """The URL without its password, for messages and logs."""
        userinfo, at, host = self.parts.netloc.rpartition("@")
        user, colon, _ = userinfo.partition(":")
        return self.text.replace(self.parts.netloc, f"{user}{colon and ':***'}{at}{host}", 1)

    def __repr__(self) -> str:
        return f"StoreURL({self.redacted()!r})"

    def only(self, *known: str) -> None:
        """Raise `ConfigurationError` for a query parameter that is not one of `known`."""
        for name in self.query:
            if name not in known:
                allowed = f"known are {', '.join(known)}" if known else "it takes none"
                raise ConfigurationError(f"{self.scheme}: unknown parameter {name!r} in the store URL; {allowed}")

    def integer(self, name: str, default: int, lowest: int, highest: int) -> int:
        """The query parameter `name` as an integer in `[lowest, highest]`, or `default`."""
        text = self.query.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
            raise ConfigurationError(f"{self.scheme}: {name} must be an integer from {lowest} to {highest}")
        return int(text)

    def flag(self, name: str, *, default: bool) -> bool:
        """The query parameter `name`, which is yes or no, or `default`."""
        text = self.query.get(name)
        if text is None:
            return default
        if text not in ("yes", "no"):
            raise ConfigurationError(f"{self.scheme}: {name} must be yes or no")
        return text == "yes"

    def file(self, name: str, *, needs: str | None = None) -> str | None:
        """The query parameter `name`, which is an existing file; `needs` is what the URL lacks to have one."""
        path = self.query.get(name)
        if path is None:
            return None
        if needs is not None:
            raise ConfigurationError(f"{self.scheme}: {name} needs {needs}")
        if not Path(path).is_file():
            raise ConfigurationError(f"{self.scheme}: {name} {path!r} is no file")
        return path

    def address(self, name: str, default_port: int) -> tuple[str, int] | None:
        """The query parameter `name`, which is a host, or host:port."""
        text = self.query.get(name)
        if text is None:
            return None
        host, _, port = text.rpartition(":") if ":" in text else (text, "", str(default_port))
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
            raise ConfigurationError(f"{self.scheme}: {name} must be host:port")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def prefix(self, default: str, characters: str = "A-Z a-z 0-9 _ . : -") -> str:
        """The query parameter `prefix`, which every key in the datastore begins with: of these characters."""
        text = self.query.get("prefix", default)
        if not re.fullmatch(f"[{characters.replace(' ', '')}]{{1,64}}", text):
            raise ConfigurationError(f"{self.scheme}: prefix must be 1 to 64 of {characters}")
        return text


def _hosts(parts: SplitResult) -> list[tuple[str, int | None]]:
    """Each host with its port, if it has one; raises `ValueError` for what is neither."""
    named = parts.netloc.rpartition("@")[2]
    found: list[tuple[str, int | None]] = []
    for text in named.split(",") if named else ():
        part = urlsplit(f"//{text}")
        if not part.hostname or part.port == 0:
            raise ValueError(text)
        found.append((part.hostname, part.port))
    return found


class StoreClass(Protocol):
    """How a store is made from its URL. `CAPABILITIES` is what the store promises with its default settings."""

    CAPABILITIES: Capabilities

    def from_url(self, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> Store: ...


def store_class(scheme: str) -> StoreClass:
    """The class behind a scheme. Raises `ConfigurationError` if it is unknown or its driver is not installed."""
    target = STORES.get(scheme)
    if target is None:
        raise ConfigurationError(f"unknown store scheme {scheme!r}; known are {', '.join(STORES)}")
    module, _, name = target.partition(":")
    try:
        return cast(StoreClass, getattr(importlib.import_module(module), name))
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(scheme)
        if extra is None or (error.name or "").startswith("plusone"):
            raise
        raise ConfigurationError(
            f"{scheme}: its driver is not installed; run: pip install 'plusone[{extra}]'"
        ) from error


def make_store(url: str, *, clock: Clock, token_retention_ms: int) -> Store:
    """The store that `url` names, not yet open. Raises `ConfigurationError`."""
    parsed = StoreURL.parse(url)
    return store_class(parsed.scheme).from_url(parsed, clock=clock, token_retention_ms=token_retention_ms)
