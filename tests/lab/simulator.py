"""Seeded histories of concurrent callers on one bounded counter, in virtual time, with and without a bug.

The counter is correct, and each operation takes effect at one moment between its call and its answer. A `Bug` spoils
one answer, or one effect. Whether a bug shows in the history at all is for the brute-force oracle to say (`brute`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from plusone.lab.history import Answer, Call, Event, Mark
from plusone.types import MAX, MIN

Bug: TypeAlias = Literal["drop", "duplicate", "reorder", "stale", "off by one", "lost on failover"]
BUGS: Final[tuple[Bug, ...]] = get_args(Bug)
Telling: TypeAlias = Literal["nothing", "value", "all"]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of history it is."""

    operations: int = 8
    callers: int = 3
    tells: Telling = "all"
    """What an applied operation and a rejection tell: `all` is value, previous and revision."""
    amounts: Sequence[int] = (1,)
    ceiling: int | None = None
    floor: int | None = None
    sets: float = 0.0
    """The share of sets and deletes."""
    reads: float = 0.2
    unknown: float = 0.1
    """The share of changes whose answer is lost; half of them never happen, or happen after it."""
    refused: float = 0.05
    final_read: bool = False
    """Whether somebody reads when all is quiet."""


SHAPES: Final = [
    Shape(
        operations=operations,
        tells=tells,
        amounts=amounts,
        ceiling=ceiling,
        floor=floor,
        sets=sets,
        unknown=unknown,
        final_read=final_read,
    )
    for tells in get_args(Telling)
    for amounts in ((1,), (1, 2), (3,), (1, -1, 2), (-1,))
    for ceiling, floor in ((None, None), (3, -1))
    for sets in (0.0, 0.2)
    for unknown in (0.0, 0.2)
    for final_read in (False, True)
    for operations in (4, 7)
]
"""Small ones of every kind: with and without revisions, bounds, sets, unknown outcomes."""


class _Doing(msgspec.Struct):
    """An operation under way."""

    call: Call
    effect_ns: int | None
    answer_ns: int
    result: str = ""
    value: int = 0
    previous: int = 0
    revision: int = 0
    lost: bool = False


class _Counter:
    """The counter, and its past."""

    def __init__(self) -> None:
        self.states: list[tuple[int, int]] = [(0, 0)]

    @property
    def value(self) -> int:
        return self.states[-1][0]

    @property
    def revision(self) -> int:
        return self.states[-1][1]

    def apply(self, doing: _Doing) -> None:
        """Do it, and remember what there is to tell."""
        call, before = doing.call, self.value
        doing.previous = before
        if call.kind == "read":
            doing.result = "read"
        elif call.kind == "add" and not _admits(call, before):
            doing.result = "rejected"
        else:
            after = before + call.amount if call.kind == "add" else call.amount
            self.states.append((after, self.revision + 1))
            doing.result = "applied"
        doing.value, doing.revision = self.states[-1]


def _admits(call: Call, value: int) -> bool:
    after = value + call.amount
    if call.amount > 0:
        return after <= (MAX if call.ceiling is None else call.ceiling)
    return call.amount == 0 or after >= (MIN if call.floor is None else call.floor)


def simulate(seed: int, shape: Shape, bug: Bug | None = None) -> list[Event]:
    """The events of one history."""
    source = random.Random(seed)
    doings = _schedule(source, shape)
    counter = _Counter()
    effects = sorted((doing for doing in doings if doing.effect_ns is not None), key=lambda doing: doing.effect_ns or 0)
    changes = [doing for doing in effects if doing.call.kind != "read" and not doing.lost]
    victim = source.choice(changes) if changes else None
    fallen_ns = 0
    for doing in effects:
        if bug == "lost on failover" and doing is victim and len(counter.states) > 1:
            # What it was a while ago is what it is again.
            counter.states.append(source.choice(counter.states[:-1]))
            fallen_ns = doing.effect_ns or 0
        before = list(counter.states)
        counter.apply(doing)
        if bug == "drop" and doing is victim:
            counter.states = before
        if bug == "duplicate" and doing is victim and doing.result == "applied":
            told = doing.value, doing.previous, doing.revision
            counter.apply(doing)
            doing.value, doing.previous, doing.revision = told
    if bug is not None:
        _spoil(source, bug, doings, counter)
    return _events(shape, doings, [Mark(at_ns=fallen_ns, fault="failover", phase="hit")] if fallen_ns else [])


