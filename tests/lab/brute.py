"""The oracle: a history is legal if some order explains it. All orders are tried, so it is for tiny histories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from plusone.folding import fold
from plusone.lab.history import Answer, Call, Event
from plusone.types import Operation

_AT = datetime(2026, 11, 21, tzinfo=UTC)


def is_legal(events: Sequence[Event]) -> bool:
    """Whether some order of the operations, none after one that was called only after its answer, explains it."""
    calls = {event.number: event for event in events if isinstance(event, Call)}
    answers = {event.number: event for event in events if isinstance(event, Answer)}
    certain = [call for call in calls.values() if _result(answers, call) not in ("unknown", "refused")]
    doubtful = [call for call in calls.values() if _result(answers, call) == "unknown" and call.kind != "read"]
    return _explains(certain, doubtful, answers, 0, 0)


def _result(answers: dict[int, Answer], call: Call) -> str:
    answer = answers.get(call.number)
    return "unknown" if answer is None else answer.result


def _explains(
    certain: Sequence[Call], doubtful: Sequence[Call], answers: dict[int, Answer], value: int, revision: int
) -> bool:
    """Whether what is left can follow on this state."""
    if not certain:
        return True
    earliest = min(answers[call.number].at_ns for call in certain)
    for call in certain:
        if call.at_ns <= earliest:
            after = _step(call, value, revision)
            if after is not None and _is_told(answers[call.number], value, after):
                rest = [other for other in certain if other is not call]
                if _explains(rest, doubtful, answers, after[1], after[2]):
                    return True
    for call in doubtful:
        if call.at_ns <= earliest:
            after = _step(call, value, revision)
            rest = [other for other in doubtful if other is not call]
            if after[0] == "applied" and _explains(certain, rest, answers, after[1], after[2]):
                return True
    return False


def _step(call: Call, value: int, revision: int) -> tuple[str, int, int]:
    """What plusone's own specification says: the result, and the value and the revision after it."""
    if call.kind == "read":
        return "read", value, revision
    if call.kind == "add":
        operation = Operation.add(call.amount, ceiling=call.ceiling, floor=call.floor)
    elif call.kind == "set":
        operation = Operation.set(call.amount)
    else:
        operation = Operation.delete()
    [outcome] = fold(value, revision, True, [operation], _AT).outcomes
    return "applied" if outcome.applied else "rejected", outcome.value, outcome.revision


def _is_told(answer: Answer, before: int, after: tuple[str, int, int]) -> bool:
    result, value, revision = after
    return (
        answer.result == result
        and answer.value in (None, value)
        and answer.revision in (None, revision)
        and answer.previous in (None, before)
    )
