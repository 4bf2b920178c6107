"""The judge, judged: histories by hand, good and bad, each with its exact verdict."""

from __future__ import annotations

from typing import Any

import pytest

from plusone.errors import NotSent, OutcomeUnknown
from plusone.stores.protocol import Answer, GuardedAdd, TokenWrite
from plusone.types import MAX, MIN, Operation, Outcome, Reason, utc
from tests.model.history import Call, History, Read, Told
from tests.model.judge import judge
from tests.model.network import Phase, Sent, Step
from tests.model.plain import State

AT = utc(1_000)


def step(time: float, before: tuple[int, int, bool], after: tuple[int, int, bool], **request: Any) -> Step:
    """A step of the writer "w0", which belongs to process 0, unless told otherwise."""
    start, end = State(*before), State(*after)
    made = {"writer": "w0", "seq": round(time), "total": end.value - start.value, **request}
    tokens = tuple(TokenWrite(token, "") for token in made.pop("tokens", ()))
    lost = made.pop("lost", False)
    asked = GuardedAdd("k", acked=0, applied=end.revision - start.revision, lo=MIN, hi=MAX, tokens=tokens, **made)
    lives = (None if start.exists else 0, None if end.exists else 0)
    return Step(time, asked, start, end, lives, lost)


def told(value: int, previous: int, revision: int, reason: Reason | None = None, replayed: bool = False) -> Outcome:
    return Outcome(reason is None, value, previous, revision, AT, replayed, reason)


def call(called: float, returned: float | None, result: Any, *operations: Operation, process: int = 0) -> Call:
    asked = operations or (Operation.add(1),)
    return Call(process, "k", asked, asked[0].token, called, returned, result)


def history(steps: list[Step], calls: list[Call], reads: list[Read] | None = None, **more: Any) -> History:
    phases = [Phase(s.time, s.after, None) for s in steps]
    sent = {
        (s.request.key, s.request.writer, s.request.seq): Sent(int(s.request.writer[1:]), s.time - 0.5, AT)
        for s in steps
    }
    return History(calls, reads or [], steps, {"k": phases}, more.pop("heard", []), sent, 100.0, **more)


ZERO, ONE, TWO = (0, 0, False), (1, 1, True), (2, 2, True)
FIRST, SECOND = step(1, ZERO, ONE), step(2, ONE, TWO)
ANSWERED = call(0, 1.5, [told(1, 0, 1)])
LIMITED = Operation.add(1, ceiling=1)
TOKEN = Operation.add(1, token="t")
WITH_TOKEN = step(1, ZERO, ONE, tokens=["t"])

GOOD = {
    "nothing": history([], []),
    "an answer": history([FIRST], [ANSWERED]),
    "a batch of two": history([step(1, ZERO, TWO)], [call(0, 2, [told(1, 0, 1)]), call(0, 2, [told(2, 1, 2)])]),
    "applied without being told": history([FIRST], [call(0, 1.5, OutcomeUnknown())]),
    "a caller who left": history([FIRST], [call(0, None, None)]),
    "unknown, and it did not happen": history([], [call(0, 1.5, OutcomeUnknown())]),
    "told not, and it did not": history([], [call(0, 1.5, NotSent())]),
    "a rejection": history([FIRST], [ANSWERED, call(1, 2, [told(1, 1, 1, "ceiling")], LIMITED)]),
    "a rejection within a batch": history(
        [step(1, ZERO, ONE)], [call(0, 2, [told(1, 0, 1)]), call(0, 2, [told(1, 1, 1, "ceiling")], LIMITED)]
    ),
    "a replay": history(
        [WITH_TOKEN], [call(0, 2, [told(1, 0, 1)], TOKEN), call(3, 4, [told(1, 0, 1, None, True)], TOKEN)]
    ),
    "a read": history([FIRST], [ANSWERED], [Read("k", 0.5, 0.7, State(*ZERO)), Read("k", 0.5, 1.5, State(*ONE))]),
}

BAD = {
    "answered, but nothing happened": (history([], [ANSWERED]), "no step did it"),
    "it happened before the call": (history([FIRST], [call(1.2, 1.5, [told(1, 0, 1)])]), "no step did it"),
    "it happened after the answer": (history([FIRST], [call(0, 0.9, [told(1, 0, 1)])]), "no step did it"),
    "another process did it": (history([FIRST], [call(0, 1.5, [told(1, 0, 1)], process=1)]), "no step did it"),
    "counted twice": (history([FIRST, SECOND], [ANSWERED]), "nobody in doubt explains"),
    "unknown, and counted twice": (
        history([FIRST, SECOND], [call(0, 3, OutcomeUnknown())]),
        "nobody in doubt explains",
    ),
    "told not, and it happened": (history([FIRST], [call(0, 1.5, NotSent())]), "nobody in doubt explains"),
    "rejected, and it happened": (
        history([FIRST, SECOND], [ANSWERED, call(1.2, 3, [told(1, 1, 1, "ceiling")], LIMITED)]),
        "nobody in doubt explains",
    ),
    "one revision for two": (history([FIRST], [ANSWERED, call(0, 1.5, [told(1, 0, 1)])]), "two operations were told"),
    "a wrong value": (history([FIRST], [call(0, 1.5, [told(2, 1, 1)])]), "but the counter was"),
    "a rejection that was not due": (
        history([FIRST], [ANSWERED, call(1, 2, [told(1, 1, 1, "ceiling")], Operation.add(1, ceiling=2))]),
        "untrue",
    ),
    "a rejection by a later state": (
        history([FIRST], [ANSWERED, call(0.1, 0.9, [told(1, 1, 1, "ceiling")], LIMITED)]),
        "untrue",
    ),
    "a total beside the operations": (history([step(1, ZERO, (5, 1, True))], [ANSWERED]), "the operations lead to"),
    "a token twice": (
        history(
            [WITH_TOKEN, step(2, ONE, TWO, tokens=["t"])],
            [call(0, 1.5, OutcomeUnknown(), TOKEN), call(1.2, 2.2, [told(2, 1, 2)], TOKEN)],
        ),
        "a token was recorded twice",
    ),
    "a replay that differs": (
        history([WITH_TOKEN], [call(0, 2, [told(1, 0, 1)], TOKEN), call(3, 4, [told(3, 2, 3, None, True)], TOKEN)]),
        "no step did it",
    ),
    "a batch twice": (
        history([FIRST, step(2, ONE, TWO, seq=1)], [ANSWERED, call(0, 3, OutcomeUnknown())]),
        "a batch was applied twice",
    ),
    "a stale read": (history([FIRST], [ANSWERED], [Read("k", 1.2, 1.5, State(*ZERO))]), "read what never was"),
    "a loss without a word": (
        history(
            [step(1, ZERO, ONE, lost=True), step(3, ZERO, ONE)],
            [ANSWERED, call(2, 4, [told(1, 0, 1)])],
            heard=[Told(0, 1.5, FIRST.request, Answer("applied", 0))],
            failovers=[2.0],
        ),
        "without a word",
    ),
    "an alarm without a loss": (
        history([FIRST], [ANSWERED], heard=[Told(0, 1.5, FIRST.request, Answer("gap", last=0))]),
        "a gap where nothing was lost",
    ),
    "late": (history([FIRST], [Call(0, "k", (Operation.add(1),), None, 0, 9, [told(1, 0, 1)], 8)]), "by its deadline"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_has_nothing_wrong(name: str) -> None:
    assert judge(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_seen(name: str) -> None:
    bad, what = BAD[name]
    violations = judge(bad)
    assert violations
    assert what in violations[0]
