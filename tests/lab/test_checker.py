"""Hand-made histories and what the checker says of them, word for word."""

from __future__ import annotations

from typing import Final

import pytest

pytest.importorskip("numpy")

from plusone.lab.checker import check
from plusone.lab.results import Violation
from plusone.types import MAX, MIN
from tests.lab.made import Made, add, delete, history, put, read, refused, rejected, unknown

GOOD: Final[dict[str, list[Made]]] = {
    "nothing happened": [],
    "one after the other": [add(1, 2, 1), add(3, 4, 2), read(5, 6, 2)],
    "one after the other, with revisions": [add(1, 2, 1, revision=1), add(3, 4, 2, revision=2)],
    "two at once, told the other way around": [add(1, 9, 2), add(2, 8, 1)],
    "a read at the same time sees either": [add(1, 9, 1), read(2, 3, 0), read(4, 5, 1)],
    "told nothing, and the sum is right": [add(1, 2), add(1, 2), add(3, 4), read(5, 6, 3)],
    "an unknown one that happened": [unknown(1, 2), add(3, 4, 2)],
    "an unknown one that never happened": [unknown(1, 2), add(3, 4, 1), read(5, 6, 1)],
    "an unknown one that happens late, after others": [unknown(1, 2), add(3, 4, 1), add(5, 6, 3), read(7, 8, 3)],
    "a ghost: it was answered unknown, and read as not there before it was": [
        unknown(1, 2),
        read(3, 4, 0, revision=0),
        add(5, 6, 1, revision=1),
        read(7, 8, 2, revision=2),
    ],
    "one that was never answered": [unknown(1), read(3, 4, 1)],
    "a refused one": [refused(1, 2), add(3, 4, 1)],
    "an unknown read tells nothing": [
        add(1, 2, 1),
        Made(called=3, answered=4, kind="read", amount=0, result="unknown"),
        add(5, 6, 2),
    ],
    "rejected at the edge": [add(1, 2, 1, ceiling=2), add(3, 4, 2, ceiling=2), rejected(5, 6, 2, ceiling=2)],
    "rejected while the last one is under way": [add(1, 9, 1, ceiling=1), rejected(2, 3, ceiling=1)],
    "rejected because of an unknown one": [unknown(1, 2, ceiling=1), rejected(3, 4, ceiling=1)],
    "rejected below the ceiling, because it adds more": [add(1, 2, 3, by=3), rejected(3, 4, 3, by=2, ceiling=4)],
    "rejected at the floor": [
        add(1, 2, 0, by=0),
        rejected(3, 4, 0, by=-1, floor=0),
    ],
    "up and down": [add(1, 2, 5, by=5), add(3, 4, 3, by=-2), read(5, 6, 3)],
    "sets and deletes": [put(1, 2, 7), add(3, 4, 8), delete(5, 6), add(7, 8, 1)],
    "sets and deletes, with revisions": [
        put(1, 2, 7, previous=0, revision=1),
        add(3, 4, 8, revision=2),
        delete(5, 6, revision=3),
        read(7, 8, 0, revision=3),
        add(9, 10, 1, revision=4),
    ],
    "an unknown set in a gap of the revisions": [
        add(1, 2, 1, revision=1),
        Made(called=3, answered=4, kind="set", amount=50, result="unknown"),
        add(5, 6, 51, revision=3),
    ],
    "to the end of 64 bits, and no further": [
        put(1, 2, MAX - 1, revision=1),
        add(3, 4, MAX, revision=2),
        rejected(5, 6, MAX, revision=2),
    ],
    "to the other end": [put(1, 2, MIN + 1, revision=1), add(3, 4, MIN, by=-1, revision=2)],
    "values near 2^63 without revisions": [
        add(1, 2, MAX - 1, by=MAX - 1),
        add(3, 4, MAX),
        rejected(5, 6, MAX),
    ],
    "different sizes, told": [add(1, 9, 5, by=5), add(2, 8, 7, by=2), add(10, 11, 8)],
    "different sizes, with an unknown one between": [add(1, 2, 5, by=5), unknown(3, 4, by=3), add(5, 6, 10, by=2)],
    "two counters have nothing to do with each other": [add(1, 2, 1), add(3, 4, 1, counter="other")],
    "one token, asked twice": [add(1, 2, 1, token="t"), add(3, 4, 1, token="t"), add(5, 6, 2)],
    "one token, unknown at first": [
        Made(called=1, answered=2, result="unknown", token="t"),
        add(3, 4, 1),
        add(5, 6, 2, token="t"),
        read(7, 8, 2),
    ],
}

