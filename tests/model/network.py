"""The network between the processes and their store, and the store's own record of what happened to each counter."""

from __future__ import annotations

import asyncio
import copy
import math
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias, TypeVar

import msgspec

from plusone.clock import Clock
from plusone.errors import OutcomeUnknown, PlusoneError, StoreUnavailable
from plusone.stores.memory import MemoryStore
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.types import utc
from tests.model.plain import ABSENT, State
from tests.model.virtual import EPOCH_SECONDS, Loop, World

T = TypeVar("T")
Answers: TypeAlias = "asyncio.Future[Sequence[Answer | PlusoneError]]"

GHOST_SECONDS_MAX = 238.0
"""No packet arrives 4 minutes after its batch ended; sent before the end, it may travel a little less than that."""


class Step(msgspec.Struct):
    """One atomic step that wrote: a batch, a rejected token's record, or a closing."""

    time: float
    request: GuardedAdd
    before: State
    after: State
    expires_ms: tuple[int | None, int | None]
    """Before and after; 0 where there was no record."""
    lost: bool = False
    """Undone by a failover."""


class Phase(msgspec.Struct):
    """A counter's state from some time on, until the next phase; dead from `expires` on."""

    start: float
    state: State
    expires: float | None


class RecordingStore(MemoryStore):
    """The reference store, which writes down its own history."""

    def __init__(self, world: World, *, token_retention_ms: int, capabilities: Capabilities) -> None:
        super().__init__(clock=Clock(lambda: world.now, world.wall, 0), token_retention_ms=token_retention_ms)
        self.capabilities = capabilities
        self.steps: list[Step] = []
        self.phases: dict[str, list[Phase]] = {}
        self.violations: list[str] = []
        self._world = world

    def deliver(self, request: GuardedAdd) -> Answer | PlusoneError:
        """A request arrives."""
        now_ms = self._clock.wall_ms()
        known = list(self._counters)
        self._remove_dead(now_ms)
        for key in known:
            if key not in self._counters:
                self._begin_phase(key, ABSENT, None)
        before = self.state(request.key)
        if request.lo > request.hi:
            self.violations.append(f"sent lo > hi: {request}")
        expires_ms = self._expires_ms(request.key)
        answer = self._step(request, now_ms)
        after = self.state(request.key)
        if after != before or (isinstance(answer, Answer) and answer.status == "applied"):
            lives_until_ms = self._expires_ms(request.key)
            self.steps.append(Step(self._world.now, request, before, after, (expires_ms, lives_until_ms)))
            self._begin_phase(request.key, after, lives_until_ms)
            if self.capabilities.pins_tokens and any(token.before != before for token in request.tokens):
                self.violations.append(f"tokens were not pinned to the state {before}: {request}")
        return answer

    def state(self, key: str) -> State:
        record = self._record(key, self._clock.wall_ms())
        return State(record.value, record.revision, record.exists)

    def records(self, keys: Sequence[str]) -> list[Record]:
        now_ms = self._clock.wall_ms()
        return [self._record(key, now_ms) for key in keys]

    def snapshot(self) -> Callable[[], None]:
        """A failover for later: it takes the store back to what it is now, and whatever came since is lost."""
        counters = copy.deepcopy(self._counters)
        kept = len(self.steps)

        def fail_over() -> None:
            touched = {*self._counters, *counters}
            self._counters = copy.deepcopy(counters)
            for step in self.steps[kept:]:
                step.lost = True
            for key in sorted(touched):
                self._begin_phase(key, self.state(key), self._expires_ms(key))

        return fail_over

    def _expires_ms(self, key: str) -> int | None:
        counter = self._counters.get(key)
        return 0 if counter is None else counter.expires_ms

    def _begin_phase(self, key: str, state: State, expires_ms: int | None) -> None:
        expires = None if expires_ms is None or not state.exists else expires_ms / 1000 - EPOCH_SECONDS
        self.phases.setdefault(key, []).append(Phase(self._world.now, state, expires))


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """How likely each misfortune is for a packet, from 0 to 1."""

    delay_max: float = 0.01
    lose_request: float = 0.0
    lose_reply: float = 0.0
    refuse: float = 0.0
    """The datastore says at once that it cannot now."""
    break_off: float = 0.0
    """The connection breaks while the packet travels on."""
    partial: float = 0.0
    """An item of the call has a fate of its own."""
    duplicate: float = 0.0
    late: float = 0.0
    """What is lost arrives after all, after minutes perhaps."""


