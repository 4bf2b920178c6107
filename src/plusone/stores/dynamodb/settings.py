"""What a DynamoDB URL says."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

_TABLE: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_REGION: Final = re.compile(r"[a-z0-9-]{1,63}")
_FORM: Final = "dynamodb://[key:secret@]table?region=…"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A DynamoDB URL, taken apart and checked. Raises `ConfigurationError`."""

    table: str
    region: str | None
    """None: what the AWS environment says."""
    endpoint: str | None
    """Where DynamoDB is; None: Amazon's own, of the region."""
    access_key: str | None
    secret_key: str | None
    ca_file: str | None
    connect_timeout_ms: int
    connections: int

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        url.only("region", "endpoint", "connect_timeout", "connections", "ca_file")
        parts = url.parts
        # Not `hostname`, which is lower case: the names of tables are not.
        table = parts.netloc.rpartition("@")[2]
        if parts.path.strip("/") or parts.fragment or not _TABLE.fullmatch(table):
            raise ConfigurationError(
                f"dynamodb: the store URL must read {_FORM}, table being 3 to 255 of A-Z a-z 0-9 _ . -"
            )
        if (parts.username is None) != (parts.password is None) or parts.username == "" or parts.password == "":
            raise ConfigurationError(f"dynamodb: key and secret come together or not at all, as in {_FORM}")
        region = url.query.get("region")
        if region is not None and not _REGION.fullmatch(region):
            raise ConfigurationError("dynamodb: region must be the name of one, as in eu-central-1")
        return cls(
            table=table,
            region=region,
            endpoint=_endpoint(url.query.get("endpoint")),
            access_key=url.username,
            secret_key=url.password,
            ca_file=url.file("ca_file"),
            connect_timeout_ms=url.integer("connect_timeout", 2_000, 1, 60_000),
            connections=url.integer("connections", 32, 1, 1_000),
        )

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, where a table costs nothing and may be made without being asked for."""
        host = urlsplit(self.endpoint or "").hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def _endpoint(text: str | None) -> str | None:
    if text is None:
        return None
    parts = urlsplit(text)
    try:
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError("dynamodb: endpoint must read http://host:port or https://host:port")
    return text.rstrip("/")
