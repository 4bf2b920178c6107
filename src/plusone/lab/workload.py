"""What the lab has callers do, so that what a way of counting gets wrong shows in what they are told.

Every counter is new, and its name begins with the run's own prefix. There are callers who share a hot counter, callers
with a counter each, races for counters that do not exist yet (up to a ceiling, where the subject has one), callers who
send idempotency keys several times, callers who count down, set and delete, and readers who do nothing else. A counter
is left for a new one after some thousand operations, so that each history stays checkable.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias

import msgspec

from plusone.errors import ConfigurationError, InvalidRequest, PlusoneError, StoreUnavailable
from plusone.lab.history import HistoryWriter
from plusone.lab.subjects.protocol import Changing, Counted, Counting, Subject, Tokened
from plusone.lab.tally import Tally
from plusone.types import Operation

Role: TypeAlias = Literal["hot", "own", "bounded", "fresh", "token", "changed"]
"""What a counter is for; its name has it behind the last slash.

hot      many callers count on it at once
own      one caller counts on it
bounded  some callers drive it to its ceiling, from before it exists until everybody was rejected
fresh    the same without a ceiling, for subjects that have none
token    each increment has an idempotency key, and is sent once, or several times at once, or again later
changed  some callers count up and down within bounds, set and delete, for subjects that can: it has no sum to end at
"""
CHANGED: Final = "/changed-"
TOKEN: Final = "/token-"
"""What is in the names of such counters, and of no others."""
_Doubt: TypeAlias = Literal["unknown", "refused"]

ATTEMPT_SECONDS: Final = 5.0
"""How long a caller of a retried subject waits before it asks again, whatever its driver waits for."""
PATIENCE_SECONDS: Final = 30.0
"""How long after the end a caller goes on asking for what was not answered yet."""
_PAUSE_FIRST_SECONDS: Final = 0.005
_PAUSE_LONGEST_SECONDS: Final = 0.2
_CEILINGS: Final = (1, 2, 5, 20, 20)
_RACES: Final = 2
"""So many at a time."""
_TOKEN_CEILING: Final = 60
_AT_ONCE: Final = 3
"""So many times is a token sent at once, at most."""
_TOKENS_PER_COUNTER: Final = 100
_REMEMBERED: Final = 50
_CHANGES_PER_COUNTER: Final = 500
_CHANGED_MAX: Final = 20
"""Counters that are changed stay between 0 and this, so that both bounds are met often."""
_READ_PAUSE_SECONDS: Final = 0.004
_FINAL_READS_AT_ONCE: Final = 16
_FINAL_READER: Final = 1_000_000
_TURN: Final = 64
"""So many operations in a row may be asked for without a pause before the others get a turn."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each. Raises `ConfigurationError`."""

    callers: int = 12
    """On the hot counter."""
    own: int = 6
    """Callers with a counter of their own."""
    racers: int = 8
    """Callers that race for each new counter."""
    readers: int = 3
    token_callers: int = 3
    changers: int = 4
    """Callers on the counter that is also counted down, set and deleted."""
    operations_per_counter: int = 2_000
    operations_per_second: int = 3_000
    """At most; a subject that answers at once would be asked for nothing but evidence of the same."""
    new_counters: int = 300
    """To be raced for; then the racers rest."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if not 1 <= getattr(self, field) <= 1_000_000:
                raise ConfigurationError(f"{field} must be an integer from 1 to 1000000")


class Workload:
    """The callers of one phase. `run` until `over`; then the ends are tied up one after the other."""

    def __init__(
        self,
        subject: Subject,
        clients: Sequence[Counting],
        history: HistoryWriter,
        tally: Tally,
        *,
        prefix: str,
        seed: int,
        load: Load,
        names: list[str],
    ) -> None:
        """`clients` are connections of their own, as those of several processes; callers take them in turn.

        Counters' names are added to `names` before anything is asked of them: they are what is to be removed.
        """
        self._subject = subject
        self._clients = clients
        self._history = history
        self._tally = tally
        self._prefix = prefix
        self._load = load
        self._seed = seed
        self._pauses = random.Random(seed)
        self._current: dict[str, tuple[str, int]] = {}
        self._made: Counter[Role] = Counter()
        self._processes = 0
        self._remembered: deque[tuple[str, int | None, str]] = deque(maxlen=_REMEMBERED)
        self._over = False
        self._give_up_at = float("inf")
        self._due = 0.0
        self._turn = 0
        self._to_be_removed = names
        self._given_up: set[asyncio.Future[Counted]] = set()
        self.names: list[str] = []
        """Every counter that was only counted up, in the order of their beginnings: it ends at the sum."""
        self.changed: list[str] = []
        """Every other one."""

    async def run(self) -> None:
        """Count until `end`."""
        load = self._load
        callers = [self._caller(self._process(), "hot", "hot") for _ in range(load.callers)]
        callers += [self._caller(self._process(), "own", f"own {number}") for number in range(load.own)]
        callers += [self._racing(f"race {number}") for number in range(_RACES)]
        callers += [*(self._reader(self._process()) for _ in range(load.readers))]
        if self._subject.tokens:
            callers += [
                self._token_caller([self._process() for _ in range(_AT_ONCE)]) for _ in range(load.token_callers)
            ]
        if all(isinstance(client, Changing) for client in self._clients):
            callers += [self._changer(self._process()) for _ in range(load.changers)]
        await _together(callers)

    def end(self) -> None:
        """Let every caller end with the operation that it is at."""
        self._over = True
        self._give_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS

    async def touch(self) -> None:
        """Have each client count once more on every counter: who has counted there notices what was lost since."""
        # As many processes in a row as there are clients have one client each.
        for process in [self._process() for _ in self._clients]:
            counted = [partial(self._increment, process, name) for name in self.names]
            changed = [partial(self._change, process, name, Operation.add()) for name in self.changed]
            await _some_at_once([*counted, *changed])

    async def repeat_tokens(self) -> None:
        """Send tokens of before once more, all of them answered already."""
        process = self._process()
        for name, ceiling, token in list(self._remembered):
            await self._increment(process, name, ceiling, token)

    async def read_finally(self, client: Counting) -> None:
        """Read every counter when all is quiet. Raises `StoreUnavailable` where one cannot be read."""

        async def read(name: str) -> None:
            number = self._history.call(_FINAL_READER, name, "read")
            counted = await self._until_answered(lambda: client.read(name), retried=True)
            if not isinstance(counted, Counted):
                raise StoreUnavailable(f"{name} could not be read at the end: {self._tally.last_error}")
            self._history.answer(number, "read", value=counted.value, revision=counted.revision)
            if name not in changed:
                self._tally.read_finally(name, counted.value or 0)

        changed = set(self.changed)
        await _some_at_once([partial(read, name) for name in (*self.names, *self.changed)])

    def _source(self, what: str) -> random.Random:
        """Random numbers of its own for each caller, so that their order does not depend on whose turn it is."""
        return random.Random(f"{self._seed} {what}")

    def _process(self) -> int:
        self._processes += 1
        return self._processes

    def _new(self, role: Role) -> str:
        self._made[role] += 1
        name = f"{self._prefix}/{role}-{self._made[role]}"
        (self.changed if role == "changed" else self.names).append(name)
        self._to_be_removed.append(name)
        return name

    def _counter(self, role: Role, slot: str, operations: int) -> str:
        """The counter that is this slot's at present, for one operation more; each has so many."""
        name, begun = self._current.get(slot, ("", operations))
        if begun >= operations:
            name, begun = self._new(role), 0
        self._current[slot] = (name, begun + 1)
        return name

    async def _caller(self, process: int, role: Role, slot: str) -> None:
        while not self._over:
            await self._turns()
            await self._increment(process, self._counter(role, slot, self._load.operations_per_counter))

    async def _racing(self, slot: str) -> None:
        """One new counter after the other, each begun by all racers at the same moment."""
        processes = [self._process() for _ in range(self._load.racers)]
        source = self._source(slot)
        role: Role = "bounded" if self._subject.bounded else "fresh"
        while not self._over and self._made[role] < self._load.new_counters:
            most = source.choice(_CEILINGS)
            name = self._counter(role, slot, 1)
            # Together they ask for the ceiling, and then each once more.
            each = -(-most // len(processes)) + 1
            ceiling = most if self._subject.bounded else None
            await asyncio.gather(*(self._racer(process, name, ceiling, each) for process in processes))
            await asyncio.sleep(source.uniform(0, 0.02))

    async def _racer(self, process: int, name: str, ceiling: int | None, times: int) -> None:
        for _ in range(times):
            await self._turns()
            await self._increment(process, name, ceiling)

    async def _reader(self, process: int) -> None:
        source = self._source(f"reader {process}")
        while not self._over:
            await asyncio.sleep(source.uniform(0, _READ_PAUSE_SECONDS))
            if self._current:
                name, _ = source.choice(list(self._current.values()))
                await self._read(process, name)

    async def _token_caller(self, processes: Sequence[int]) -> None:
        source = self._source(f"tokens {processes[0]}")
        while not self._over:
            await self._turns()
            if self._remembered and source.random() < 0.2:
                await self._increment(processes[0], *source.choice(self._remembered))
                continue
            name = self._counter("token", "token", _TOKENS_PER_COUNTER)
            bounded = self._subject.bounded and self._made["token"] % 2 == 0
            once = (name, _TOKEN_CEILING if bounded else None, f"{self._prefix}/{source.getrandbits(64):016x}")
            times = source.choice((1, 2, _AT_ONCE, _AT_ONCE))
            await asyncio.gather(*(self._increment_and_read(process, *once) for process in processes[:times]))
            self._remembered.append(once)

    async def _changer(self, process: int) -> None:
        source = self._source(f"changes {process}")
        operations = min(_CHANGES_PER_COUNTER, self._load.operations_per_counter)
        while not self._over:
            await self._turns()
            await self._change(process, self._counter("changed", "changed", operations), _some_change(source))

    async def _increment_and_read(self, process: int, name: str, ceiling: int | None, token: str) -> None:
        """Whoever is told that it counted, be it by somebody else who sent the same, has to find it counted."""
        await self._increment(process, name, ceiling, token)
        await self._read(process, name)

    async def _turns(self) -> None:
        """Wait for this operation's turn, so that there are not more than so many per second."""
        loop = asyncio.get_running_loop()
        self._due = max(self._due, loop.time()) + 1 / self._load.operations_per_second
        self._turn += 1
        ahead = self._due - loop.time()
        if ahead > 0.002 or self._turn % _TURN == 0:
            await asyncio.sleep(max(ahead, 0))

    async def _increment(self, process: int, name: str, ceiling: int | None = None, token: str | None = None) -> None:
        client = self._clients[process % len(self._clients)]
        if token is None and self._subject.tokens and self._subject.retried:
            # Asked again with the same token, it counts once: that is what the subject has it for.
            token = self._new_token()
        number = self._history.call(process, name, "add", 1, ceiling=ceiling, token=token)

        def call() -> Awaitable[Counted]:
            if token is None:
                return client.increment(name, ceiling)
            assert isinstance(client, Tokened)
            return client.increment_once(name, ceiling, token)

        counted = await self._until_answered(call, retried=self._subject.retried)
        if isinstance(counted, Counted):
            self._answer(number, counted)
            self._tally.answered(name, applied=counted.applied, token=token)
        else:
            self._history.answer(number, counted)
            self._tally.doubtful(name, counted)

    async def _change(self, process: int, name: str, operation: Operation) -> None:
        client = self._clients[process % len(self._clients)]
        assert isinstance(client, Changing)
        if self._subject.retried:
            operation = msgspec.structs.replace(operation, token=self._new_token())
        number = self._history.call(
            process,
            name,
            operation.kind,
            operation.amount,
            ceiling=operation.ceiling,
            floor=operation.floor,
            token=operation.token,
        )
        counted = await self._until_answered(lambda: client.change(name, operation), retried=self._subject.retried)
        if isinstance(counted, Counted):
            self._answer(number, counted)
            self._tally.other()
        else:
            self._history.answer(number, counted)
            self._tally.left_open()

    def _answer(self, number: int, counted: Counted) -> None:
        self._history.answer(
            number,
            "applied" if counted.applied else "rejected",
            value=counted.value,
            previous=counted.previous,
            revision=counted.revision,
        )

    def _new_token(self) -> str:
        return f"{self._prefix}/{self._pauses.getrandbits(64):016x}"

    async def _read(self, process: int, name: str) -> None:
        client = self._clients[process % len(self._clients)]
        number = self._history.call(process, name, "read")
        counted = await self._until_answered(lambda: client.read(name), retried=self._subject.retried)
        if isinstance(counted, Counted):
            self._history.answer(number, "read", value=counted.value, revision=counted.revision)
            self._tally.other()
        else:
            self._history.answer(number, counted)

    async def _until_answered(self, call: Callable[[], Awaitable[Counted]], *, retried: bool) -> Counted | _Doubt:
        """What is answered in the end, or whether it is unknown, or refused."""
        loop = asyncio.get_running_loop()
        pause = _PAUSE_FIRST_SECONDS
        while True:
            try:
                return await (self._attempt(call) if self._subject.retried else call())
            except (InvalidRequest, ConfigurationError):
                raise
            except Exception as error:
                self._tally.error(error)
                if not retried:
                    definite = isinstance(error, PlusoneError) and error.applied == "no"
                    return "refused" if definite else "unknown"
                if loop.time() > self._give_up_at:
                    return "unknown"
            await asyncio.sleep(self._pauses.uniform(0, pause))
            pause = min(2 * pause, _PAUSE_LONGEST_SECONDS)

    async def _attempt(self, call: Callable[[], Awaitable[Counted]]) -> Counted:
        """Wait for an answer as long as a caller waits, even if the driver does not let go when it is cancelled."""
        attempt = asyncio.ensure_future(call())
        try:
            await asyncio.wait([attempt], timeout=ATTEMPT_SECONDS)
            if attempt.done():
                return attempt.result()
            raise TimeoutError(f"not answered within {ATTEMPT_SECONDS:g} s")
        finally:
            if not attempt.done():
                self._given_up.add(attempt)
                attempt.add_done_callback(self._forget)
                attempt.cancel()

    def _forget(self, attempt: asyncio.Future[Counted]) -> None:
        self._given_up.discard(attempt)
        if not attempt.cancelled():
            attempt.exception()


def _some_change(source: random.Random) -> Operation:
    kind = source.choices(("up", "down", "set", "delete"), (40, 40, 15, 5))[0]
    if kind == "delete":
        return Operation.delete()
    if kind == "set":
        return Operation.set(source.randint(0, _CHANGED_MAX))
    by = source.randint(1, 5)
    return Operation.add(by, ceiling=_CHANGED_MAX) if kind == "up" else Operation.add(-by, floor=0)


async def _some_at_once(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Make these calls, some of them at the same time."""
    waiting = list(reversed(calls))

    async def caller() -> None:
        while waiting:
            await waiting.pop()()

    await _together([caller() for _ in range(min(_FINAL_READS_AT_ONCE, len(calls)))])


async def _together(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Do all of it at the same time. Raises the first error alone, once all others have been cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
