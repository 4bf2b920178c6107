"""The stores that one worker serves, by name: opened before the first request, drained after the last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

import msgspec
import structlog

import plusone
from plusone.config import Settings
from plusone.counters import Counters
from plusone.errors import PlusoneError
from plusone.service.messages import rfc3339_ms
from plusone.service.problems import UnknownStore
from plusone.statistics import Statistics

_log = structlog.stdlib.get_logger("plusone.service")


class GapReport(msgspec.Struct, frozen=True):
    """A store was found to have lost acknowledged operations of one counter."""

    counter: str
    """`account/name`."""
    acked: int
    """The number of the last batch that the store had acknowledged."""
    last: int
    """The number of the last one that it still has."""
    at: str


class StoreReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether one store can serve."""

    ready: bool
    detail: str | None = None
    """Why not."""
    recent_gaps: tuple[GapReport, ...] = ()
    """Losses found in the last five minutes. Counting goes on; somebody should look at the datastore."""


class Readiness(msgspec.Struct, frozen=True):
    """Whether this worker can serve, and each of its stores."""

    ready: bool
    stores: dict[str, StoreReport]


class Stores:
    """Named counters, and whether they are to be had."""

    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigurationError` for a URL that names no store; nothing is connected yet."""
        self._counters: dict[str, Counters] = {}
        for name, url in settings.stores.items():
            with naming(name):
                self._counters[name] = plusone.open(
                    url,
                    timeout=settings.timeout,
                    waiting_max=settings.waiting_max,
                    on_gap=settings.on_gap,
                    token_retention=settings.token_retention,
                )
        self._gaps_told: dict[str, int] = {}

    async def open(self) -> None:
        """Connect to each. Raises what the first that cannot be reached raises, its name in front, and closes all."""
        try:
            for name, counters in self._counters.items():
                with naming(name):
                    await counters.__aenter__()
        except BaseException:
            # Nobody closes what never served. What brought us here says more than what may come of closing.
            with contextlib.suppress(PlusoneError):
                await self.close()
            raise

    async def close(self) -> None:
        """Answer everything that waits, and let go of the datastores: of all, then raise what the first raised."""

        async def close(name: str, counters: Counters) -> None:
            with naming(name):
                await counters.close()

        closing = (close(name, counters) for name, counters in self._counters.items())
        for failure in await asyncio.gather(*closing, return_exceptions=True):
            if failure is not None:
                raise failure

    def named(self, name: str) -> Counters:
        """The counters of one store; raises `UnknownStore`."""
        counters = self._counters.get(name)
        if counters is None:
            raise UnknownStore(f"there is no store {name!r}; known are {', '.join(self._counters)}")
        return counters

    def statistics(self) -> Mapping[str, Statistics]:
        """What each store's combiner did."""
        return {name: counters.statistics for name, counters in self._counters.items()}

    def tell_of_gaps(self) -> None:
        """Log which stores had lost acknowledged operations since this was last called.

        The counters themselves log each of them, and do not know which store they are on.
        """
        for name, counters in self._counters.items():
            total = counters.statistics.gaps_total
            if total > self._gaps_told.get(name, 0):
                times = total - self._gaps_told.get(name, 0)
                _log.error("a store had lost acknowledged operations", store=name, times=times)
            self._gaps_told[name] = total

    async def readiness(self) -> Readiness:
        """Ask every store."""
        reports = await asyncio.gather(*(self._report(counters) for counters in self._counters.values()))
        stores = dict(zip(self._counters, reports, strict=True))
        return Readiness(all(report.ready for report in reports), stores)

    async def _report(self, counters: Counters) -> StoreReport:
        gaps = tuple(
            GapReport(gap.key, gap.acked, gap.last, rfc3339_ms(gap.at_ms)) for gap in counters.statistics.recent_gaps
        )
        try:
            await counters.check()
        except PlusoneError as error:
            return StoreReport(False, str(error), gaps)
        return StoreReport(True, None, gaps)


@contextlib.contextmanager
def naming(store: str) -> Iterator[None]:
    """Put the store's name in front of what its errors say."""
    try:
        yield
    except PlusoneError as error:
        error.args = (f"store {store}: {error}", *error.args[1:])
        raise
