"""Ways of counting that are known to go wrong, in virtual time: long histories as `verify` records them.

Each is a generator that yields wherever time passes, and returns its answer. A reply is lost with probability `lost`;
the caller then asks again, as the recipe's users do.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from plusone.lab.history import Answer, Call, Event, Mark
from plusone.lab.history.events import AnswerResult

Steps: TypeAlias = Generator[None, None, "Told"]
NANOSECONDS: Final = 1_000
"""Of a unit of virtual time."""
LAG: Final = 30.0
"""How much later a replica is, which takes over in a failover."""


class Told(msgspec.Struct, frozen=True):
    applied: bool = True
    value: int | None = None


class World:
    """The datastore's one number, and what becomes of replies."""

    def __init__(self, seed: int, lost: float) -> None:
        self.random = random.Random(seed)
        self.lost = lost
        self.value = 0
        self.buffered = 0
        self.past: list[tuple[float, int]] = [(0.0, 0)]

    def loses_reply(self) -> bool:
        return self.random.random() < self.lost


Recipe: TypeAlias = Callable[[World, int | None], Steps]


def increment(world: World, ceiling: int | None) -> Steps:
    """INCR, asked again until it answers."""
    while True:
        yield
        world.value += 1
        value = world.value
        yield
        if not world.loses_reply():
            return Told(value=value)


def increment_untold(world: World, ceiling: int | None) -> Steps:
    """An update that answers only that it was done."""
    yield from increment(world, ceiling)
    return Told()


def increment_then_read(world: World, ceiling: int | None) -> Steps:
    yield from increment(world, ceiling)
    yield
    value = world.value
    yield
    return Told(value=value)


def get_then_set(world: World, ceiling: int | None) -> Steps:
    while True:
        yield
        value = world.value
        yield
        yield
        world.value = value + 1
        yield
        if not world.loses_reply():
            return Told(value=value + 1)


def get_check_increment(world: World, ceiling: int | None) -> Steps:
    """Reads, compares with the maximum, and increments if that admits it."""
    while True:
        yield
        value = world.value
        yield
        if ceiling is not None and value + 1 > ceiling:
            return Told(applied=False, value=value)
        yield
        world.value += 1
        value = world.value
        yield
        if not world.loses_reply():
            return Told(value=value)


def upsert_with_filter(world: World, ceiling: int | None) -> Steps:
    """Answers "maximum reached" when two upserts race, which is one in a hundred here."""
    yield
    if world.random.random() < 0.01 or (ceiling is not None and world.value + 1 > ceiling):
        yield
        return Told(applied=False)
    world.value += 1
    value = world.value
    yield
    return Told(value=value)


def buffered(world: World, ceiling: int | None) -> Steps:
    """Written behind: acknowledged first, added to the datastore with others later."""
    world.buffered += 1
    yield
    if world.random.random() < 0.05:
        world.value, world.buffered = world.value + world.buffered, 0
    return Told()


def claimed_key(world: World, ceiling: int | None) -> Steps:
    """Claims an idempotency key first; who asks again finds it claimed, and believes that it counted."""
    yield
    if world.loses_reply():
        yield
        return Told()
    world.value += 1
    yield
    return Told()


def run(
    recipe: Recipe,
    *,
    seed: int,
    lost: float = 0.0,
    ceiling: int | None = None,
    failovers: Sequence[float] = (),
    operations: int = 5_000,
    callers: int = 20,
) -> list[Event]:
    """What the callers of this recipe are told, one read in fifty, and one at the end when all is quiet."""
    return _Run(World(seed, lost), recipe, ceiling).run(operations, callers, sorted(failovers))


class _Run:
    def __init__(self, world: World, recipe: Recipe, ceiling: int | None) -> None:
        self.world = world
        self.recipe = recipe
        self.ceiling = ceiling
        self.events: list[Event] = []
        self.calls = 0

    def run(self, operations: int, callers: int, failovers: list[float]) -> list[Event]:
        world, left = self.world, iter(range(operations))
        running = [self._caller(process, left) for process in range(callers)]
        for one in running:
            next(one)
        due = [(world.random.random(), process) for process in range(callers)]
        heapq.heapify(due)
        while due:
            now, process = heapq.heappop(due)
            if failovers and now >= failovers[0]:
                taken_over = failovers.pop(0) - LAG
                world.value = next(value for then, value in reversed(world.past) if then < taken_over)
                self.events.append(Mark(at_ns=self._at_ns(now), fault="failover", phase="hit"))
            try:
                running[process].send(now)
            except StopIteration:
                continue
            world.past.append((now, world.value))
            heapq.heappush(due, (now + world.random.uniform(0, 5), process))
        end = self.events[-1].at_ns / NANOSECONDS + 1
        self._answer(end, self._call(end, 0, reads=True), Told(value=world.value + world.buffered), reads=True)
        return self.events

    def _caller(self, process: int, left: Iterator[int]) -> Generator[None, float, None]:
        at = yield
        for _ in left:
            reads = self.world.random.random() < 0.02
            number = self._call(at, process, reads=reads)
            steps = _read(self.world) if reads else self.recipe(self.world, self.ceiling)
            while True:
                try:
                    next(steps)
                except StopIteration as done:
                    self._answer(at, number, done.value, reads=reads)
                    break
                at = yield
            at = yield

    def _call(self, at: float, process: int, *, reads: bool) -> int:
        self.calls += 1
        at_ns = self._at_ns(at)
        if reads:
            call = Call(number=self.calls, at_ns=at_ns, process=process, counter="c", kind="read")
        else:
            call = Call(
                number=self.calls,
                at_ns=at_ns,
                process=process,
                counter="c",
                kind="add",
                amount=1,
                ceiling=self.ceiling,
            )
        self.events.append(call)
        return self.calls

    def _answer(self, at: float, number: int, told: Told, *, reads: bool) -> None:
        result: AnswerResult = "read" if reads else "applied" if told.applied else "rejected"
        self.events.append(Answer(number=number, at_ns=self._at_ns(at), result=result, value=told.value))

    def _at_ns(self, at: float) -> int:
        """No two events have one time, as with a real clock."""
        return max(int(at * NANOSECONDS), self.events[-1].at_ns + 1 if self.events else 0)


def _read(world: World) -> Steps:
    yield
    value = world.value
    yield
    return Told(value=value)
