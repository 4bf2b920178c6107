"""Histories made by hand: operations as (called, answered), in any order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from plusone.lab.history import Answer, Call, Event, History, Mark, history_of
from plusone.lab.history.events import AnswerResult, OperationKind


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One operation; `answered` None if no answer came."""

    called: int
    answered: int | None
    kind: OperationKind = "add"
    amount: int = 1
    result: AnswerResult = "applied"
    value: int | None = None
    previous: int | None = None
    revision: int | None = None
    ceiling: int | None = None
    floor: int | None = None
    counter: str = "c"
    token: str | None = None


def add(
    called: int,
    answered: int,
    value: int | None = None,
    *,
    by: int = 1,
    previous: int | None = None,
    revision: int | None = None,
    ceiling: int | None = None,
    floor: int | None = None,
    counter: str = "c",
    token: str | None = None,
) -> Made:
    """An add that was applied."""
    return Made(
        called=called,
        answered=answered,
        amount=by,
        value=value,
        previous=previous,
        revision=revision,
        ceiling=ceiling,
        floor=floor,
        counter=counter,
        token=token,
    )


def rejected(
    called: int,
    answered: int,
    value: int | None = None,
    *,
    by: int = 1,
    ceiling: int | None = None,
    floor: int | None = None,
    revision: int | None = None,
) -> Made:
    return Made(
        called=called,
        answered=answered,
        amount=by,
        result="rejected",
        value=value,
        revision=revision,
        ceiling=ceiling,
        floor=floor,
    )


def unknown(called: int, answered: int | None = None, *, by: int = 1, ceiling: int | None = None) -> Made:
    return Made(called=called, answered=answered, amount=by, result="unknown", ceiling=ceiling)


def refused(called: int, answered: int, *, by: int = 1) -> Made:
    return Made(called=called, answered=answered, amount=by, result="refused")


def read(called: int, answered: int, value: int, *, revision: int | None = None) -> Made:
    return Made(called=called, answered=answered, kind="read", amount=0, result="read", value=value, revision=revision)


def put(called: int, answered: int, amount: int, *, previous: int | None = None, revision: int | None = None) -> Made:
    """A set."""
    return Made(
        called=called, answered=answered, kind="set", amount=amount, value=amount, previous=previous, revision=revision
    )


def delete(called: int, answered: int, *, revision: int | None = None) -> Made:
    return Made(called=called, answered=answered, kind="delete", amount=0, value=0, revision=revision)


def events_of(operations: Sequence[Made], failover: int | None = None) -> list[Event]:
    """The events, numbered by their calls. At one time calls come before answers: those operations overlap."""
    events: list[tuple[int, int, Event]] = []
    for number, made in enumerate(sorted(operations, key=lambda made: made.called), 1):
        call = Call(
            number=number,
            at_ns=made.called,
            process=number,
            counter=made.counter,
            kind=made.kind,
            amount=made.amount,
            ceiling=made.ceiling,
            floor=made.floor,
            token=made.token,
        )
        events.append((made.called, 0, call))
        if made.answered is not None:
            answer = Answer(
                number=number,
                at_ns=made.answered,
                result=made.result,
                value=made.value,
                previous=made.previous,
                revision=made.revision,
            )
            events.append((made.answered, 1, answer))
    if failover is not None:
        events.append((failover, 2, Mark(at_ns=failover, fault="failover", phase="hit")))
    return [event for _, _, event in sorted(events, key=lambda entry: entry[:2])]


def history(*operations: Made, failover: int | None = None) -> History:
    return history_of(events_of(operations, failover))
