"""What a Redis URL says, and the driver's connections that it asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PORT: Final = 6379


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A Redis URL, taken apart and checked. Raises `ConfigurationError`."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    tls: bool
    ca_file: str | None
    prefix: str
    """What every key begins with."""
    replica: tuple[str, int] | None
    """Where eventual reads go."""
    wait: int
    """How many replicas must have a write before it is acknowledged."""
    wait_timeout_ms: int
    connect_timeout_ms: int
    connections: int

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        url.only("wait", "wait_timeout", "connect_timeout", "connections", "ca_file", "prefix", "replica")
        parts = url.parts
        if not parts.hostname or parts.fragment:
            raise ConfigurationError(
                f"{url.scheme}: the store URL must read {url.scheme}://[user:password@]host:port/db"
            )
        database = parts.path.removeprefix("/") or "0"
        if not database.isascii() or not database.isdigit() or int(database) > 2**31 - 1:
            raise ConfigurationError(f"{url.scheme}: the database in the store URL must be a number, as in /0")
        prefix = url.query.get("prefix", "plusone:")
        if not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(f"{url.scheme}: prefix must be 1 to 64 of A-Z a-z 0-9 _ . : -")
        tls = url.scheme == "rediss"
        ca_file = url.query.get("ca_file")
        if ca_file is not None and not tls:
            raise ConfigurationError("redis: ca_file is for rediss://, which speaks TLS")
        if ca_file is not None and not Path(ca_file).is_file():
            raise ConfigurationError(f"rediss: ca_file {ca_file!r} is no file")
        return cls(
            host=parts.hostname,
            port=parts.port or _PORT,
            database=int(database),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=tls,
            ca_file=ca_file,
            prefix=prefix,
            replica=_replica(url),
            wait=url.integer("wait", 0, 0, 100),
            wait_timeout_ms=url.integer("wait_timeout", 1_000, 1, 60_000),
            connect_timeout_ms=url.integer("connect_timeout", 2_000, 1, 60_000),
            connections=url.integer("connections", 32, 1, 10_000),
        )

    def connector(self, host: str, port: int) -> Callable[[], Connection]:
        """What makes a connection that never repeats a command, and asks nothing of its own between two of ours.

        Reading has no timeout of its own: whoever waits for an answer cancels. RESP2 has no pushes, and so neither
        maintenance notices, on which redis-py would reconnect, nor client caching.
        """

        common: dict[str, Any] = {
            "db": self.database,
            "username": self.username,
            "password": self.password,
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


def _replica(url: StoreURL) -> tuple[str, int] | None:
    text = url.query.get("replica")
    if text is None:
        return None
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(_PORT))
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ConfigurationError(f"{url.scheme}: replica must be host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