BAD: Final[dict[str, tuple[list[Made], dict[Violation, int]]]] = {
    "lost update: one after the other, told the same": ([add(1, 2, 1), add(3, 4, 1), add(5, 6, 2)], {"lost update": 1}),
    "lost update: at once, told the same": (
        [add(1, 4, 1), add(2, 3, 1), add(5, 6, 2)],
        {"duplicate value": 1, "lost update": 1},
    ),
    "lost update: told nothing, the sum is short": (
        [add(1, 2), add(1, 2), add(3, 4), read(5, 6, 2)],
        {"lost update": 1},
    ),
    "lost update: the sum is short, unknown ones included": (
        [add(1, 2), add(1, 2), unknown(1, 2), read(5, 6, 1)],
        {"lost update": 1},
    ),
    "lost update: sizes differ, told nothing": ([add(1, 2, by=2), add(3, 4, by=5), read(5, 6, 5)], {"lost update": 1}),
    "lost update: the revision rises, the value does not": (
        [
            add(1, 2, 1, previous=0, revision=1),
            add(3, 4, 1, previous=0, revision=2),
            add(5, 6, 2, previous=1, revision=3),
        ],
        {"lost update": 1},
    ),
    "duplicate value: increment, then read": (
        [add(1, 9, 2), add(2, 8, 2), add(10, 11, 3), read(12, 13, 3)],
        {"duplicate value": 1},
    ),
    "duplicate value: three of them": (
        [add(1, 9, 3), add(2, 8, 3), add(3, 7, 3), read(12, 13, 3)],
        {"duplicate value": 2},
    ),
    "phantom increment: the next value is two higher": ([add(1, 2, 1), add(3, 4, 3)], {"phantom increment": 1}),
    "phantom increment: the sum is above": ([add(1, 2), add(3, 4), read(5, 6, 3)], {"phantom increment": 1}),
    "phantom increment: a revision that nobody took": (
        [add(1, 2, 1, revision=1), add(3, 4, 3, revision=3)],
        {"phantom increment": 1},
    ),
    "phantom increment: the unknown one came too late for it": (
        [add(1, 2, 2), unknown(3, 4)],
        {"phantom increment": 1},
    ),
    "phantom increment: an unknown one counts twice": (
        [unknown(1, 2), add(3, 4, 3), read(5, 6, 3)],
        {"phantom increment": 1},
    ),
    "phantom increment: a refused one happened": ([refused(1, 2), add(3, 4, 2)], {"phantom increment": 1}),
    "phantom increment: an unknown one of another size": (
        [add(1, 2, 1, revision=1), unknown(3, 4, by=3), add(5, 6, 3, revision=3)],
        {"phantom increment": 1},
    ),
    "phantom increment: one token applied twice": (
        [add(1, 2, 1, token="t"), add(3, 4, 2, token="t")],
        {"phantom increment": 1},
    ),
    "bound crossed: told a value above the ceiling": (
        [add(1, 2, 1, ceiling=1), add(3, 4, 2, ceiling=1)],
        {"bound crossed": 1},
    ),
    "bound crossed: below the floor": ([add(1, 2, -1, by=-1, floor=0)], {"bound crossed": 1}),
    "bound crossed: told nothing, one more than the ceiling admits": (
        [add(1, 2, ceiling=2), add(1, 2, ceiling=2), add(1, 2, ceiling=2), read(3, 4, 3)],
        {"bound crossed": 1},
    ),
    "bound crossed: with revisions": (
        [put(1, 2, 9, revision=1), add(3, 4, 11, by=2, ceiling=10, revision=2)],
        {"bound crossed": 1},
    ),
    "bound crossed: it wrapped around at 2^63": (
        [put(1, 2, MAX, revision=1), add(3, 4, MIN, revision=2)],
        {"bound crossed": 1},
    ),
    "false rejection: told a value that admits it": (
        [add(1, 2, 1, ceiling=9), rejected(3, 4, 1, ceiling=9)],
        {"false rejection": 1},
    ),
    "false rejection: there cannot have been so many": (
        [add(1, 2, 1, ceiling=9), rejected(3, 4, ceiling=9)],
        {"false rejection": 1},
    ),
    "false rejection: the next one was told less": (
        [add(1, 9), add(1, 9), add(1, 9), rejected(2, 3, ceiling=2), add(4, 8, 2)],
        {"false rejection": 1},
    ),
    "false rejection: at a revision that admits it": (
        [put(1, 2, 5, revision=1), rejected(3, 4, ceiling=9, revision=1)],
        {"false rejection": 1},
    ),
    "false rejection: in a state from before a reset": (
        [
            put(1, 2, 9, revision=1),
            put(3, 4, 0, previous=9, revision=2),
            rejected(5, 6, 9, ceiling=9, revision=1),
            read(7, 8, 0, revision=2),
        ],
        {"false rejection": 1},
    ),
    "stale read": ([add(1, 2, 1), add(3, 4, 2), read(5, 6, 1), read(7, 8, 2)], {"stale read": 1}),
    "stale read: told nothing": ([add(1, 2), add(3, 4), read(5, 6, 1), read(7, 8, 2)], {"stale read": 1}),
    "stale read: with revisions": (
        [add(1, 2, 1, revision=1), add(3, 4, 2, revision=2), read(5, 6, 1, revision=1), add(7, 8, 3, revision=3)],
        {"stale read": 1},
    ),
    "stale read: behind a set": ([put(1, 2, 5), read(3, 4, 0), add(5, 6, 6)], {"stale read": 1}),
    "order reversed": ([add(1, 2, 2), add(3, 4, 1), add(5, 6, 3)], {"order reversed": 1}),
    "order reversed: with revisions": (
        [add(1, 2, 2, revision=2), add(3, 4, 1, revision=1), add(5, 6, 3, revision=3)],
        {"order reversed": 1},
    ),
    "lost after acknowledgement: everything counts from before": (
        [add(1, 2, 1), add(3, 4, 2), add(5, 6, 3), add(7, 8, 2), add(9, 10, 3), add(11, 12, 4)],
        {"lost after acknowledgement": 2},
    ),
    "lost after acknowledgement: with revisions": (
        [
            add(1, 2, 1, revision=1),
            add(3, 4, 2, revision=2),
            add(5, 6, 3, revision=3),
            add(7, 8, 2, revision=2),
            add(9, 10, 3, revision=3),
        ],
        {"lost after acknowledgement": 2},
    ),
    "lost after acknowledgement: the last word is lower": (
        [add(1, 2, 1), add(3, 4, 2), read(5, 6, 1)],
        {"lost after acknowledgement": 1},
    ),
    "wrong value: read what never was": ([add(1, 2, 1), read(3, 4, 7), read(5, 6, 1)], {"wrong value": 1}),
    "wrong value: no multiple of what is added": ([add(1, 2, 5, by=5), read(3, 4, 7)], {"wrong value": 1}),
    "wrong value: the answer contradicts itself": ([add(1, 2, 7, previous=0)], {"wrong value": 1}),
    "wrong value: a read at a revision of another value": (
        [add(1, 2, 1, revision=1), read(3, 4, 5, revision=1)],
        {"wrong value": 1},
    ),
    "wrong value: one answer is off by one": (
        [
            add(1, 2, 1, previous=0, revision=1),
            add(3, 4, 3, previous=2, revision=2),
            add(5, 6, 3, previous=2, revision=3),
        ],
        {"wrong value": 1},
    ),
    "wrong value: a set that told another value": (
        [Made(called=1, answered=2, kind="set", amount=5, value=6)],
        {"wrong value": 1},
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    verdict = check(history(*GOOD[name]))

    assert (verdict.verdict, verdict.contradictions, verdict.undecided) == ("ok", (), "")


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    operations, kinds = BAD[name]
    verdict = check(history(*operations))

    assert (verdict.verdict, verdict.found) == ("illegal", kinds), verdict.contradictions
    assert {contradiction.kind for contradiction in verdict.contradictions} == set(kinds)


def test_a_lost_update_next_to_a_failover_is_the_failovers() -> None:
    verdict = check(history(add(1, 2, 1), add(3, 4, 2), add(6, 7, 2), add(8, 9, 3), failover=5))

    assert verdict.found == {"lost after acknowledgement": 1}


def test_a_sum_that_is_short_after_a_failover_is_the_failovers() -> None:
    verdict = check(history(add(1, 2), add(3, 4), read(6, 7, 1), failover=5))

    assert verdict.found == {"lost after acknowledgement": 1}


def test_the_sentence_and_the_witnesses() -> None:
    [contradiction] = check(history(add(1, 2, 1), add(3, 4, 3), add(5, 6, 4))).contradictions

    assert contradiction.sentence == (
        "#2 was told 3, but nobody can have brought the counter from 1 to 2 by then: it rose by more than was asked for"
    )
    assert [(witness.number, witness.value) for witness in contradiction.operations] == [(1, 1), (2, 3)]
    assert (contradiction.counter, contradiction.kind) == ("c", "phantom increment")


def test_the_first_of_each_kind_over_all_counters() -> None:
    verdict = check(history(add(1, 2, 2), add(3, 4, 2, counter="other"), add(5, 6, 4)))

    assert (verdict.counters, verdict.operations, verdict.found) == (2, 3, {"phantom increment": 3})
    [contradiction] = verdict.contradictions
    assert (contradiction.counter, contradiction.operations[-1].number) == ("c", 1)


def test_nothing_in_the_smallest_set_is_there_without_need() -> None:
    """Of thirty operations, three contradict one another."""
    sets = [put(10 * number, 10 * number + 1, number) for number in range(1, 30)]
    verdict = check(history(*sets, read(2000, 2001, 28)))

    [contradiction] = verdict.contradictions
    assert [witness.number for witness in contradiction.operations] == [30, 28, 29]


def test_the_budget_ends() -> None:
    adds = [add(1, 1000, by=2**number) for number in range(24)]
    verdict = check(history(*adds, read(2, 999, 2**24 + 1)), budget=1_000)

    assert (verdict.verdict, verdict.contradictions) == ("unknown", ())
    assert verdict.undecided == "c: no order was found among 1000 states, and not all were tried"
