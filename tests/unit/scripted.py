"""A store whose every answer the test writes: a script of the network, on a loop of virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from plusone.counters import Counters
from plusone.errors import PlusoneError
from plusone.statistics import Limits
from plusone.stores.memory import MemoryStore
from plusone.stores.protocol import Answer, GuardedAdd, Record
from tests.model.virtual import Loop, run

Reply = Answer | PlusoneError


def in_virtual_time(test: Callable[[Loop], Awaitable[None]]) -> Callable[[], None]:
    """The test as pytest runs it: in a world of its own, where waiting takes no time."""

    def wrapper() -> None:
        run(test)

    wrapper.__doc__, wrapper.__name__ = test.__doc__, getattr(test, "__name__", "test")
    return wrapper


class Sent:
    """One call of `apply`: what it carried, and how it is answered."""

    def __init__(self, batch: Sequence[GuardedAdd], future: asyncio.Future[list[Reply]]) -> None:
        self.batch = list(batch)
        self._future = future

    @property
    def request(self) -> GuardedAdd:
        """Its only request."""
        (request,) = self.batch
        return request

    def answer(self, *replies: Reply) -> None:
        self._future.set_result(list(replies))

    def fail(self, error: BaseException) -> None:
        self._future.set_exception(error)

    @property
    def abandoned(self) -> bool:
        return self._future.cancelled()


class ScriptedStore:
    """Answers by `respond` where there is one; else each call waits for the test."""

    def __init__(self, respond: Callable[[GuardedAdd], Reply] | None = None, **capabilities: Any) -> None:
        self.capabilities = replace(MemoryStore.CAPABILITIES, **capabilities)
        self.calls: list[Sent] = []
        self.closes = 0
        self._respond = respond
        self._called = asyncio.Event()

    @property
    def requests(self) -> list[GuardedAdd]:
        return [request for call in self.calls for request in call.batch]

    async def sent(self, number: int) -> Sent:
        """The call of this number (from 1), as soon as it is made."""
        while len(self.calls) < number:
            self._called.clear()
            await self._called.wait()
        return self.calls[number - 1]

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        return ()

    async def open(self) -> None:
        pass

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        self.closes += 1

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Reply]:
        call = Sent(batch, asyncio.get_running_loop().create_future())
        self.calls.append(call)
        self._called.set()
        if self._respond is not None:
            call.answer(*(self._respond(request) for request in batch))
        return await call._future

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        return [Record(0, 0, False, None) for _ in keys]


def counters_on(store: Any, loop: Loop, **limits: Any) -> Counters:
    """Counters of a process of virtual time; its operations live for 10 s, an attempt for 1 s."""
    return Counters(store, limits=Limits(**{"attempt_timeout": 1.0, **limits}), clock=loop.clock(seed=1))


def applied(value: int = 0, revision: int = 0, *, exists: bool = True) -> Answer:
    return Answer("applied", value, revision, exists)


def missed(value: int = 0, revision: int = 0, *, exists: bool = True) -> Answer:
    return Answer("missed", value, revision, exists)


async def settle() -> None:
    """Let everything happen that is due at this moment."""
    for _ in range(20):
        await asyncio.sleep(0)
