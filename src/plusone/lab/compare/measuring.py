"""The subjects of one datastore under the same load, in turns."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, TypeAlias

import msgspec

from plusone.lab.compare.plan import WARM_UP_SHARE, Plan, cells_seconds
from plusone.lab.load import OPERATIONS_MAX, Throughput, closed_loop, described, open_loop, saturated, spread
from plusone.lab.lossy import count_while_replies_are_lost
from plusone.lab.results import Cell, Latency, Lossy
from plusone.lab.subjects.protocol import Counting, CountsWrites, Subject
from plusone.lab.target import NO_NETWORK, Target

RATE_SHARE: Final = 0.5
"""The open loop asks for this share of what the closed loop got answered, unless it is told a rate."""
RATE_MAX: Final = 20_000.0
"""And for no more than this: the load generator itself is Python."""
LAG_SHARE: Final = 0.2
"""A latency of which the load generator's own lag may be more than this share is pointed out."""
_REMOVED_AT_ONCE: Final = 1_000
_REMOVAL_SECONDS: Final = 60.0

Step: TypeAlias = Callable[[str, float], None]
"""Told what was done, and how many of the planned seconds are over with it."""


class _Measured:
    """A subject that is connected, and what is gathered of it."""

    def __init__(self, subject: Subject, counting: Counting, prefix: str) -> None:
        self.subject = subject
        self.counting = counting
        self.cells: list[Cell] = []
        self.first_error = ""
        self._prefix = prefix
        self._names: list[str] = []

    def names(self, count: int) -> Sequence[str]:
        """So many counters of its own, the same each time."""
        self._names += [f"{self._prefix}/{number}" for number in range(len(self._names), count)]
        return self._names[:count]

    def call(self, keys: int, seed: int) -> Callable[[], Awaitable[object]]:
        """What a caller repeats."""
        increment, name = self.counting.increment, spread(self.names(keys), seed=seed)
        return lambda: increment(name(), None)

    @property
    def writes(self) -> int | None:
        return self.counting.writes if isinstance(self.counting, CountsWrites) else None

    async def remove(self) -> None:
        names = self._names
        for begin in range(0, len(names), _REMOVED_AT_ONCE):
            await self.counting.remove(names[begin : begin + _REMOVED_AT_ONCE])


class _Closed(msgspec.Struct, kw_only=True):
    """What the closed loop's halves came to."""

    throughput: Throughput = Throughput(operations=0, errors=0, seconds=0.0)
    writes: int | None = 0

    def add(self, done: Throughput, writes: int | None) -> None:
        self.throughput += done
        self.writes = None if writes is None or self.writes is None else self.writes + writes


