"""A history in memory: for each counter its operations, as columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from plusone.errors import InvalidRequest
from plusone.lab.history.events import KINDS, RESULTS, Answer, Call, Event, Header, Mark, check_integer, problem
from plusone.lab.results import Witness
from plusone.types import MAX, MIN

NEVER: Final = MAX
"""The time of an answer that never came."""

ADD, SET, DELETE, READ = range(4)
APPLIED, REJECTED, WAS_READ, UNKNOWN, REFUSED = range(5)

TELLS_VALUE, TELLS_PREVIOUS, TELLS_REVISION = 1, 2, 4
"""What an answer told, as bits of `Operations.told`."""


class Operations:
    """The operations on one counter, in the order of their calls, as columns.

    An absent ceiling is 2^63 - 1 and an absent floor -2^63, which are bounds anyway. `answered_ns` is `NEVER` where no
    answer came. `value`, `previous` and `revision` count only where `told` says so.
    """

    def __init__(self) -> None:
        self.number = array("q")
        self.process = array("q")
        self.kind = array("b")
        """An index of `KINDS`."""
        self.amount = array("q")
        self.ceiling = array("q")
        self.floor = array("q")
        self.called_ns = array("q")
        self.answered_ns = array("q")
        self.result = array("b")
        """An index of `RESULTS`."""
        self.told = array("b")
        self.value = array("q")
        self.previous = array("q")
        self.revision = array("q")
        self.tokens: dict[int, str] = {}
        """By index, where the call had one."""

    def __len__(self) -> int:
        return len(self.number)

    def append(self, call: Call) -> int:
        """Add a call that is not answered yet; returns its index."""
        index = len(self.number)
        self.number.append(call.number)
        self.process.append(call.process)
        self.kind.append(KINDS.index(call.kind))
        self.amount.append(0 if call.kind == "delete" else call.amount)
        self.ceiling.append(MAX if call.ceiling is None else call.ceiling)
        self.floor.append(MIN if call.floor is None else call.floor)
        self.called_ns.append(call.at_ns)
        self.answered_ns.append(NEVER)
        self.result.append(UNKNOWN)
        self.told.append(0)
        for column in (self.value, self.previous, self.revision):
            column.append(0)
        if call.token is not None:
            self.tokens[index] = call.token
        return index

    def answer(self, index: int, answer: Answer) -> None:
        """The operation at `index` was answered."""
        self.answered_ns[index] = answer.at_ns
        self.result[index] = RESULTS.index(answer.result)
        told = 0
        if answer.value is not None:
            told |= TELLS_VALUE
            self.value[index] = answer.value
        if answer.previous is not None:
            told |= TELLS_PREVIOUS
            self.previous[index] = answer.previous
        if answer.revision is not None:
            told |= TELLS_REVISION
            self.revision[index] = answer.revision
        self.told[index] = told

    def witness(self, index: int) -> Witness:
        """The operation at `index`, to be shown."""
        told = self.told[index]
        return Witness(
            number=self.number[index],
            process=self.process[index],
            kind=KINDS[self.kind[index]],
            amount=self.amount[index],
            ceiling=None if self.ceiling[index] == MAX else self.ceiling[index],
            floor=None if self.floor[index] == MIN else self.floor[index],
            called_ns=self.called_ns[index],
            answered_ns=None if self.answered_ns[index] == NEVER else self.answered_ns[index],
            result=RESULTS[self.result[index]],
            value=self.value[index] if told & TELLS_VALUE else None,
            previous=self.previous[index] if told & TELLS_PREVIOUS else None,
            revision=self.revision[index] if told & TELLS_REVISION else None,
        )


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A history that was read."""

    header: Header
    counters: Mapping[str, Operations]
    marks: tuple[Mark, ...] = ()
    cut_off: str = ""
    """What was missing at the end, in words; empty if nothing was."""

    @property
    def operations(self) -> int:
        """How many calls there are on all counters together."""
        return sum(map(len, self.counters.values()))


class Collector:
    """Makes a `History` of events that come one after the other."""

    def __init__(self, header: Header) -> None:
        self.header: Final = header
        self._counters: dict[str, Operations] = {}
        self._waiting: dict[int, tuple[Operations, int]] = {}
        self._marks: list[Mark] = []
        self._number_last = 0
        self._at_ns = 0

    def add(self, event: Event) -> None:
        """Take the next event. Raises `InvalidRequest` if it cannot follow the others."""
        if event.at_ns < self._at_ns:
            raise InvalidRequest("at_ns", f"is {event.at_ns}, before the event that precedes it at {self._at_ns}")
        if isinstance(event, Call):
            self._call(event)
        elif isinstance(event, Answer):
            self._answer(event)
        else:
            self._marks.append(event)
        self._at_ns = event.at_ns

    def history(self, cut_off: str = "") -> History:
        """All of it. What is not answered by now is unknown."""
        return History(header=self.header, counters=self._counters, marks=tuple(self._marks), cut_off=cut_off)

    def _call(self, call: Call) -> None:
        if call.number <= self._number_last:
            raise InvalidRequest("number", f"is {call.number}, but {self._number_last} was given away already")
        for field in ("process", "amount", "ceiling", "floor"):
            check_integer(field, getattr(call, field))
        self._number_last = call.number
        operations = self._counters.get(call.counter)
        if operations is None:
            operations = self._counters[call.counter] = Operations()
        self._waiting[call.number] = (operations, operations.append(call))

    def _answer(self, answer: Answer) -> None:
        operations, index = self._waiting.get(answer.number, (None, 0))
        if operations is None:
            raise InvalidRequest("number", f"is {answer.number}, which no call that waits for its answer has")
        if wrong := problem(KINDS[operations.kind[index]], answer):
            raise InvalidRequest("answer", wrong)
        del self._waiting[answer.number]
        operations.answer(index, answer)


def history_of(events: Iterable[Event], header: Header | None = None) -> History:
    """A history of these events, without a file."""
    collector = Collector(header or Header(subject="", store="", seed=0, started=""))
    for event in events:
        collector.add(event)
    return collector.history()
