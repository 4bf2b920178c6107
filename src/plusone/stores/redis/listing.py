"""A page of counters' names by SCAN, which gives what it finds in pieces of a size of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from plusone.errors import CorruptRecord
from plusone.stores import paging
from plusone.stores.protocol import Record
from plusone.stores.redis.connections import Connections, command
from plusone.stores.redis.errors import translate
from plusone.stores.redis.keys import counter_of, pattern

_SCANS_PER_PAGE: Final = 32
_SCAN_COUNT_MIN: Final = 10

_log = logging.getLogger("plusone.redis")


class _Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page goes on: what the last SCAN gave above the limit, then its cursor (None: it was the last)."""

    cursor: int | None
    left: list[str]
    server: int = 0
    """Which of the servers the cursor is of."""
    layout: str = ""
    """Which server has what. Where that changed, the listing begins anew: better a name twice than one left out."""


async def page(
    servers: Sequence[Connections], layout: str, prefix: str, key_prefix: str, limit: int, page_token: str | None
) -> tuple[list[str], str | None]:
    """At most `limit` counters whose key begins with `key_prefix`, dead ones included, and the next page's token."""
    position = _Position(0, []) if page_token is None else _position(page_token, key_prefix)
    if page_token is not None and position.layout != layout:
        position = _Position(0, position.left)
    cursor, server = position.cursor, position.server
    if server >= len(servers):
        raise paging.foreign()
    found = dict.fromkeys(position.left)
    match = pattern(prefix, key_prefix)
    for _ in range(_SCANS_PER_PAGE):
        if cursor is None or len(found) >= limit:
            break
        count = max(limit - len(found), _SCAN_COUNT_MIN)
        scan = command("SCAN", cursor, "MATCH", match, "COUNT", count, "TYPE", "hash")
        [reply] = await servers[server].exchange(scan)
        if isinstance(reply, Exception):
            raise translate(reply)
        cursor = int(reply[0]) or None
        for redis_key in reply[1]:
            key = counter_of(prefix, redis_key)
            if key is not None:
                found[key] = None
        if cursor is None and server + 1 < len(servers):
            cursor, server = 0, server + 1
    keys = list(found)
    following = None
    if cursor is not None or len(keys) > limit:
        following = _token(_Position(cursor, keys[limit:], server, layout))
    return keys[:limit], following


def living(keys: Sequence[str], found: Sequence[Record | CorruptRecord]) -> list[tuple[str, Record]]:
    """Those of the page's counters that live; what is no counter of ours is left out, and logged."""
    living: list[tuple[str, Record]] = []
    for key, record in zip(keys, found, strict=True):
        if isinstance(record, CorruptRecord):
            _log.warning("%r is left out of a listing: %s", key, record)
        elif record.exists:
            living.append((key, record))
    return living


def _token(position: _Position) -> str:
    return paging.encode(msgspec.json.encode(position))


def _position(page_token: str, key_prefix: str) -> _Position:
    try:
        position = msgspec.json.decode(paging.decode(page_token), type=_Position)
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise paging.foreign() from None
    # A cursor of 0 begins a server's scan: only behind another server.
    ours = position.cursor is None or (position.server == 0) <= position.cursor < 2**64
    # Without this a forged token could name another account's counters.
    if not ours or position.server < 0 or not all(key.startswith(key_prefix) for key in position.left):
        raise paging.foreign()
    return position
