"""What listings share: where a prefix ends, and page tokens: opaque to their carriers, checked when they come back."""

from __future__ import annotations

import base64
import sys

from plusone.errors import InvalidRequest


def encode(position: bytes) -> str:
    """The token of a position, in characters that a URL takes as they are."""
    return base64.urlsafe_b64encode(position).rstrip(b"=").decode()


def decode(page_token: str) -> bytes:
    """The position that `encode` made this token of; raises `InvalidRequest` for what it cannot have made."""
    try:
        position = base64.b64decode(page_token + "=" * (-len(page_token) % 4), b"-_", validate=True)
    except ValueError:
        raise foreign() from None
    # Base64 has several texts for the same bytes; we gave out one of them.
    if encode(position) != page_token:
        raise foreign()
    return position


def encode_key(key: str) -> str:
    """The token of a listing in the order of its keys, `key` being the last one of the page."""
    return encode(key.encode())


def decode_key(page_token: str, prefix: str) -> str:
    """The key of `encode_key`. A forged token could name another account's counters: they begin otherwise."""
    try:
        key = decode(page_token).decode()
    except UnicodeDecodeError:
        raise foreign() from None
    if not key or not key.startswith(prefix):
        raise foreign()
    return key


def above(prefix: str) -> str | None:
    """The first key, by code points, that is above all that begin with `prefix`; None if there is none."""
    for end in range(len(prefix), 0, -1):
        last = ord(prefix[end - 1])
        if last < sys.maxunicode:
            # Surrogates are no characters.
            return prefix[: end - 1] + chr(0xE000 if last == 0xD7FF else last + 1)
    return None


def foreign() -> InvalidRequest:
    return InvalidRequest("page_token", "is not one of this listing's")
