"""The façade for threads: `plusone.blocking.open(url)` counts from any number of threads over one event loop.

The loop runs in a thread of its own, so operations of different threads on the same counter travel together, as those
of tasks do. Made for WSGI applications: open once per process, after the server has forked it, and share everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import plusone.counters
from plusone.counters import Counters as AsyncCounters
from plusone.errors import Closed
from plusone.statistics import Statistics
from plusone.stores.protocol import Capabilities

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncCounters, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Counters, P], T]:
    """The same method, with the same signature and docstring, that waits for its answer."""

    @functools.wraps(method)
    def call(self: Counters, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(lambda counters: method(counters, *args, **kwargs))

    return call


def _opening(opener: Callable[P, AsyncCounters]) -> Callable[P, Counters]:
    @functools.wraps(opener)
    def call(*args: P.args, **kwargs: P.kwargs) -> Counters:
        return Counters(opener(*args, **kwargs))

    return call


class Counters:
    """Named counters in one datastore, for threads. What each method does and raises stands at `plusone.Counters`.

    Use it in `with`, or `close` it. An interrupted call (`KeyboardInterrupt`) may have been counted.
    """

    def __init__(self, counters: AsyncCounters) -> None:
        """Open what `counters` are. Raises what opening their store raises."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._loop = _Loop(counters)

    def __enter__(self) -> Counters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Refuse new calls, wait for those under way until their deadlines, and let go of the datastore."""
        if os.getpid() != self._process:
            return  # what a forked child inherited belongs to the parent
        with self._lock:
            self._closed = True
        self._loop.close()

    increment = _blocking(AsyncCounters.increment)
    add = increment
    decrement = _blocking(AsyncCounters.decrement)
    set = _blocking(AsyncCounters.set)
    reset = _blocking(AsyncCounters.reset)
    delete = _blocking(AsyncCounters.delete)
    perform = _blocking(AsyncCounters.perform)
    get = _blocking(AsyncCounters.get)
    get_many = _blocking(AsyncCounters.get_many)
    list = _blocking(AsyncCounters.list)
    apply = _blocking(AsyncCounters.apply)
    check = _blocking(AsyncCounters.check)

    @property
    def capabilities(self) -> Capabilities:
        """What the datastore behind these counters promises."""
        return self._wait(_capabilities)

    @property
    def statistics(self) -> Statistics:
        """What the combiner of this process did so far."""
        return self._wait(_statistics)

    def _wait(self, ask: Callable[[AsyncCounters], Coroutine[Any, Any, T]]) -> T:
        if os.getpid() != self._process:
            # Neither the loop's thread nor a lock on a file comes along, and SQLite would believe that it did.
            raise Closed("these counters were opened before a fork; open them in each process, after the fork")
        with self._lock:
            if self._closed:
                raise Closed("the counters were closed")
            answer = self._loop.submit(ask)
        try:
            return answer.result()
        except CancelledError:
            # Closing waits for every operation; only reads are cancelled after that, and those have no effect.
            raise Closed("the counters were closed") from None


async def _capabilities(counters: AsyncCounters) -> Capabilities:
    return counters.capabilities


async def _statistics(counters: AsyncCounters) -> Statistics:
    return counters.statistics


class _Loop:
    """A thread, its event loop, and the open counters that live on it."""

    def __init__(self, counters: AsyncCounters) -> None:
        self._counters = counters
        self._opened: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._ended: Future[None] = Future()
        # A daemon, so that a program which forgets to close still ends; what was answered is safe in the datastore.
        threading.Thread(target=self._run, name="plusone", daemon=True).start()
        self._loop, self._closing = self._opened.result()

    def submit(self, ask: Callable[[AsyncCounters], Coroutine[Any, Any, T]]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(ask(self._counters), self._loop)

    def close(self) -> None:
        # The loop's queue is first in, first out: whatever was submitted before this has begun when it is seen.
        with contextlib.suppress(RuntimeError):  # the loop has ended: it was closed before
            self._loop.call_soon_threadsafe(self._closing.set)
        self._ended.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if not self._opened.done():
                self._opened.set_exception(error)
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _live(self) -> None:
        closing = asyncio.Event()
        async with self._counters:
            self._opened.set_result((asyncio.get_running_loop(), closing))
            await closing.wait()


open = _opening(plusone.counters.open)  # noqa: A001 - `plusone.blocking.open(url)` is how it reads
open.__doc__ = "Open the counters in the datastore that `url` names; the arguments are those of `plusone.open`."
