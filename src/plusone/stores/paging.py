"""Page tokens: opaque to whoever carries them from one page to the next, and checked when they come back."""

from __future__ import annotations

import base64

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


def foreign() -> InvalidRequest:
    return InvalidRequest("page_token", "is not one of this listing's")
