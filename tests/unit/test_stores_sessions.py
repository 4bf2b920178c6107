"""Which sessions go when a new writer comes: old ones above 32, the oldest first, and never a young one."""

from __future__ import annotations

import msgspec
import pytest

from plusone.stores.sessions import crowded, make_room

HOUR_MS = 3_600_000
NOW_MS = 10 * HOUR_MS


class Session(msgspec.Struct, frozen=True):
    time_ms: int


def sessions(old: int, young: int) -> dict[str, Session]:
    """The young ones first: their order in the record says nothing about their age."""
    found = {f"young{number}": Session(NOW_MS - HOUR_MS + 1 + number) for number in range(young)}
    return found | {f"old{number}": Session(NOW_MS - HOUR_MS - number) for number in range(old)}


@pytest.mark.parametrize(
    ("old", "young", "left", "room"),
    [
        (31, 0, 31, True),
        (32, 0, 31, True),
        (40, 0, 31, True),
        (20, 20, 31, True),
        (2, 40, 40, True),
        (0, 999, 999, True),
        (1, 999, 999, True),
        (0, 1_000, 1_000, False),
        (1, 1_000, 1_000, False),
    ],
)
def test_old_sessions_above_32_go_and_1000_are_the_end(old: int, young: int, left: int, room: bool) -> None:
    found = sessions(old, young)
    assert make_room(found, NOW_MS) is room
    assert len(found) == left
    assert sum(writer.startswith("young") for writer in found) == young


def test_the_oldest_go_first() -> None:
    found = sessions(old=33, young=0)
    assert make_room(found, NOW_MS)
    assert "old32" not in found
    assert "old31" not in found
    assert len(found) == 31


def test_who_finds_no_room_is_told_so() -> None:
    assert str(crowded()) == "1,000 writers are using this counter at once; use fewer processes"
    assert crowded().applied == "no"
