"""What a PostgreSQL URL says, and the driver's connections that it asks for."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import msgspec

from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

SSLMode: TypeAlias = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

_PORT: Final = 5432
_SCHEMA: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A PostgreSQL URL, taken apart and checked. Raises `ConfigurationError`."""

    host: str
    port: int
    database: str
    username: str | None
    password: str | None
    schema: str
    """Where the tables are."""
    sslmode: SSLMode
    sslrootcert: str | None
    replica: tuple[str, int] | None
    """Where eventual reads go."""
    connect_timeout_ms: int
    connections: int
    statement_cache_size: int
    """0: statements are prepared anew at each call, as a pooler by transaction needs it."""

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        url.only(
            "schema", "sslmode", "sslrootcert", "replica", "connect_timeout", "connections", "statement_cache_size"
        )
        parts = url.parts
        [(host, port)] = url.hosts(_PORT)
        database = url.path.removeprefix("/")
        if "@" in parts.path:
            # Said here, and not of a host that would be a part of the password.
            raise ConfigurationError(
                f"{url.scheme}: there is an @ behind the store URL's host; special characters, as in a password, are"
                " percent-encoded (/ is %2F, @ is %40)"
            )
        if not database or "\0" in database or parts.fragment:
            raise ConfigurationError(
                f"{url.scheme}: the store URL must read {url.scheme}://[user:password@]host:port/database"
            )
        schema = url.query.get("schema", "plusone")
        if not _SCHEMA.fullmatch(schema):
            raise ConfigurationError(
                f"{url.scheme}: schema must be 1 to 63 of a-z 0-9 _, begin with no digit, and not with pg_"
            )
        sslmode = url.query.get("sslmode", "prefer")
        if sslmode not in get_args(SSLMode):
            raise ConfigurationError(f"{url.scheme}: sslmode must be one of {', '.join(get_args(SSLMode))}")
        return cls(
            host=host,
            port=port,
            database=database,
            username=url.username,
            password=url.password,
            schema=schema,
            sslmode=cast(SSLMode, sslmode),
            sslrootcert=_root_certificate(url, sslmode),
            replica=url.address("replica", _PORT),
            connect_timeout_ms=url.integer("connect_timeout", 2_000, 1, 60_000),
            connections=url.integer("connections", 8, 1, 1_000),
            statement_cache_size=url.integer("statement_cache_size", 100, 0, 1_000),
        )

    def arguments(self, host: str, port: int) -> Mapping[str, Any]:
        """What asyncpg's `connect` is given. It has no time limit for statements: whoever waits for one cancels."""
        return {
            "host": host,
            "port": port,
            "database": self.database,
            "user": self.username,
            "password": self.password,
            "ssl": self._tls(),
            "timeout": self.connect_timeout_ms / 1000,
            "command_timeout": None,
            "statement_cache_size": self.statement_cache_size,
            "max_cached_statement_lifetime": 0,
            "target_session_attrs": "any",
            "server_settings": {"application_name": "plusone"},
        }

    def _tls(self) -> ssl.SSLContext | str:
        if self.sslmode in ("disable", "prefer"):
            return self.sslmode
        context = ssl.create_default_context(cafile=self.sslrootcert)
        context.check_hostname = self.sslmode == "verify-full"
        if self.sslmode == "require":
            context.verify_mode = ssl.CERT_NONE
        return context


def _root_certificate(url: StoreURL, sslmode: str) -> str | None:
    path = url.file("sslrootcert", needs=None if sslmode.startswith("verify-") else "sslmode=verify-full or verify-ca")
    if path is None:
        return None
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ConfigurationError(f"{url.scheme}: sslrootcert {path!r} holds no certificate") from None
    return path
