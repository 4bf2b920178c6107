"""The phases of a run, one for each fault: the workload goes on while the fault comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from plusone.errors import StoreUnavailable
from plusone.lab.faults import Condition, Event, Fault, Faults
from plusone.lab.history import Header, HistoryWriter
from plusone.lab.proxies import Proxies, proxied
from plusone.lab.servers.started import ServerFault
from plusone.lab.subjects.protocol import Clocked, Counting, Front, Subject, Watchful
from plusone.lab.tally import Tally
from plusone.lab.target import FaultName, Target
from plusone.lab.workload import Load, Workload

PhaseName: TypeAlias = FaultName | Literal["calm"]

CLIENTS: Final = 2
"""Connections of their own, as of several processes: they contend for the same counters."""
RATES: Final[Mapping[Fault, float]] = {
    "cut_after_request": 0.05,
    "cut_before_request": 0.02,
    "delay": 0.02,
    "half_open": 0.0005,
}
"""Swallowed requests are few: whoever meets one waits until its patience ends."""
DELAY_MS: Final = 40
_LOST_REPLIES: Final = 40
"""So many are lost, if it does not take too much longer."""
_LONGER_SECONDS: Final = 20.0
_HELD_SECONDS: Final[Mapping[ServerFault, float]] = {
    "kill": 0.0,
    "pause": 2.0,
    "failover": 0.0,
    "partition": 3.0,
    "disk_full": 3.0,
}
"""How long a server is left as the fault made it, before it is mended."""
PARTITION_SECONDS: Final = 1.5
_LONG_SECONDS: Final = 5.0
_PARTITIONS: Final[Sequence[Condition]] = (
    "partition_to_client",
    "partition_to_server",
    "refuse",
    "throttle",
    "slow_close",
)
_JUMPS_SECONDS: Final = (150.0, -300.0, 150.0)
"""One client's clock, one jump after the other; the next client's are the opposite, so that they contradict each other.

More than a call may take, so that what is under way fails; less than an idempotency key is kept. The last one sets it
right.
"""
_QUIET_SECONDS: Final = 6.0
"""How long requests that are under way in the proxies may take to arrive before the last reads."""
_ENDS_SECONDS: Final = 90.0
"""How long callers may take to end: longer than any of their own time limits."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a phase."""

    name: PhaseName
    history: Path
    counters: Sequence[str]
    gaps: int | None
    """Losses that the sessions noticed; None for a subject that does not look."""
    forgot: bool = False
    """Whether the process that would have noticed was killed as well."""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What all phases of a run are done with."""

    subject: Subject
    target: Target
    front: Front | None
    header: Header
    load: Load
    tally: Tally
    place: str
    prefix: str
    """What every counter's name begins with."""
    folder: Path
    by_network: bool
    """Whether there can be proxies before what the subject connects to."""
    made: list[str]
    """Every counter that was made, to be removed."""
    may_lose: Collection[PhaseName] = ()
    """Phases in which the datastore may lose what it acknowledged, by its own property."""

    @property
    def url(self) -> str:
        """What the subject connects to."""
        return self.target.url if self.front is None else self.front.url

    @property
    def in_process(self) -> bool:
        """Whether the counters live and die with a connection, so that there can be no second one."""
        return self.front is None and self.target.parsed.scheme == "memory"

    def connections(self, url: str) -> Sequence[AbstractAsyncContextManager[Counting]]:
        return [self.subject.connect(url, self.place) for _ in range(1 if self.in_process else CLIENTS)]


