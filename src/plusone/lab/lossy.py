"""What a lost reply does to a count: the datastore acts, and whoever asked it never hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec

from plusone.lab.faults import Faults
from plusone.lab.proxies import Proxies, proxied
from plusone.lab.results import Lossy
from plusone.lab.subjects.protocol import Counting, Subject, Tokened

SHARE: Final = 0.01
"""The share of the replies that is lost."""
INCREMENTS: Final = 2_000
"""So many increments at least."""
LOST_REPLIES: Final = 20
"""So many lost replies at least: what combines increments has few replies to lose."""
CALLERS: Final = 16
PATIENCE_SECONDS: Final = 60.0
"""So long after the end callers may go on asking for their last answer."""
_PAUSE_SECONDS: Final = 0.01
"""The most that a caller waits before it asks again."""


class LosingReplies:
    """Proxies that lose a share of the replies, once they are told to begin: whoever connects first is let in."""

    def __init__(self, url: str, share: float, seed: int) -> None:
        self.begun = False
        self.proxies: Proxies = proxied(
            url, Faults(rates={"cut_after_request": share}, seed=seed, matcher=lambda _: self.begun)
        )

    @property
    def lost(self) -> int:
        return self.proxies.counts["cut_after_request"]


class Asked(msgspec.Struct, frozen=True):
    """What callers got who ask again."""

    acknowledged: int
    errors: int


async def ask(
    call: Callable[[str], Awaitable[Any]], *, callers: int, enough: Callable[[int], bool], again: bool, seed: int
) -> Asked:
    """Have increments acknowledged until, with so many of them, it is enough.

    With `again`, an error is answered by asking once more until there is an answer. Else it is left in doubt. Each
    increment has a token, and its repetitions have the same one.
    """
    acknowledged = errors = 0
    pause = random.Random(seed)

    async def caller() -> None:
        nonlocal acknowledged, errors
        asking, token = False, ""
        while asking or not enough(acknowledged):
            token = token if asking else secrets.token_hex(12)
            try:
                await call(token)
            except Exception:
                errors += 1
                asking = again
                await asyncio.sleep(pause.uniform(0, _PAUSE_SECONDS))
            else:
                acknowledged += 1
                asking = False

    await asyncio.gather(*(caller() for _ in range(callers)))
    return Asked(acknowledged, errors)


async def count_while_replies_are_lost(
    subject: Subject, url: str, name: str, *, place: str, seconds: float, seed: int
) -> Lossy:
    """Count on one counter through proxies that lose replies, and see what it is in the end.

    At most about so many seconds, and until the last caller has its answer. `place` is the subject's own, as `connect`
    takes it. Raises `ConfigurationError` where there can be no proxy, `TimeoutError` if answers never come, and what
    the subject raises when it connects or reads.
    """
    async with _behind(subject, url) as target:
        losing = LosingReplies(target, SHARE, seed)
        try:
            async with losing.proxies as proxies, subject.connect(proxies.url, place) as counting:
                asked = await _ask(counting, subject, name, losing, seconds, seed)
        finally:
            async with subject.connect(target, place) as direct:
                counted = (await direct.read(name)).value
                await direct.remove([name])
    return Lossy(increments=asked.acknowledged, lost_replies=losing.lost, counted=counted or 0, errors=asked.errors)


async def _ask(
    counting: Counting, subject: Subject, name: str, losing: LosingReplies, seconds: float, seed: int
) -> Asked:
    await counting.read(name)
    losing.begun = True
    end = time.monotonic() + seconds

    def enough(acknowledged: int) -> bool:
        if time.monotonic() > end:
            return True
        return acknowledged >= INCREMENTS and losing.lost >= LOST_REPLIES

    async def call(token: str) -> None:
        if subject.tokens and subject.retried and isinstance(counting, Tokened):
            await counting.increment_once(name, None, token)
        else:
            await counting.increment(name, None)

    try:
        async with asyncio.timeout(seconds + PATIENCE_SECONDS):
            return await ask(
                call,
                callers=CALLERS,
                enough=enough,
                again=subject.retried,
                seed=seed,
            )
    finally:
        losing.begun = False


@contextlib.asynccontextmanager
async def _behind(subject: Subject, url: str) -> AsyncIterator[str]:
    """What the proxies stand before: the datastore, or what the subject has between it and its callers."""
    if subject.front is None:
        yield url
        return
    async with subject.front(url) as front:
        yield front.url
