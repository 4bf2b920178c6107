"""Virtual time: event loops that never wait, and whose world a test owns.

A `World` is a heap of what is to happen, in order of time; running it jumps from one event to the next. Each `Loop`
stands for a process: an asyncio event loop whose turns are events of the world, so that many of them share one time,
and one can be frozen or killed while the world goes on. There is no I/O and no thread in it, hence no chance but the
test's own seeds: the same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from plusone.clock import Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH_SECONDS = 1_000_000.0
"""The wall clock when a world begins."""
_TURN_CALLBACKS_MAX = 100_000


class World:
    """What time it is, and what will happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0

    def process(self) -> Loop:
        """A new process, which does nothing yet."""
        return Loop(self)  # type: ignore[abstract]  # sockets, signals and the like are not of this world

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Let `callback(*args)` happen at `when`; what is due at the same time happens in the order of these calls."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, callback, args))

    def after(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        self.at(self.now + seconds, callback, *args)

    def run(self, done: Callable[[], bool] = lambda: False) -> None:
        """Let things happen until `done`, or until there is nothing left that could."""
        while self._events and not done():
            when, _, callback, args = heapq.heappop(self._events)
            if when > self.now:
                self.now = when
            callback(*args)

    def wall(self) -> float:
        return EPOCH_SECONDS + self.now


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process in a world. Create tasks with `create_task`; the world runs them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.errors: list[str] = []
        """What no one caught, as asyncio reports it: for a test to look at."""
        self._ready: deque[asyncio.Handle] = deque()
        self._turn_due = False
        self._frozen_until = 0.0
        self._unseen = 0.0

    def freeze(self, seconds: float, *, suspended: bool = False) -> None:
        """Run nothing for a while. Suspended, the monotonic clock stands still meanwhile, as a machine's may."""
        self._frozen_until = max(self._frozen_until, self.world.now + seconds)
        if suspended:
            self._unseen += seconds

    def kill(self) -> None:
        """Run nothing any more, and let go of what was under way."""
        self.dead = True
        self._ready.clear()
        for task in asyncio.all_tasks(self):
            coroutine = task.get_coro()
            if coroutine is not None:
                coroutine.close()

    def clock(self, seed: int, wall_offset: float = 0.0) -> Clock:
        """This process's clock and randomness."""
        return Clock(self.time, lambda: self.world.wall() + wall_offset, seed)

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self.world.now - self._unseen

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._make_ready(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.world.at(when + self._unseen, self._come_due, timer)
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when it comes due."""

    # Turns.

    def _make_ready(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)
        if not self._turn_due:
            self._turn_due = True
            self.world.at(self.world.now, self._turn)

    def _come_due(self, timer: asyncio.TimerHandle) -> None:
        if timer.cancelled() or self.dead:
            return
        due = max(self._frozen_until, timer.when() + self._unseen)
        if due > self.world.now + 1e-6:
            self.world.at(due, self._come_due, timer)
        else:
            self._make_ready(timer)

    def _turn(self) -> None:
        if self._frozen_until > self.world.now:
            self.world.at(self._frozen_until, self._turn)
            return
        asyncio._set_running_loop(self)
        try:
            for _ in range(_TURN_CALLBACKS_MAX):
                if not self._ready:
                    break
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
            else:
                raise AssertionError("the process is busy without an end: it spins")
        finally:
            asyncio._set_running_loop(None)
            self._turn_due = False


def run(main: Callable[[Loop], Awaitable[T]]) -> T:
    """Run `main(loop)` as the only process of a world of its own, for as long as it takes and in no time.

    Raises `AssertionError` if it can never end, and for errors that nobody caught.
    """
    loop = World().process()

    async def wrapped() -> T:
        return await main(loop)

    task = loop.create_task(wrapped())
    loop.world.run(task.done)
    assert task.done(), f"stuck at {loop.time():.3f} s: nothing is left that could happen"
    loop.kill()
    result = task.result()
    assert not loop.errors, loop.errors
    return result
