"""One schedule: a seed makes processes, callers, a network and a store, and misfortunes for each of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from plusone.clock import Clock
from plusone.counters import Counters
from plusone.errors import NotCounted, OutcomeUnknown, PlusoneError
from plusone.statistics import Limits
from plusone.stores.memory import MemoryStore
from plusone.types import MAX, MIN, Operation, Outcome
from tests.model.history import Call, History, Read, Told
from tests.model.judge import judge
from tests.model.network import Link, RecordingStore
from tests.model.plain import ABSENT, State
from tests.model.profiles import PROFILES, Profile
from tests.model.virtual import Loop, World

_ACCOUNT = "model"
_LEVEL = 2**40


class Made(msgspec.Struct, frozen=True):
    """What a schedule is made of; a mutant replaces a part."""

    store: type[RecordingStore] = RecordingStore
    link: type[Link] = Link
    clock: Callable[[Loop, int, float], Clock] = Loop.clock


class Process:
    """A process that counts, from its start until it is closed or killed."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        rng = simulation.random
        self.number = number
        self.loop = simulation.world.process()
        wall_offset = rng.uniform(-5, 5) if rng.random() < 0.5 else 0.0
        clock = simulation.made.clock(self.loop, rng.getrandbits(32), wall_offset)
        world, store, faults = simulation.world, simulation.store, simulation.faults
        self.link = simulation.made.link(
            number, world, self.loop, clock, store, faults, random.Random(rng.getrandbits(32))
        )
        self.counters = Counters(self.link, account=_ACCOUNT, limits=simulation.limits, clock=clock)
        self.unreliable = False
        """Frozen, killed or closed: it owes nobody an answer in time."""
        self.closed = False


