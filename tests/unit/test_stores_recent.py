"""What stores remember of counters is bounded, by number and by size."""

from __future__ import annotations

from plusone.stores.recent import Recent


def test_the_elder_half_is_forgotten() -> None:
    recent = Recent[bytes](2, 1_000, len)
    for number in range(4):
        recent.put(f"{number}", b"item")
    assert [recent.get(f"{number}") for number in range(5)] == [b"item"] * 4 + [None]
    recent.put("4", b"item")
    assert [recent.get(f"{number}") for number in range(5)] == [None, None, *[b"item"] * 3]
    recent.put("4", b"new")
    assert recent.forget("4") == b"new"
    assert recent.forget("3") == b"item"
    assert recent.forget("none") is None
    assert [recent.get(f"{number}") for number in range(5)] == [None, None, b"item", None, None]
    recent.clear()
    assert recent.get("2") is None


def test_a_record_that_changes_takes_no_other_s_place() -> None:
    recent = Recent[bytes](2, 1_000, len)
    for number in range(4):
        recent.put(f"{number}", b"item")
    for size in range(100):
        recent.put("3", b"x" * size)
    assert [recent.get(f"{number}") for number in range(4)] == [b"item", b"item", b"item", b"x" * 99]


def test_nothing_older_comes_back() -> None:
    recent = Recent[bytes](1, 1_000, len)
    for item in (b"old", b"new"):
        recent.put("one", item)
        recent.put("two", item)
    assert recent.forget("one") == b"new"
    assert recent.get("one") is None


def test_large_records_take_more_room() -> None:
    recent = Recent[bytes](100, 1_000, len)
    for number in range(4):
        recent.put(f"{number}", b"x" * 600)
    assert [recent.get(f"{number}") is None for number in range(4)] == [True, True, False, False]
    for _ in range(9):
        recent.put("3", b"x" * 100)
    assert recent.get("2") is not None
