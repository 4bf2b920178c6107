"""Leases, by which etcd itself removes tokens once they have expired.

When a token has expired is decided by the time in its record; its lease only has to end later. A lease is never kept
alive, and etcd's clock for it is the leader's monotonic one, which starts anew when the leader changes: it ends late,
never early. One is shared by the tokens of a short while, and by so many of them that their removal holds up nobody.
"""

from __future__ import annotations

import math
from typing import Final

from aetcd import rpc

from plusone.clock import Clock
from plusone.errors import OutcomeUnknown, StoreUnavailable
from plusone.stores.etcd.connections import Connections

SHARED_SECONDS: Final = 60
TOKENS_PER_LEASE: Final = 1_000
SPARE_SECONDS: Final = 3_600
"""For clocks that differ, and for what is on its way for long."""


class Leases:
    def __init__(self, connections: Connections, clock: Clock, token_retention_ms: int) -> None:
        self._connections = connections
        self._clock = clock
        self._seconds = math.ceil(token_retention_ms / 1000) + SHARED_SECONDS + SPARE_SECONDS
        self._lease = 0
        self._until = 0.0
        self._left = 0

    async def take(self, tokens: int) -> int:
        """A lease that lasts for the retention, for so many tokens more. Raises what `apply` would."""
        now = self._clock.elapsed()
        if self._left < tokens or now >= self._until:
            try:
                granted = await self._connections.call("LeaseGrant", rpc.LeaseGrantRequest(TTL=self._seconds))
            except OutcomeUnknown as error:
                # Perhaps there is a lease that nobody uses; of the counters nothing was sent.
                raise StoreUnavailable(str(error)) from error
            self._lease, self._until, self._left = granted.ID, now + SHARED_SECONDS, TOKENS_PER_LEASE
        self._left -= tokens
        return int(self._lease)

    def forget(self) -> None:
        """It was not there any more: somebody revoked it."""
        self._left = 0
