"""What an etcd URL says, and the gRPC channels that it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
import msgspec
from grpc import aio

from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

_PORT: Final = 2379

OPTIONS: Final = (
    # What gRPC would send again, it would send behind our back.
    ("grpc.enable_retries", 0),
    # A DNS record of the members' could otherwise bring a service config, and with it a retry policy.
    ("grpc.service_config_disable_resolution", 1),
    # Channels would share their connections, and the failure of one would be that of all.
    ("grpc.use_local_subchannel_pool", 1),
    # A page of records is as large as its records; etcd itself bounds what it takes, not what it answers.
    ("grpc.max_receive_message_length", -1),
    # Pings that measure the line: a connection carries one request at a time, and needs no larger window for it.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.enable_http_proxy", 0),
)
"""Of every channel."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """An etcd URL, taken apart and checked. Raises `ConfigurationError`."""

    endpoints: Sequence[str]
    """`host:port` of each member, in the order of the URL."""
    username: str | None
    password: str | None
    tls: bool
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    prefix: bytes
    """What every key begins with."""
    connect_timeout_ms: int
    connections: int

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        url.only("tls", "ca_file", "cert_file", "key_file", "prefix", "connect_timeout", "connections")
        parts = url.parts
        if parts.path not in ("", "/") or parts.fragment:
            raise ConfigurationError("etcd: the store URL must read etcd://[user:password@]host:port,host:port")
        if (url.username is None) != (url.password is None):
            raise ConfigurationError("etcd: the store URL must name both a user and a password, or neither")
        tls = url.flag("tls", default=False)
        needs = None if tls else "tls=yes"
        files = {name: url.file(name, needs=needs) for name in ("ca_file", "cert_file", "key_file")}
        if (files["cert_file"] is None) != (files["key_file"] is None):
            raise ConfigurationError("etcd: cert_file and key_file belong together")
        return cls(
            endpoints=_endpoints(url),
            username=url.username,
            password=url.password,
            tls=tls,
            prefix=url.prefix("plusone/", "A-Z a-z 0-9 _ . : / -").encode(),
            connect_timeout_ms=url.integer("connect_timeout", 2_000, 1, 60_000),
            connections=url.integer("connections", 16, 1, 1_000),
            **files,
        )

    def channel(self, endpoint: str) -> aio.Channel:
        """A channel to one member, which connects when it is first used. It needs a running event loop."""
        # By default gRPC keeps a connection on which nothing is said for 20 seconds, even where nobody wants it.
        options = (*OPTIONS, ("grpc.min_reconnect_backoff_ms", self.connect_timeout_ms))
        if not self.tls:
            return aio.insecure_channel(endpoint, options=options)
        credentials = grpc.ssl_channel_credentials(_bytes(self.ca_file), _bytes(self.key_file), _bytes(self.cert_file))
        return aio.secure_channel(endpoint, credentials, options=options)


def _endpoints(url: StoreURL) -> Sequence[str]:
    endpoints = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in url.hosts(_PORT)]
    if len(set(endpoints)) != len(endpoints):
        raise ConfigurationError("etcd: a host stands in the store URL twice")
    return endpoints


def _bytes(file: str | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()
