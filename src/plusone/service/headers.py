"""Headers that are judged before any route is: those that may stand once, and those that say where it comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from plusone.errors import InvalidRequest
from plusone.service.problems import Forbidden

ONCE: Final = {
    b"content-type": "Content-Type",
    b"idempotency-key": "Idempotency-Key",
    b"if-match": "If-Match",
    b"if-none-match": "If-None-Match",
}
"""Of two, one reader would take the first and another the last."""
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


@lru_cache(256)
def is_loopback(host: bytes) -> bool:
    """Whether a Host is this machine, by a name or address that no other machine's owner can give away.

    A page of a name that its owner points at 127.0.0.1 is of the same origin as we are, to a browser (DNS rebinding);
    only the Host tells.
    """
    name, colon, port = host.decode("latin-1").lower().rpartition(":")
    if not colon or not (port.isdecimal() or not port):
        name = host.decode("latin-1").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def check_headers(method: str, headers: Iterable[tuple[bytes, bytes]], origins: Iterable[str]) -> None:
    """Raise `Forbidden` for a foreign Host, or a foreign Origin of what may change something.

    `origins` are those that are allowed besides our own. Raises `InvalidRequest` for a header that stands twice.
    """
    seen: set[bytes] = set()
    host = b""
    foreign = []
    for name, value in headers:
        if name in ONCE:
            if name in seen:
                raise InvalidRequest(ONCE[name], "stands in the request twice")
            seen.add(name)
        elif name == b"host":
            if not is_loopback(value):
                raise Forbidden("Host", "is no loopback name or address; without keys the service is for this machine")
            host = value
        elif name == b"origin":
            foreign.append(value)
    if method in SAFE_METHODS or "*" in origins:
        return
    for origin in foreign:
        if origin.decode("latin-1") not in origins and (not host or origin.partition(b"://")[2] != host):
            raise Forbidden("Origin", "is not the service's own and not in cors_origins")
