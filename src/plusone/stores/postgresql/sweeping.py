"""Removing what is long dead or expired, some at a time."""

from __future__ import annotations

from typing import Final

from plusone.stores.postgresql.connections import Connections, Link

DEAD_KEPT_MS: Final = 60 * 60 * 1000
SWEEP_ROWS: Final = 1_000
_START: Final = (-1, "")


async def sweep(connections: Connections) -> bool:
    """Remove all that may go, a statement at a time: nothing is left for later."""
    async with connections.one() as link:
        await _sweep_counters(link)
        while (await link.change("sweep_tokens", SWEEP_ROWS))[0] == SWEEP_ROWS:
            pass
    return False


async def _sweep_counters(link: Link) -> None:
    seen, position = SWEEP_ROWS, _START
    while seen == SWEEP_ROWS:
        seen, *following = await link.change("sweep_counters", DEAD_KEPT_MS, *position, SWEEP_ROWS)
        position = (following[0], following[1])
