"""How many sessions a counter keeps, and for how long, where Python decides it. The rules are in docs/protocol.md."""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

from plusone.errors import StoreUnavailable

SESSION_KEPT_MS: Final = 60 * 60 * 1000
"""An hour: for stores where only writers' clocks stamp sessions."""
SESSIONS_KEPT: Final = 32
SESSIONS_MAX: Final = 1_000


class Session(Protocol):
    @property
    def time_ms(self) -> int: ...


AnySession = TypeVar("AnySession", bound=Session)


def make_room(
    sessions: dict[str, AnySession], now_ms: int, *, kept: int = SESSIONS_KEPT, kept_ms: int = SESSION_KEPT_MS
) -> bool:
    """Prune sessions for a new one, oldest first; False when too many of them are too young to go."""
    if len(sessions) >= kept:
        by_age = sorted(sessions.items(), key=lambda item: item[1].time_ms)
        for writer, session in by_age[: len(by_age) - kept + 1]:
            if session.time_ms > now_ms - kept_ms:
                break
            del sessions[writer]
    return len(sessions) < SESSIONS_MAX


def crowded() -> StoreUnavailable:
    """For a new writer for whom there is no room."""
    return StoreUnavailable(f"{SESSIONS_MAX:,} writers are using this counter at once; use fewer processes")
