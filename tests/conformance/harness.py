"""What the suite's tests are written with: requests by hand, one answer at a time, and time that they move."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, ParamSpec, Protocol, Self, TypeVar, cast

import msgspec

from plusone import Counters, Outcome
from plusone.clock import Clock
from plusone.statistics import Limits
from plusone.stores.protocol import Answer, GuardedAdd, Lists, Record, Store, TokenWrite
from plusone.stores.registry import StoreURL
from plusone.types import MAX, MIN

KEY: Final = "default/counter"
A: Final = "AAAAAAAAAAAAAAAA"
B: Final = "BBBBBBBBBBBBBBBB"
C: Final = "CCCCCCCCCCCCCCCC"
DAY_MS: Final = 86_400_000
NOTES: Final = '["9f86d081884c7d65",false,-3,2,1800000000000000]'
"""Like what the combiner keeps under a token."""

P = ParamSpec("P")
AnyStore = TypeVar("AnyStore", bound=Store)


def asynchronous(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run the test in an event loop of its own; its arguments stay fixtures."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class World:
    """Time that stands still until a test moves it, for the stores that go by their writers' clocks."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000
        # Half a millisecond more, so that no rounding falls below the millisecond meant.
        self.clock = Clock(monotonic=lambda: (self.now_ms + 0.5) / 1000, wall=lambda: (self.now_ms + 0.5) / 1000)

    def advance(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Ask until it holds. Between two questions our time moves by 10 ms; a datastore's moves by itself."""
        async with asyncio.timeout(20):
            while not await holds():
                self.advance(10)
                await asyncio.sleep(0)


class NewStore(Protocol):
    """Makes a store on the test's own empty place in the datastore, each call another connection to the same."""

    def __call__(self, *, clock: Clock | None = None, token_retention_ms: int = DAY_MS) -> Store: ...


class _FromURL(Store, Protocol):
    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> Self: ...


FromURL = TypeVar("FromURL", bound=_FromURL)


def store_of(kind: type[FromURL], url: str, *, clock: Clock | None = None, token_retention_ms: int = DAY_MS) -> FromURL:
    """A store of this class, not yet open."""
    return kind.from_url(StoreURL.parse(url), clock=clock or Clock(), token_retention_ms=token_retention_ms)


@asynccontextmanager
async def opened(store: AnyStore) -> AsyncIterator[AnyStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def add(total: int = 1, *, seq: int = 1, **rest: Any) -> GuardedAdd:
    """A batch of one operation that adds `total` for writer A, whatever the value is; `rest` says what is special."""
    fields: dict[str, Any] = {"key": KEY, "writer": A, "acked": 0, "applied": 1, "lo": MIN, "hi": MAX} | rest
    return GuardedAdd(total=total, seq=seq, **fields)


def restart(value: int, *, seq: int = 1, **rest: Any) -> GuardedAdd:
    """A set."""
    return add(value, seq=seq, restart=True, **rest)


def delete(*, seq: int = 1, **rest: Any) -> GuardedAdd:
    return add(0, seq=seq, restart=True, delete=True, **rest)


def closing(*, seq: int, **rest: Any) -> GuardedAdd:
    return add(0, seq=seq, applied=0, closing=True, **rest)


def with_tokens(store: Store, request: GuardedAdd, before: tuple[int, int, bool], *tokens: str) -> GuardedAdd:
    """The request with tokens; where the store cannot copy the state, pinned to `before` as the combiner pins it."""
    if not store.capabilities.pins_tokens:
        return msgspec.structs.replace(request, tokens=tuple(TokenWrite(token, NOTES) for token in tokens))
    return msgspec.structs.replace(
        request,
        tokens=tuple(TokenWrite(token, NOTES, before) for token in tokens),
        revision=before[1],
        alive=before[2],
    )


async def apply(store: Store, request: GuardedAdd) -> Answer:
    """Apply one; an error in its place is raised."""
    [answer] = await store.apply([request])
    if not isinstance(answer, Answer):
        raise answer
    return answer


async def read(store: Store, key: str = KEY) -> Record:
    [record] = await store.read([key], strong=True)
    return record


async def state(store: Store, key: str = KEY) -> tuple[int, int, bool]:
    """Value, revision and existence, by a strong read."""
    record = await read(store, key)
    return record.value, record.revision, record.exists


async def known_tokens(store: Store, *tokens: str) -> Sequence[str]:
    """Which of these are recorded and not expired; a request that no value admits asks, and so writes nothing."""
    question = with_tokens(store, add(lo=MAX, hi=MAX, writer=C), (MAX, 0, False), *tokens)
    answer = await apply(store, question)
    assert answer.status == "missed"
    return sorted(record.token for record in answer.tokens)


async def has_session(store: Store, writer: str) -> bool:
    """Whether the store knows this writer, who wrote seq 1; asked by a request that no value admits."""
    answer = await apply(store, add(seq=2, acked=1, writer=writer, lo=MAX, hi=MAX))
    assert answer.status in ("missed", "gap")
    return answer.status == "missed"


async def pages(store: Store, prefix: str, limit: int = 100) -> list[Sequence[tuple[str, Record]]]:
    """All pages of a listing, each held to its limit and to being free of repetitions."""
    found, page_token = [], None
    while True:
        page, page_token = await cast(Lists, store).list(prefix, limit, page_token)
        assert len(page) <= limit
        assert len({key for key, _ in page}) == len(page)
        found.append(page)
        if page_token is None:
            return found


async def listed(store: Store, prefix: str, limit: int = 100) -> dict[str, int]:
    """The counters of a listing and their values."""
    return {key: record.value for page in await pages(store, prefix, limit) for key, record in page}


def counters_on(new_store: NewStore, clock: Clock | None = None) -> Counters:
    """Another writer on the test's place, patient enough for a busy machine."""
    return Counters(new_store(clock=clock), limits=Limits(timeout=60), clock=clock)


def told(outcome: Outcome) -> tuple[bool, int, int, int, str | None]:
    """What an outcome says, apart from its time: applied, value, previous, revision, reason."""
    return outcome.applied, outcome.value, outcome.previous, outcome.revision, outcome.reason
