"""A page of counters' names by SCAN, which gives what it finds in pieces of a size of its own."""

from __future__ import annotations

from typing import Final

import msgspec
from redis.exceptions import ResponseError

from plusone.stores import paging
from plusone.stores.redis.connections import Connections, command
from plusone.stores.redis.errors import translate
from plusone.stores.redis.keys import counter_of, pattern

_SCANS_PER_PAGE: Final = 32
_SCAN_COUNT_MIN: Final = 10


class _Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page goes on: what the last SCAN gave above the limit, then its cursor (None: it was the last)."""

    cursor: int | None
    left: list[str]


async def page(
    server: Connections, prefix: str, key_prefix: str, limit: int, page_token: str | None
) -> tuple[list[str], str | None]:
    """At most `limit` counters whose key begins with `key_prefix`, dead ones included, and the next page's token."""
    position = _Position(0, []) if page_token is None else _position(page_token, key_prefix)
    cursor = position.cursor
    found = dict.fromkeys(position.left)
    match = pattern(prefix, key_prefix)
    for _ in range(_SCANS_PER_PAGE):
        if cursor is None or len(found) >= limit:
            break
        count = max(limit - len(found), _SCAN_COUNT_MIN)
        scan = command("SCAN", cursor, "MATCH", match, "COUNT", count, "TYPE", "hash")
        [reply] = await server.exchange(scan)
        if isinstance(reply, ResponseError):
            raise translate(reply)
        cursor = int(reply[0]) or None
        for redis_key in reply[1]:
            key = counter_of(prefix, redis_key)
            if key is not None:
                found[key] = None
    keys = list(found)
    following = None
    if cursor is not None or len(keys) > limit:
        following = _token(_Position(cursor, keys[limit:]))
    return keys[:limit], following


def _token(position: _Position) -> str:
    return paging.encode(msgspec.json.encode(position))


def _position(page_token: str, key_prefix: str) -> _Position:
    try:
        position = msgspec.json.decode(paging.decode(page_token), type=_Position)
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise paging.foreign() from None
    ours = position.cursor is None or 0 < position.cursor < 2**64
    # Without this a forged token could name another account's counters.
    if not ours or not all(key.startswith(key_prefix) for key in position.left):
        raise paging.foreign()
    return position
