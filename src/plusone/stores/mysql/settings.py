"""What a MySQL, MariaDB or TiDB URL says, and the driver's connection that it asks for."""

from __future__ import annotations

import ssl
from typing import Final

import msgspec
from asyncmy.connection import Connection

from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

_PORTS: Final = {"tidb": 4000}
_PORT: Final = 3306
_NAME_CHARACTERS_MAX: Final = 64


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The URL, taken apart and checked. Raises `ConfigurationError`."""

    host: str
    port: int
    user: str
    password: str
    database: str
    tls: bool
    ca_file: str | None
    connect_timeout_ms: int
    connections: int

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        url.only("tls", "ca_file", "connect_timeout", "connections")
        parts, scheme = url.parts, url.scheme
        database = url.path.removeprefix("/")
        if "@" in parts.path:
            # Said here, and not of a host that would be a part of the password.
            raise ConfigurationError(
                f"{scheme}: there is an @ behind the store URL's host; special characters, as in a password, are"
                " percent-encoded (/ is %2F, @ is %40)"
            )
        if not parts.hostname or url.username is None or not database or parts.fragment:
            raise ConfigurationError(
                f"{scheme}: the store URL must read {scheme}://user:password@host:port/database"
                " (special characters percent-encoded)"
            )
        if len(database) > _NAME_CHARACTERS_MAX or "/" in database or "\0" in database:
            raise ConfigurationError(f"{scheme}: the database's name must have at most 64 characters, and no / in it")
        tls = url.flag("tls", default=False)
        return cls(
            host=parts.hostname,
            port=parts.port or _PORTS.get(scheme, _PORT),
            user=url.username,
            password=url.password or "",
            database=database,
            tls=tls,
            ca_file=url.file("ca_file", needs=None if tls else "tls=yes"),
            connect_timeout_ms=url.integer("connect_timeout", 2_000, 1, 60_000),
            connections=url.integer("connections", 8, 1, 1_000),
        )

    def connection(self) -> Connection:
        """A connection yet to be made. It repeats nothing by itself, and reading has no timeout of its own.

        The driver reconnects in `ping` only, which is not called. Its pool and its cursors are left out: these ask for
        warnings between two of our statements.
        """
        return Connection(  # type: ignore[no-untyped-call]
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password.encode(),
            database=self.database,
            ssl=ssl.create_default_context(cafile=self.ca_file) if self.tls else None,
            connect_timeout=self.connect_timeout_ms / 1000,
            read_timeout=None,
            autocommit=None,
            stmt_cache_size=0,
        )
