"""Momento's API keys: what to send, and where to. A key is a secret, and stands in no message.

Three forms are about. A key of the first version is Base64 of JSON, with the endpoint and what is to be sent; an older
one is a JWT that has the two endpoints among its claims; one of the second version has no endpoint in it, which then
has to be named beside it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from plusone.errors import ConfigurationError

PORT: Final = 443


class Credentials(msgspec.Struct, frozen=True):
    """What a call is authorized with, and the `host:port` of the data and of the control plane, where the key says."""

    token: str
    data: str | None = None
    control: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(token='***', data={self.data!r}, control={self.control!r})"


class _Bundle(msgspec.Struct):
    endpoint: str
    api_key: str


class _Claims(msgspec.Struct):
    control: str | None = msgspec.field(default=None, name="cp")
    data: str | None = msgspec.field(default=None, name="c")


def parse(key: str) -> Credentials:
    """Raises `ConfigurationError` for what no call could carry."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("momento: the API key is empty, or has characters that no API key has")
    try:
        bundle = msgspec.json.decode(base64.b64decode(key, validate=True), type=_Bundle)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return _of_claims(key)
    return Credentials(bundle.api_key, *planes(bundle.endpoint))


def planes(endpoint: str) -> tuple[str, str]:
    """Where the data and the control plane of a region are; an endpoint with a port is both."""
    if ":" in endpoint:
        return endpoint, endpoint
    return f"cache.{endpoint}:{PORT}", f"control.{endpoint}:{PORT}"


def _of_claims(key: str) -> Credentials:
    """Of a JWT; its signature is the server's to check."""
    try:
        _, payload, _ = key.split(".")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (ValueError, msgspec.DecodeError):
        return Credentials(key)
    if claims.data is None or claims.control is None:
        return Credentials(key)
    return Credentials(key, f"{claims.data}:{PORT}", f"{claims.control}:{PORT}")