def _schedule(source: random.Random, shape: Shape) -> list[_Doing]:
    """Who calls when, what takes effect when, and who is answered when. No two things happen at one time."""
    doings: list[_Doing] = []
    free = [0] * shape.callers
    for number in range(1, shape.operations + 1):
        process = min(range(shape.callers), key=lambda caller: free[caller])
        called = free[process] + source.randint(1, 20)
        answered = called + source.randint(2, 60)
        call = _call(source, shape, number, process, called)
        effect: int | None = source.randint(called + 1, answered)
        lost = refused = False
        if call.kind != "read":
            lost = source.random() < shape.unknown
            refused = not lost and source.random() < shape.refused
        if lost and source.random() < 0.5:
            effect = source.choice([None, answered + source.randint(0, 200)])
        if refused:
            effect = None
        free[process] = answered
        doings.append(_Doing(call, effect, answered, "refused" if refused else "", lost=lost))
    if shape.final_read:
        last = max([*free, *(doing.effect_ns or 0 for doing in doings)])
        call = Call(number=shape.operations + 1, at_ns=last + 1, process=0, counter="c", kind="read")
        doings.append(_Doing(call, last + 2, last + 3))
    return doings


def _call(source: random.Random, shape: Shape, number: int, process: int, at_ns: int) -> Call:
    chance = source.random()
    if chance < shape.reads:
        return Call(number=number, at_ns=at_ns, process=process, counter="c", kind="read")
    if chance < shape.reads + shape.sets:
        if source.random() < 0.5:
            return Call(number=number, at_ns=at_ns, process=process, counter="c", kind="delete")
        amount = source.randint(-2, 4)
        return Call(number=number, at_ns=at_ns, process=process, counter="c", kind="set", amount=amount)
    return Call(
        number=number,
        at_ns=at_ns,
        process=process,
        counter="c",
        kind="add",
        amount=source.choice(shape.amounts),
        ceiling=shape.ceiling,
        floor=shape.floor,
    )


def _spoil(source: random.Random, bug: Bug, doings: Sequence[_Doing], counter: _Counter) -> None:
    """The bugs that spoil an answer, and no effect."""
    applied = [doing for doing in doings if doing.result == "applied" and not doing.lost]
    told = [doing for doing in doings if doing.result in ("applied", "read", "rejected") and not doing.lost]
    if bug == "off by one" and told:
        doing = source.choice(told)
        doing.value += source.choice((-1, 1))
    elif bug == "reorder" and len(applied) > 1:
        one, other = source.sample(applied, 2)
        if one.call.amount == other.call.amount and one.call.kind == other.call.kind:
            one_told = one.value, one.previous, one.revision
            one.value, one.previous, one.revision = other.value, other.previous, other.revision
            other.value, other.previous, other.revision = one_told
    elif bug == "stale":
        reads = [doing for doing in told if doing.result == "read"]
        if reads:
            doing = source.choice(reads)
            doing.value, doing.revision = source.choice(counter.states)


def _events(shape: Shape, doings: Sequence[_Doing], marks: Sequence[Mark]) -> list[Event]:
    events: list[tuple[int, int, Event]] = [(mark.at_ns, 0, mark) for mark in marks]
    for number, doing in enumerate(sorted(doings, key=lambda doing: doing.call.at_ns), 1):
        doing.call = msgspec.structs.replace(doing.call, number=number)
        events.append((doing.call.at_ns, 1, doing.call))
        if doing.lost:
            answer = Answer(number=number, at_ns=doing.answer_ns, result="unknown")
        elif doing.result == "refused":
            answer = Answer(number=number, at_ns=doing.answer_ns, result="refused")
        else:
            answer = _answer(shape, doing)
        events.append((doing.answer_ns, 2, answer))
    # At one time: calls before answers, so that those are concurrent, as the checker takes them to be.
    return [event for _, _, event in sorted(events, key=lambda entry: entry[:2])]


def _answer(shape: Shape, doing: _Doing) -> Answer:
    everything = shape.tells == "all"
    tells_value = shape.tells != "nothing" or doing.result == "read"
    return msgspec.convert(
        {
            "type": "answer",
            "number": doing.call.number,
            "at_ns": doing.answer_ns,
            "result": doing.result,
            "value": doing.value if tells_value else None,
            "previous": doing.previous if everything and doing.result == "applied" else None,
            "revision": max(doing.revision, 0) if everything else None,
        },
        Answer,
    )