class Simulation:
    """A schedule, from its seed to what is wrong with it."""

    def __init__(self, seed: int, profile: Profile | None = None, made: Made | None = None) -> None:
        self.random = random.Random(seed)
        self.made = made or Made()
        self.profile = profile or self.random.choice(PROFILES)
        rng, chosen = self.random, self.profile
        self.world = World()
        self.faults = chosen.faults(rng)
        self.limits = Limits(
            timeout=rng.choice(chosen.timeouts),
            attempt_timeout=rng.choice([0.02, 0.1, 1.0]),
            on_gap="stop" if rng.random() < 0.2 else "continue",
        )
        self.retention = rng.choice(chosen.token_retentions)
        capabilities = msgspec.structs.replace(
            MemoryStore.CAPABILITIES,
            pins_tokens=rng.random() < 0.3,
            tokens_per_batch=rng.choice([1, 2, 3, 1_000]),
            batches_per_call=rng.choice([1, 2, 256]),
            calls_in_flight=rng.choice([1, 2]),
        )
        self.store = self.made.store(
            self.world, token_retention_ms=round(self.retention * 1000), capabilities=capabilities
        )
        self.history = History([], [], self.store.steps, self.store.phases, [], {}, self.retention)
        self.keys = ["a", "b", "c"][: rng.choice([1, 1, 2, 3])]
        self.seen = dict.fromkeys(self.keys, ABSENT)
        self.tokens: list[tuple[str, str, tuple[Operation, ...]]] = []
        self.processes: list[Process] = []
        self.current: list[Process] = []
        self.running: list[tuple[Process, asyncio.Task[None]]] = []
        self.fail_over: Callable[[], None] | None = None

    def run(self) -> list[str]:
        """Everything that is wrong with this schedule."""
        for _ in range(self.random.choice(self.profile.processes)):
            self.current.append(self._start())
        at = 0.0
        for _ in range(self.random.randint(*self.profile.events)):
            at += self.profile.pause(self.random)
            self.world.at(at, self._happen)
        self.world.run()
        for process in self.current:
            self._close(process)
        self.world.run()
        return [*self.store.violations, *self._unfinished(), *judge(self._whole_history())]

    def _whole_history(self) -> History:
        for process in self.processes:
            self.history.sent.update(process.link.sent)
            self.history.told += [Told(process.number, *told) for told in process.link.answered]
        return self.history

    def _unfinished(self) -> list[str]:
        wrong = []
        for process in self.processes:
            wrong += process.loop.errors
            if process.loop.dead:
                continue
            statistics = process.counters.statistics
            if not process.closed or statistics.operations_waiting or statistics.calls_in_flight:
                wrong.append(f"process {process.number} did not come to an end: {statistics}")
            told_gaps = sum(getattr(answer, "status", "") == "gap" for _, _, answer in process.link.answered)
            if statistics.gaps_total != told_gaps:
                wrong.append(f"{told_gaps} gaps, {statistics.gaps_total} of them counted")
        for process, task in self.running:
            if not task.done() and not process.loop.dead:
                wrong.append(f"a caller of process {process.number} waits for ever")
        return wrong

    # What happens.

    def _happen(self) -> None:
        name = self.random.choices(*self.profile.weights)[0]
        getattr(self, f"_happen_{name}")(self.random.choice(self.current))

    def _happen_one(self, process: Process) -> None:
        for _ in range(self.random.choice(self.profile.burst)):
            key = self.random.choice(self.keys)
            operation = self._operation(key)
            if operation.token is not None:
                self.tokens.append((key, operation.token, (operation,)))
                if self.random.random() < self.profile.near_expiry:
                    again, pause = self.random.choice(self.current), self.retention - self.random.uniform(-0.5, 2)
                    self.world.after(pause, self._ask_again, again, key, (operation,), operation.token)
            self._ask(process, key, (operation,), operation.token)

    def _happen_bulk(self, process: Process) -> None:
        """Several operations in one `apply`, mostly under one token."""
        operations = [(key, self._operation(key, bare=True)) for key in self.random.choices(self.keys, k=4)]
        token = self._token() if self.random.random() < 0.7 else None
        self._bulk(process, operations, token)

    def _happen_again(self, process: Process) -> None:
        """A caller repeats a token, or uses it for something else by mistake."""
        if not self.tokens:
            return
        key, token, operations = self.random.choice(self.tokens[-8:])
        if self.random.random() < 0.1 and operations[0].kind == "add":
            operation = msgspec.structs.replace(operations[0], amount=self._amount())
            operations = (operation, *operations[1:])
        self._ask(process, key, operations, token)

    def _happen_read(self, process: Process) -> None:
        key = self.random.choice(self.keys)
        called = self.world.now

        async def read() -> None:
            try:
                counter = await process.counters.get(key)
            except NotCounted:
                return
            state = State(counter.value, counter.revision, counter.exists)
            self.seen[key] = state
            self.history.reads.append(Read(f"{_ACCOUNT}/{key}", called, self.world.now, state))

        self._task(process, read())

    def _happen_freeze(self, process: Process) -> None:
        process.unreliable = True
        seconds = self.random.choice([0.5, 5, 100, 400])
        process.loop.freeze(seconds, suspended=self.random.random() < 0.5)

    def _happen_suspend(self, process: Process) -> None:
        """A machine sleeps, for longer than a session lives."""
        process.unreliable = True
        process.loop.freeze(self.random.choice([100, 400, 800]), suspended=True)

    def _happen_kill(self, process: Process) -> None:
        process.unreliable = True
        process.loop.kill()
        self.current[self.current.index(process)] = self._start()

    def _happen_restart(self, process: Process) -> None:
        process.unreliable = True
        self._close(process)
        self.current[self.current.index(process)] = self._start()

    def _happen_snapshot(self, process: Process) -> None:
        self.fail_over = self.store.snapshot()

    def _happen_failover(self, process: Process) -> None:
        if self.fail_over is not None:
            self.fail_over()
            self.history.failovers.append(self.world.now)

    # Processes and callers.

    def _start(self) -> Process:
        process = Process(self, len(self.processes))
        self.processes.append(process)
        return process

    def _close(self, process: Process) -> None:
        async def close() -> None:
            await process.counters.close()
            process.closed = True

        self._task(process, close())

    def _task(self, process: Process, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = process.loop.create_task(coroutine)
        self.running.append((process, task))
        return task

    def _ask(self, process: Process, key: str, operations: tuple[Operation, ...], token: str | None) -> None:
        if len(operations) > 1 or operations[0].token != token:
            self._bulk(process, [(key, operation) for operation in operations], token)
            return
        call = self._call(process, key, operations, token)
        self._run_call(process, [call], lambda: self._one(process, key, operations[0]))

    async def _one(self, process: Process, key: str, operation: Operation) -> list[Outcome | PlusoneError]:
        """Through the façade's own methods, as callers do."""
        ttl = None if operation.ttl_ms is None else operation.ttl_ms / 1000
        counters, token, if_revision = process.counters, operation.token, operation.if_revision
        if operation.kind == "delete":
            answering = counters.delete(key, token=token, if_revision=if_revision)
        elif operation.kind == "set":
            answering = counters.set(
                key, operation.amount, token=token, if_revision=if_revision, if_absent=operation.if_absent, ttl=ttl
            )
        else:
            answering = counters.increment(
                key,
                operation.amount,
                ceiling=operation.ceiling,
                floor=operation.floor,
                token=token,
                if_revision=if_revision,
                if_absent=operation.if_absent,
                ttl=ttl,
            )
        try:
            return [await answering]
        except PlusoneError as error:
            return [error]

    def _bulk(self, process: Process, operations: list[tuple[str, Operation]], token: str | None) -> None:
        calls = []
        for key in dict.fromkeys(key for key, _ in operations):
            mine = tuple(operation for at, operation in operations if at == key)
            if token is not None:
                self.tokens.append((key, token, mine))
                calls.append(self._call(process, key, mine, token))
            else:
                calls += [self._call(process, key, (operation,), None) for operation in mine]

        async def answers() -> list[Outcome | PlusoneError]:
            found = await process.counters.apply(operations, token=token)
            return [result for key in dict.fromkeys(at for at, _ in operations) for result in _of(key, found)]

        def _of(key: str, found: list[Outcome | PlusoneError]) -> list[Outcome | PlusoneError]:
            return [result for (at, _), result in zip(operations, found, strict=True) if at == key]

        self._run_call(process, calls, answers)

    def _call(self, process: Process, key: str, operations: tuple[Operation, ...], token: str | None) -> Call:
        call = Call(process.number, f"{_ACCOUNT}/{key}", operations, token, self.world.now)
        self.history.calls.append(call)
        return call

    def _run_call(
        self, process: Process, calls: list[Call], answers: Callable[[], Awaitable[list[Outcome | PlusoneError]]]
    ) -> None:
        async def ask() -> None:
            found = await answers()
            for call in calls:
                results = found[: len(call.operations)]
                del found[: len(call.operations)]
                self._answered(process, call, results)

        task = self._task(process, ask())
        if self.random.random() < self.profile.cancel:
            delay = self.random.choice([0.0, 0.001, 0.1]) * self.random.random()
            self.world.after(delay, process.loop.call_soon, task.cancel)
        elif not process.unreliable:
            patience = self.limits.timeout * 1.05 + 0.1
            self.world.after(patience, self._expect, process, calls, self.world.now + patience)

    def _expect(self, process: Process, calls: list[Call], due: float) -> None:
        if not process.unreliable:
            for call in calls:
                call.due = due

    def _answered(self, process: Process, call: Call, results: list[Outcome | PlusoneError]) -> None:
        call.returned = self.world.now
        errors = [result for result in results if isinstance(result, PlusoneError)]
        if errors:
            call.result = errors[0]
            if isinstance(errors[0], OutcomeUnknown) and call.token is not None and self.random.random() < 0.7:
                again = process if self.random.random() < 0.5 else self.random.choice(self.current)
                pause = self.random.choice([0.0, 1.0, 100.0])
                key = call.key.removeprefix(f"{_ACCOUNT}/")
                self.world.after(pause, self._ask_again, again, key, call.operations, call.token)
            return
        call.result = [result for result in results if isinstance(result, Outcome)]
        last = call.result[-1]
        exists = call.operations[-1].kind != "delete"
        self.seen[call.key.removeprefix(f"{_ACCOUNT}/")] = State(last.value, last.revision, exists)

    def _ask_again(self, process: Process, key: str, operations: tuple[Operation, ...], token: str) -> None:
        if process in self.current:
            self._ask(process, key, operations, token)

    # Operations.

    def _token(self) -> str:
        return f"t{len(self.tokens)}-{self.random.getrandbits(20)}"

    def _amount(self) -> int:
        """Mostly a number that occurs once, so that the sum of a batch tells who is in it."""
        chance = self.random.random()
        if chance < self.profile.ones:
            return 1
        if chance > 0.97:
            return self.random.choice([0, MAX - self.random.getrandbits(40), MIN + 1 + self.random.getrandbits(40)])
        if self.profile.levels:
            return self.random.choice([1, -1]) * (_LEVEL + self.random.getrandbits(30))
        return self.random.choice([1, 1, -1]) * self.random.getrandbits(self.random.choice([30, 40]))

    def _operation(self, key: str, bare: bool = False) -> Operation:
        rng, profile, seen = self.random, self.profile, self.seen[key]
        kind = "add" if bare else rng.choices(["add", "set", "delete"], profile.kinds)[0]
        chance = rng.random()
        if_revision = seen.revision if chance < profile.preconditions and seen.revision and not bare else None
        if_absent = chance > 1 - profile.preconditions and not bare and kind != "delete"
        token = self._token() if rng.random() < profile.tokens and not bare else None
        if kind == "delete":
            return Operation.delete(token=token, if_revision=if_revision)
        ttl = rng.choice([0.05, 1.0, 60.0, 1000.0]) if rng.random() < profile.ttl and not bare else None
        if kind == "set":
            value = rng.getrandbits(41) - 2**40
            return Operation.set(value, token=token, if_revision=if_revision, if_absent=if_absent, ttl=ttl)
        by = self._amount()
        ceiling = floor = None
        if rng.random() < profile.bounds:
            away = rng.randint(0, 2) + 0.5
            edge = (
                round(away * _LEVEL * (1 if by > 0 else -1))
                if profile.levels
                else min(MAX, max(MIN, seen.value + by + rng.choice([0, 0, -1, 1]) * rng.getrandbits(41)))
            )
            ceiling, floor = (edge, None) if by > 0 else (None, edge)
        return Operation.add(
            by,
            ceiling=ceiling,
            floor=floor,
            token=token,
            if_revision=if_revision,
            if_absent=if_absent,
            ttl=ttl if by else None,
        )


def run(seed: int, profile: Profile | None = None, made: Made | None = None) -> list[str]:
    """What is wrong with the schedule of this seed."""
    return Simulation(seed, profile, made).run()