async def run_phase(bench: Bench, name: PhaseName, seconds: float, seed: int) -> Phase:
    """Count for so many seconds while the fault comes and goes; what was told is in the phase's history."""
    path = bench.folder / f"history-{name}.jsonl.gz"
    with HistoryWriter(path, bench.header) as history:
        driver = _Driver(bench, name, seconds, seed, history)
        async with contextlib.AsyncExitStack() as stack:
            url = await driver.enter(stack)
            clients = [await stack.enter_async_context(connected) for connected in bench.connections(url)]
            workload = Workload(
                bench.subject,
                clients,
                history,
                bench.tally,
                prefix=f"{bench.prefix}/{name}",
                seed=seed,
                load=bench.load,
                names=bench.made,
            )
            gaps = await _counted(bench, workload, clients, driver)
            if bench.in_process:
                await workload.read_finally(clients[0])
        # Behind the end of those who counted: whatever they held back has been written by now.
        if not bench.in_process:
            async with bench.subject.connect(bench.url, bench.place) as reader:
                await workload.read_finally(reader)
    forgot = name == "kill" and bench.front is not None
    return Phase(name=name, history=path, counters=workload.names, gaps=gaps, forgot=forgot)


async def _counted(bench: Bench, workload: Workload, clients: Sequence[Counting], driver: _Driver) -> int | None:
    """Have everything counted; the losses that were noticed meanwhile."""
    before = await _gaps(bench, clients) or 0
    await _under_fault(workload, clients, driver)
    await driver.quiet()
    if driver.harms:
        await workload.touch()
    gaps = await _gaps(bench, clients)
    # A key that was lost with its increment counts again, as it may, and would fill the gap that the loss left.
    if bench.subject.tokens and not gaps and driver.name not in bench.may_lose:
        await workload.repeat_tokens()
    if gaps is None:
        return None
    # A service that was killed meanwhile began at none again.
    return gaps - before if gaps >= before else gaps


async def _under_fault(workload: Workload, clients: Sequence[Counting], driver: _Driver) -> None:
    counting = asyncio.create_task(workload.run())
    disturbing = asyncio.create_task(driver.run(clients))
    try:
        await asyncio.wait([counting, disturbing], return_when=asyncio.FIRST_COMPLETED)
        if not counting.done():
            await disturbing
            workload.end()
            await asyncio.wait([counting], timeout=_ENDS_SECONDS)
        if not counting.done():
            raise StoreUnavailable(f"callers were not answered, nor refused, for {_ENDS_SECONDS:.0f} s")
        await counting
    finally:
        for task in (counting, disturbing):
            task.cancel()
        await asyncio.gather(counting, disturbing, return_exceptions=True)


async def _gaps(bench: Bench, clients: Sequence[Counting]) -> int | None:
    """The losses that were noticed so far: by each client for itself, or by the one service that all of them ask."""
    found = [await client.gaps() for client in clients if isinstance(client, Watchful)]
    if not found:
        return None
    return sum(found) if bench.front is None else found[0]