class Sent(msgspec.Struct, frozen=True):
    """Who sent a batch, and when: by the world's clock, and by the process's own."""

    process: int
    time: float
    at: datetime


class Link:
    """One process's connections to the store: a `Store` whose calls travel through the network.

    A packet may be lost, late or twofold, in any order. One thing does not happen: what was answered "missed", "gap" or
    with an error is not executed once more by a copy that the network kept. A transport delivers a request at most once
    (TCP does); what arrives again is what the combiner sent again.
    """

    def __init__(
        self,
        process: int,
        world: World,
        loop: Loop,
        clock: Clock,
        store: RecordingStore,
        faults: Faults,
        rng: random.Random,
    ) -> None:
        self.capabilities = store.capabilities
        self.answered: list[tuple[float, GuardedAdd, Answer | PlusoneError]] = []
        """What this process was told, and when."""
        self.sent: dict[tuple[str, str, int], Sent] = {}
        """The first time that each batch (key, writer, seq) was sent."""
        self._process = process
        self._world = world
        self._loop = loop
        self._clock = clock
        self._store = store
        self._faults = faults
        self._random = rng

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        return ()

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def check(self) -> None:
        pass

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        sent = Sent(self._process, self._world.now, utc(self._clock.wall_ms()))
        for request in batch:
            self.sent.setdefault((request.key, request.writer, request.seq), sent)
        answers = await self._send(batch)
        self.answered += [(self._world.now, *pair) for pair in zip(batch, answers, strict=True)]
        return answers

    def _send(self, batch: Sequence[GuardedAdd]) -> Answers:
        """Let each request of one call travel to the store; the future may never be resolved."""
        faults, chance = self._faults, self._random.random
        future: Answers = self._loop.create_future()
        if chance() < faults.refuse:
            self._world.after(self._delay(), self._tell, future, StoreUnavailable("come back later"))
            return future
        if chance() < faults.break_off:
            self._world.after(self._delay(), self._tell, future, OutcomeUnknown("connection reset"))
        answers: list[Answer | PlusoneError | None] = [None] * len(batch)
        until = self._world.now + GHOST_SECONDS_MAX
        together = self._delay()
        for index, request in enumerate(batch):
            own = chance() < faults.partial
            if own and chance() < 0.5:
                answers[index] = StoreUnavailable("this part is moving")
                self._world.after(together, self._arrive, None, until, future, answers, index)
                continue
            if own:
                answers[index] = OutcomeUnknown("this part did not answer")
            delay: float | None = together
            if chance() < faults.lose_request:
                delay = self._late() if chance() < faults.late else None
            if delay is not None:
                self._world.after(delay, self._arrive, request, until, future, answers, index)
        return future

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        faults, chance = self._faults, self._random.random
        future: asyncio.Future[Sequence[Record]] = self._loop.create_future()

        def arrive() -> None:
            records = self._store.records(keys)
            if chance() >= faults.lose_reply:
                self._world.after(self._delay(), self._tell, future, records)

        if chance() >= faults.lose_request:
            self._world.after(self._delay(), arrive)
        return await future

    def _delay(self) -> float:
        return self._random.random() * self._faults.delay_max

    def _late(self) -> float:
        """A delay of any magnitude up to the longest."""
        return math.exp(self._random.uniform(-3.0, math.log(GHOST_SECONDS_MAX)))

    def _arrive(
        self,
        request: GuardedAdd | None,
        until: float,
        future: Answers,
        answers: list[Answer | PlusoneError | None],
        index: int,
    ) -> None:
        """A request arrives at the store; the last one of its call sends the answers on their way."""
        if request is not None:
            answer = self._store.deliver(request)
            if answers[index] is None:
                answers[index] = answer
            written = isinstance(answer, Answer) and answer.status not in ("missed", "gap")
            if written and self._random.random() < self._faults.duplicate:
                self._world.at(min(self._world.now + self._late(), until), self._store.deliver, request)
        if None not in answers and self._random.random() >= self._faults.lose_reply:
            self._world.after(self._delay(), self._tell, future, answers)

    def _tell(self, future: asyncio.Future[T], answer: T | PlusoneError) -> None:
        self._loop.call_soon(_resolve, future, answer)


def _resolve(future: asyncio.Future[T], answer: T | PlusoneError) -> None:
    if future.done():
        return
    if isinstance(answer, PlusoneError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
