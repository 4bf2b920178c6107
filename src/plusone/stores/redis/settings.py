"""What a Redis URL says, and the driver's connections that it asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

_PRIMARY_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A Redis URL, taken apart and checked. Raises `ConfigurationError`."""

    hosts: tuple[tuple[str, int], ...]
    """The server; or some of a cluster's nodes, or the sentinels."""
    primary_name: str
    """What the sentinels call the primary; empty without sentinels."""
    database: int
    username: str | None
    password: str | None
    tls: bool
    ca_file: str | None
    prefix: str
    """What every key begins with."""
    replica: tuple[str, int] | None
    """Where eventual reads go, for one server."""
    eventual_from_replicas: bool
    """Whether replicas that the cluster or the sentinels know answer eventual reads."""
    same_credentials: bool
    """Whether the sentinels get the user and password of the URL too."""
    wait: int
    """How many replicas must have a write before it is acknowledged."""
    wait_timeout_ms: int
    connect_timeout_ms: int
    node_timeout_ms: int
    """How long one node of a cluster may take to answer; then it no longer keeps the answers of the others waiting."""
    connections: int
    """At most so many to each server."""

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        scheme, _, form = url.scheme.partition("+")
        _check_parameters(url, form)
        port = _SENTINEL_PORT if form == "sentinel" else _PORT
        parts = url.parts
        shape = {"": "host:port/db", "cluster": "host:port,host:port", "sentinel": "host:port,host:port/primary/db"}[
            form
        ]
        if not parts.netloc.rpartition("@")[2] or parts.fragment:
            raise ConfigurationError(f"{url.scheme}: the store URL must read {url.scheme}://[user:password@]{shape}")
        primary_name, database = _path(url, form)
        node_timeout_ms = url.integer("node_timeout", 1_000, 1, 60_000)
        connect_timeout_ms = url.integer("connect_timeout", 2_000, 1, 60_000)
        tls = scheme == "rediss"
        return cls(
            hosts=url.hosts(port),
            primary_name=primary_name,
            database=database,
            username=url.username,
            password=url.password,
            tls=tls,
            ca_file=url.file(
                "ca_file", needs=None if tls else f"TLS, which {url.scheme.replace(scheme, 'rediss', 1)}:// speaks"
            ),
            prefix=url.prefix("plusone:"),
            replica=url.address("replica", _PORT),
            eventual_from_replicas=_choice(url, "eventual", "primary", "replica"),
            same_credentials=_choice(url, "sentinel_credentials", "none", "same"),
            wait=url.integer("wait", 0, 0, 100),
            wait_timeout_ms=url.integer("wait_timeout", 1_000, 1, 60_000),
            connect_timeout_ms=node_timeout_ms if form == "cluster" else connect_timeout_ms,
            node_timeout_ms=node_timeout_ms,
            connections=url.integer("connections", 32, 1, 10_000),
        )

    def connector(self, host: str, port: int, *, sentinel: bool = False) -> Callable[[], Connection]:
        """What makes a connection that never repeats a command, and asks nothing of its own between two of ours.

        Reading has no timeout of its own: whoever waits for an answer cancels. RESP2 has no pushes, and so neither
        maintenance notices, on which redis-py would reconnect, nor client caching.
        """
        known = self.same_credentials or not sentinel
        common: dict[str, Any] = {
            "db": 0 if sentinel else self.database,
            "username": self.username if known else None,
            "password": self.password if known else None,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "retry_on_timeout": False,
            "socket_timeout": None,
            "socket_connect_timeout": self.connect_timeout_ms / 1000,
            "health_check_interval": 0,
            "protocol": 2,
            "driver_info": None,
            "decode_responses": False,
        }

        def make() -> Connection:
            if self.tls:
                return SSLConnection(
                    host=host,
                    port=port,
                    ssl_cert_reqs="required",
                    ssl_check_hostname=True,
                    ssl_ca_certs=self.ca_file,
                    **common,
                )
            return Connection(host=host, port=port, **common)

        return make


def _check_parameters(url: StoreURL, form: str) -> None:
    if form == "cluster":
        url.only("wait", "wait_timeout", "node_timeout", "connections", "ca_file", "prefix", "eventual")
    elif form == "sentinel":
        url.only("wait", "wait_timeout", "connect_timeout", "connections", "prefix", "eventual", "sentinel_credentials")
    else:
        url.only("wait", "wait_timeout", "connect_timeout", "connections", "ca_file", "prefix", "replica")


def _path(url: StoreURL, form: str) -> tuple[str, int]:
    """The primary's name and the database's number."""
    path = url.parts.path.removeprefix("/")
    name = ""
    if form == "sentinel":
        name, _, path = path.partition("/")
        if not _PRIMARY_NAME.fullmatch(name):
            raise ConfigurationError(f"{url.scheme}: the store URL must name the sentinels' primary, as in /mymaster/0")
    database = path or "0"
    if not database.isascii() or not database.isdigit() or int(database) > 2**31 - 1:
        raise ConfigurationError(f"{url.scheme}: the database in the store URL must be a number, as in /0")
    if form == "cluster" and int(database) != 0:
        raise ConfigurationError(f"{url.scheme}: a cluster has no other database than 0")
    return name, int(database)


def _choice(url: StoreURL, name: str, usual: str, other: str) -> bool:
    """Whether the parameter says `other`."""
    text = url.query.get(name, usual)
    if text not in (usual, other):
        raise ConfigurationError(f"{url.scheme}: {name} must be {usual} or {other}")
    return text == other