class Measuring:
    """The subjects of one datastore, on one event loop."""

    def __init__(self, plan: Plan, place: Target, subjects: Sequence[Subject], step: Step) -> None:
        self.notes: list[str] = []
        self._plan = plan
        self._place = place
        self._subjects = subjects
        self._step = step
        self._run = secrets.token_hex(4)
        self._random = random.Random(plan.seed)

    async def cells(self) -> dict[str, Sequence[Cell]]:
        """What both loops came to, by subject. One that could not be connected has nothing."""
        cells: dict[str, Sequence[Cell]] = {}
        async with AsyncExitStack() as stack:
            connected = [each for subject in self._subjects if (each := await self._connect(stack, subject))]
            try:
                for concurrency, keys in self._plan.cells:
                    await self._measure(connected, concurrency, keys)
            finally:
                for each in connected:
                    await self._remove(each)
                    cells[each.subject.name] = each.cells
        for each in connected:
            self._remark(each)
        return cells

    async def lossy(self) -> dict[str, Lossy | None]:
        """What lost replies do to each subject's count."""
        return {subject.name: await self._lossy(subject) for subject in self._subjects}

    async def _connect(self, stack: AsyncExitStack, subject: Subject) -> _Measured | None:
        connection = subject.connect(self._place.url, self._place_of(subject))
        try:
            counting = await stack.enter_async_context(connection)
        except Exception as error:
            self._note(subject, f"it was not measured, since it could not be connected: {described(error)}")
            self._step(subject.name, cells_seconds(self._plan))
            return None
        return _Measured(subject, counting, f"plusone-lab/{self._run}/{subject.name}")

    def _place_of(self, subject: Subject) -> str:
        """Its own: the first of two that shared a table would drop it under the other."""
        return f"plusone_lab_{self._run}_{self._subjects.index(subject)}"

    async def _measure(self, connected: Sequence[_Measured], concurrency: int, keys: int) -> None:
        """One cell of every subject, in turns."""
        plan, label = self._plan, f"{concurrency} at once on {keys:,} counters"
        order = self._random.sample(connected, len(connected))
        seed = self._random.randrange(2**32)
        closed = {each.subject.name: _Closed() for each in order}
        for each in order:
            await closed_loop(each.call(keys, seed), concurrency=concurrency, seconds=plan.seconds * WARM_UP_SHARE)
            self._step(f"{self._place.name}: {each.subject.name}, warm-up, {label}", plan.seconds * WARM_UP_SHARE)
        for each in (*order, *reversed(order)):
            gc.collect()
            before = each.writes
            done = await closed_loop(each.call(keys, seed), concurrency=concurrency, seconds=plan.seconds / 2)
            after = each.writes
            closed[each.subject.name].add(done, None if before is None or after is None else after - before)
            self._step(f"{self._place.name}: {each.subject.name}, closed loop, {label}", plan.seconds / 2)
        for each in order:
            gc.collect()
            found = closed[each.subject.name]
            latency = await self._latency(each, found.throughput, concurrency, keys, seed)
            each.cells.append(_cell(each.subject, found, latency, concurrency, keys))
            each.first_error = each.first_error or found.throughput.first_error
            self._step(f"{self._place.name}: {each.subject.name}, open loop, {label}", plan.seconds)

    async def _latency(
        self, each: _Measured, found: Throughput, concurrency: int, keys: int, seed: int
    ) -> Latency | None:
        """Of the open loop; None for a subject that answered nothing."""
        if not found.operations:
            return None
        plan = self._plan
        most = min(RATE_MAX, OPERATIONS_MAX / plan.seconds)
        rate = plan.rate or max(min(found.per_second * RATE_SHARE, most), 1 / plan.seconds)
        return await open_loop(
            each.call(keys, seed), rate=rate, seconds=plan.seconds, concurrency=concurrency, seed=seed
        )

    def _remark(self, each: _Measured) -> None:
        """What must not be passed over of a subject's cells."""
        if failed := [cell for cell in each.cells if cell.errors]:
            errors = sum(cell.errors for cell in failed)
            self._note(each.subject, f"{errors:,} errors {_where(failed)}, the first {each.first_error or 'not kept'}")
        if silent := [cell for cell in each.cells if cell.latency is None]:
            self._note(each.subject, f"nothing was answered {_where(silent)}, so there was no open loop")
        timed = [(cell, cell.latency) for cell in each.cells if cell.latency is not None]
        if over := [(cell, latency) for cell, latency in timed if saturated(latency)]:
            unsent = sum(latency.unsent for _, latency in over)
            self._note(
                each.subject,
                f"the open loop was too much {_where([cell for cell, _ in over])}: {unsent:,} of its operations"
                " were never sent, and its latencies are those of a queue",
            )
        if late := [(cell, latency) for cell, latency in timed if latency.lag_p99_us > LAG_SHARE * latency.p99_us]:
            worst = max(latency.lag_p99_us for _, latency in late) / 1_000
            self._note(
                each.subject,
                f"up to {worst:,.3g} ms of the latencies {_where([cell for cell, _ in late])} may be the load"
                " generator's own",
            )

    async def _lossy(self, subject: Subject) -> Lossy | None:
        """What lost replies do to its count; None where none can be lost, or it could not be seen."""
        plan = self._plan
        try:
            if self._place.scheme in NO_NETWORK and subject.front is None:
                return None
            return await count_while_replies_are_lost(
                subject,
                self._place.url,
                f"plusone-lab/{self._run}/{subject.name}/lossy",
                place=f"{self._place_of(subject)}_lossy",
                seconds=plan.seconds,
                seed=plan.seed,
            )
        except Exception as error:
            self._note(subject, f"lost replies were not tried: {described(error)}")
            return None
        finally:
            self._step(f"{self._place.name}: {subject.name}, lost replies", plan.seconds)

    async def _remove(self, each: _Measured) -> None:
        """Take away what was counted on. What is left is told, for it is in somebody's datastore."""
        try:
            async with asyncio.timeout(_REMOVAL_SECONDS):
                await each.remove()
        except Exception as error:
            self._note(
                each.subject,
                f"its counters plusone-lab/{self._run}/{each.subject.name}/… could not all be removed:"
                f" {described(error)}",
            )

    def _note(self, subject: Subject, words: str) -> None:
        self.notes.append(f"{self._place.name}, {subject.name}: {words}.")


def _cell(subject: Subject, found: _Closed, latency: Latency | None, concurrency: int, keys: int) -> Cell:
    operations = found.throughput.operations
    counted = found.writes / operations if found.writes is not None and operations else None
    return Cell(
        concurrency=concurrency,
        keys=keys,
        increments_per_second=found.throughput.per_second,
        errors=found.throughput.errors + (0 if latency is None else latency.errors),
        latency=latency,
        writes_per_increment=subject.writes if counted is None else counted,
    )


def _where(cells: Sequence[Cell]) -> str:
    """Cells in words."""
    by_keys: dict[int, list[int]] = {}
    for cell in cells:
        by_keys.setdefault(cell.keys, []).append(cell.concurrency)
    return " and ".join(
        f"with {', '.join(map(str, concurrency))} at once on {keys:,} {'counter' if keys == 1 else 'counters'}"
        for keys, concurrency in by_keys.items()
    )
