"""Removal of records long dead: a page of keys now and then, each record on the condition that it has not changed."""

from __future__ import annotations

from typing import Any, Final

from aetcd import rpc

from plusone.errors import CorruptRecord
from plusone.stores.etcd import records
from plusone.stores.etcd.attempt import transaction
from plusone.stores.etcd.connections import Connections

DEAD_KEPT_MS: Final = 60 * 60 * 1000
PAGE: Final = 200
REMOVED_AT_ONCE: Final = 60
"""A nested transaction of two comparisons and a delete each stays within etcd's 128 operations."""


class Sweeper:
    def __init__(self, connections: Connections, prefix: bytes) -> None:
        self._connections = connections
        self._prefix = prefix
        self._begin = self._after = records.counters(prefix)

    async def page(self, now_ms: int) -> bool:
        """Remove what is dead on the next page of keys; True if there are more behind it."""
        end = records.end_of(self._begin)
        # An old view will do: what has changed since is not removed.
        asked = rpc.RangeRequest(key=self._after, range_end=end, limit=PAGE, serializable=True)
        found = await self._connections.call("Range", asked)
        dead = [counter for counter in found.kvs if self._is_dead(counter, now_ms)]
        for start in range(0, len(dead), REMOVED_AT_ONCE):
            removals = [self._removal(counter) for counter in dead[start : start + REMOVED_AT_ONCE]]
            await self._connections.call("Txn", transaction(removals, self._prefix))
        self._after = found.kvs[-1].key + b"\0" if found.more else self._begin
        return bool(found.more)

    def _is_dead(self, counter: Any, now_ms: int) -> bool:
        try:
            row = records.decode("", counter.value)
        except CorruptRecord:
            return False  # whoever reads it is told
        return row.expires_ms is not None and row.expires_ms <= now_ms and row.written_ms <= now_ms - DEAD_KEPT_MS

    def _removal(self, counter: Any) -> Any:
        """Delete it if it is as it was seen, and holds no token, an expired one neither."""
        key = records.counter_of(self._prefix, counter.key)
        tokens = records.tokens(self._prefix, key)
        return rpc.RequestOp(
            request_txn=rpc.TxnRequest(
                compare=[
                    rpc.Compare(result="EQUAL", target="VALUE", key=counter.key, value=counter.value),
                    rpc.Compare(
                        result="EQUAL", target="VERSION", key=tokens, range_end=records.end_of(tokens), version=0
                    ),
                ],
                success=[rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=counter.key))],
            )
        )
