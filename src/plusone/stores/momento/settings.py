"""What a Momento URL and the environment say, and the channels that they ask for."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import grpc
import grpc.aio
import msgspec

from plusone.errors import ConfigurationError
from plusone.stores.momento import credentials
from plusone.stores.registry import StoreURL

TTL_MAX_SECONDS: Final = 24 * 60 * 60
"""Momento's own limit."""
TTL_MIN_SECONDS: Final = 60 * 60
"""Sessions are kept that long, and with them what makes a retry harmless."""
_CACHE: Final = re.compile(r"[ -~]{1,255}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTIONS: Final = (
    # A call is sent once, or not at all: whether to send it again is decided by whoever knows what it does.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Channels to the same server would otherwise share a connection, and one that is given up might come back.
    ("grpc.use_local_subchannel_pool", 1),
    # Messages are small. Nothing is gained from pings that measure the network.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_send_message_length", 5 * 1024 * 1024),
    ("grpc.max_receive_message_length", 5 * 1024 * 1024),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A Momento URL, taken apart and checked. Raises `ConfigurationError`."""

    cache: str
    data: str
    """`host:port` of the data plane."""
    control: str
    """`host:port` of the control plane."""
    token: str | None
    key_from: str
    """The environment variable that the API key is from, or should be."""
    tls: bool
    ca_file: str | None
    prefix: str
    """What every key begins with."""
    ttl_ms: int
    connect_timeout_ms: int

    @classmethod
    def from_url(cls, url: StoreURL) -> Settings:
        url.only("endpoint", "api_key_from", "tls", "ca_file", "prefix", "ttl", "connect_timeout")
        cache = unquote(url.parts.netloc)
        if not _CACHE.fullmatch(cache) or "@" in cache or ":" in cache or url.parts.path or url.parts.fragment:
            raise ConfigurationError("momento: the store URL must read momento://cache?endpoint=…, and hold no API key")
        prefix = url.prefix("plusone:")
        key = _key(url)
        data, control = _planes(url, key)
        tls = _tls(url, local=_is_local(data) and _is_local(control))
        if key is None and tls:
            raise ConfigurationError(f"momento: set the environment variable {_variable(url)} to an API key")
        return cls(
            cache=cache,
            data=data,
            control=control,
            token=None if key is None else key.token,
            key_from=_variable(url),
            tls=tls,
            ca_file=url.file("ca_file", needs=None if tls else "tls=yes"),
            prefix=prefix,
            ttl_ms=url.integer("ttl", TTL_MAX_SECONDS, TTL_MIN_SECONDS, TTL_MAX_SECONDS) * 1000,
            connect_timeout_ms=url.integer("connect_timeout", 2_000, 1, 60_000),
        )

    def channel(self, target: str) -> Any:
        """A gRPC channel of its own to one of the planes, not yet connected."""
        if not self.tls:
            return grpc.aio.insecure_channel(target, options=_OPTIONS)
        trusted = None if self.ca_file is None else Path(self.ca_file).read_bytes()
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(trusted), options=_OPTIONS)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with every call on the cache."""
        authorized = () if self.token is None else (("authorization", self.token),)
        return (*authorized, ("cache", self.cache))


def _variable(url: StoreURL) -> str:
    name = url.query.get("api_key_from", "MOMENTO_API_KEY")
    if not _VARIABLE.fullmatch(name):
        raise ConfigurationError("momento: api_key_from must be the name of an environment variable")
    return name


def _key(url: StoreURL) -> credentials.Credentials | None:
    name = _variable(url)
    text = os.environ.get(name)
    try:
        return None if text is None else credentials.parse(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; see the environment variable {name}") from None


def _planes(url: StoreURL, key: credentials.Credentials | None) -> tuple[str, str]:
    endpoint = url.query.get("endpoint")
    if endpoint is not None:
        try:
            address = urlsplit(f"//{endpoint}")
            valid = bool(address.hostname) and address.port != 0 and address.netloc == endpoint
        except ValueError:
            valid = False
        if not valid or "@" in endpoint:
            raise ConfigurationError("momento: endpoint must be host:port, or a region's name without a port")
        return credentials.planes(endpoint)
    if key is None:
        raise ConfigurationError(
            f"momento: set the environment variable {_variable(url)} to an API key, or name an endpoint"
        )
    if key.data is None or key.control is None:
        raise ConfigurationError(
            f"momento: the API key in {_variable(url)} has no endpoint in it; name it in the store URL, by endpoint=…"
        )
    return key.data, key.control


def _is_local(target: str) -> bool:
    host = urlsplit(f"//{target}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(url: StoreURL, *, local: bool) -> bool:
    tls = url.flag("tls", default=not local)
    if not tls and not local:
        raise ConfigurationError("momento: tls=no is for an endpoint on this machine; API keys are no plain text")
    return tls
