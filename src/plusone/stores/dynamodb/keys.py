"""The keys of counters and tokens in the table, and back.

A counter's partition is its account and one of 16 shards, which its name decides; its sort key is the name. So a
listing by prefix asks 16 partitions and reads nothing of other accounts, while an account's counters lie on partitions
enough to be written at once. A token's partition is its account and itself; its sort key is the counter's name.
"""

from __future__ import annotations

import zlib
from typing import Final

SHARDS: Final = 16
"""A part of what is stored: another number would not find what is there."""


def counter_key(key: str) -> tuple[str, str]:
    """Partition and sort key of the counter `account/name`."""
    account, _, name = key.partition("/")
    return partition(account, zlib.crc32(name.encode()) % SHARDS), name


def token_key(key: str, token: str) -> tuple[str, str]:
    """Partition and sort key of a token of the counter `account/name`. No account holds a slash, no shard a "t"."""
    account, _, name = key.partition("/")
    return f"{account}/t/{token}", name


def partition(account: str, shard: int) -> str:
    return f"{account}/{shard:02}"
