"""Which server of a cluster has which slot: what CLUSTER SLOTS says."""

from __future__ import annotations

import hashlib
from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from plusone.errors import StoreUnavailable
from plusone.stores.redis.connections import Address
from plusone.stores.redis.keys import hash_tag

SLOTS: Final = 16_384


class Shard(msgspec.Struct, frozen=True):
    """Servers that have the same slots."""

    primary: Address
    replicas: tuple[Address, ...]


class Layout(msgspec.Struct, frozen=True):
    """The cluster as one of its nodes sees it at one moment."""

    shards: tuple[Shard, ...]
    """In the order of their primaries' ids."""
    by_slot: list[Shard | None]
    fingerprint: str
    """Another one if any slot has another primary."""

    def shard(self, slot: int) -> Shard:
        """Who has the slot; raises `StoreUnavailable` if nobody has."""
        shard = self.by_slot[slot]
        if shard is None:
            raise StoreUnavailable(f"Redis: no node of the cluster serves slot {slot}; see CLUSTER INFO")
        return shard


def slot_of(key: str) -> int:
    """The slot of the counter `account/name` and of its tokens."""
    return crc_hqx(hash_tag(key).encode(), 0) % SLOTS


def parse_layout(reply: Any, asked: str) -> Layout:
    """What a reply to CLUSTER SLOTS says; `asked` is the host that gave it.

    A node that does not know its own address, or was told not to give it, leaves the host out: then it is the one that
    was asked.
    """
    shards: dict[bytes, Shard] = {}
    by_slot: list[Shard | None] = [None] * SLOTS
    ranges: list[tuple[bytes, int, int]] = []
    for first, last, primary, *replicas in reply:
        name = primary[2]
        address = _address(primary, asked)
        if address is None:
            continue
        known = (_address(replica, asked) for replica in replicas)
        shard = shards.setdefault(name, Shard(address, tuple(replica for replica in known if replica is not None)))
        by_slot[first : last + 1] = [shard] * (last + 1 - first)
        ranges.append((name, first, last))
    fingerprint = hashlib.blake2b(repr(sorted(ranges)).encode(), digest_size=8).hexdigest()
    return Layout(tuple(shards[name] for name in sorted(shards)), by_slot, fingerprint)


def _address(node: Sequence[Any], asked: str) -> Address | None:
    host, port = node[0], node[1]
    if host == b"?":  # it is meant to have a name, and has none yet
        return None
    return (host.decode() if host else asked), port
