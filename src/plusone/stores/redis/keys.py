"""The keys of counters and tokens, and back.

A counter is `<prefix>{<account/name>}`, a token of it `<prefix>{<account/name>}:<token>`. The braces are Redis' hash
tag: a counter and its tokens share a slot of a cluster. Braces inside a name are encoded, with `%` to mark it, so that
a name cannot end the tag early and choose a slot; what is encoded differently was different before.
"""

from __future__ import annotations

import re
from typing import Final

_ENCODED: Final = {"%": "%25", "{": "%7B", "}": "%7D"}
_DECODED: Final = {code: character for character, code in _ENCODED.items()}
_TO_ENCODE: Final = re.compile("[%{}]")
_TO_DECODE: Final = re.compile("%(?:25|7B|7D)")
_GLOB: Final = re.compile(r"[*?\[\]\\]")


def counter_key(prefix: str, key: str) -> str:
    """The Redis key of the counter `account/name`."""
    return f"{prefix}{{{hash_tag(key)}}}"


def hash_tag(key: str) -> str:
    """What of a counter's Redis key decides its slot: `account/name`, encoded."""
    if "%" in key or "{" in key or "}" in key:
        return _encode(key)
    return key


def token_key(counter: str, token: str) -> str:
    """The Redis key of a token of a counter, whose own Redis key is `counter`."""
    return f"{counter}:{token}"


def counter_of(prefix: str, redis_key: bytes) -> str | None:
    """The counter `account/name` of a Redis key; None for a key that `counter_key` does not give."""
    try:
        text = redis_key.decode()
    except UnicodeDecodeError:
        return None
    key = _TO_DECODE.sub(lambda found: _DECODED[found[0]], text[len(prefix) + 1 : -1])
    return key if counter_key(prefix, key) == text else None


def pattern(prefix: str, key_prefix: str) -> str:
    """What SCAN matches for the counters whose key begins with `key_prefix`."""
    return _GLOB.sub(r"\\\g<0>", f"{prefix}{{{_encode(key_prefix)}") + "*}"


def _encode(text: str) -> str:
    return _TO_ENCODE.sub(lambda found: _ENCODED[found[0]], text)