class _Driver:
    """What brings a phase's fault, and takes it away again."""

    def __init__(self, bench: Bench, name: PhaseName, seconds: float, seed: int, history: HistoryWriter) -> None:
        self._bench = bench
        self.name = name
        self._seconds = seconds
        self._seed = seed
        self._history = history
        self._active = False
        self._lost_replies = 0
        self._enough = asyncio.Event()
        self._proxies: Proxies | None = None

    @property
    def harms(self) -> bool:
        """Whether the fault befalls processes, and not only the way to them."""
        return self.name not in ("calm", "replies")

    async def enter(self, stack: contextlib.AsyncExitStack) -> str:
        """The URL by way of which the subject is to count in this phase."""
        if self.name not in ("replies", "partition") or not self._bench.by_network:
            return self._bench.url
        faults = Faults(
            rates=RATES if self.name == "replies" else {},
            seed=self._seed,
            delay_ms=DELAY_MS,
            matcher=lambda _: self._active,
        )
        self._proxies = await stack.enter_async_context(proxied(self._bench.url, faults, notice=self._notice))
        return self._proxies.url

    async def run(self, clients: Sequence[Counting]) -> None:
        """Let the phase last, with its fault in it."""
        if self.name == "calm":
            await asyncio.sleep(self._seconds)
        elif self.name == "replies":
            await self._replies()
        elif self.name == "partition":
            await self._partition()
        elif self.name == "clock":
            await self._clock([client for client in clients if isinstance(client, Clocked)])
        else:
            # Twice, for what comes back from a fault is not what was there before it; unless it takes its time.
            times = 1 if self.name in ("failover", "disk_full") else 2
            for _ in range(times):
                await asyncio.sleep(self._seconds / 3 / times)
                begin = asyncio.get_running_loop().time()
                await self._harm(self.name)
                took = asyncio.get_running_loop().time() - begin
                await asyncio.sleep(self._seconds / 3 / times)
                if took > max(_LONG_SECONDS, self._seconds / 3):
                    break
        if self._proxies is not None:
            # Some drivers wait without end on connections that lead nowhere; their callers are to end nevertheless.
            self._proxies.cut()

    async def quiet(self) -> None:
        """Wait until nothing is under way between the callers and the datastore."""
        if self._proxies is None:
            return
        self._proxies.deliver()
        loop = asyncio.get_running_loop()
        end = loop.time() + _QUIET_SECONDS
        while self._proxies.in_flight and loop.time() < end:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)

    def _notice(self, event: Event) -> None:
        if event == "cut_after_request":
            self._lost_replies += 1
            if self._lost_replies == _LOST_REPLIES:
                self._enough.set()
        if event in RATES or event in _PARTITIONS:
            self._bench.tally.faults[event] += 1

    @contextlib.asynccontextmanager
    async def _in_force(self, fault: str, mark: str | None = None) -> AsyncIterator[None]:
        """`mark` is what the history calls it, if not the same: what begins like a harm can lose what was kept."""
        mark = mark or fault
        begin = self._bench.tally.seconds
        if fault not in _PARTITIONS:  # which count whom they met
            self._bench.tally.faults[fault] += 1
        self._history.mark(mark, "begin")
        try:
            yield
        finally:
            self._history.mark(mark, "end")
            self._bench.tally.mark(fault, begin)

    async def _replies(self) -> None:
        begin = self._bench.tally.seconds
        self._history.mark("replies", "begin")
        self._active = True
        try:
            await asyncio.sleep(self._seconds)
            # What answers slowly has few replies to lose: with too few of them, the phase would prove nothing.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), _LONGER_SECONDS)
        finally:
            self._active = False
            self._history.mark("replies", "end")
            self._bench.tally.mark("replies", begin)

    async def _partition(self) -> None:
        conditions = _PARTITIONS if self._proxies is not None else ()
        calm = self._seconds / (len(_PARTITIONS) + 2)
        for condition in conditions:
            assert self._proxies is not None
            await asyncio.sleep(calm)
            async with self._in_force(condition, f"network: {condition}"):
                self._proxies.begin(condition)
                try:
                    await asyncio.sleep(PARTITION_SECONDS)
                finally:
                    self._proxies.end(condition)
        started = self._bench.target.started
        if started is not None and "partition" in started.faults:
            await asyncio.sleep(calm)
            await self._harm("partition")
        await asyncio.sleep(calm)

    async def _clock(self, clients: Sequence[Clocked]) -> None:
        """Have one process ahead of the world and another one behind it, then the other way round, then none."""
        calm = self._seconds / (len(_JUMPS_SECONDS) + 1)
        await asyncio.sleep(calm)
        for seconds in _JUMPS_SECONDS:
            async with self._in_force("clock"):
                for number, client in enumerate(clients):
                    client.jump(seconds if number % 2 == 0 else -seconds)
                await asyncio.sleep(calm)

    async def _harm(self, fault: ServerFault) -> None:
        started, front = self._bench.target.started, self._bench.front
        if fault == "kill" and front is not None:
            async with self._in_force("kill of the service", "service: kill"):
                await front.kill()
        if started is None or fault not in started.faults:
            return
        async with self._in_force(fault):
            beginning = asyncio.ensure_future(asyncio.to_thread(started.begin, fault))
            try:
                self._history.mark(fault, "hit", await asyncio.shield(beginning))
                await asyncio.sleep(_HELD_SECONDS[fault])
            finally:
                # A phase that ends early would have it undone while it is still being done.
                await asyncio.wait([beginning])
                await asyncio.to_thread(started.end, fault)
