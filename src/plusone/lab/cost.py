"""What counting costs a month on datastores that are paid by use, with plusone's batching and without.

How many batches a counter takes: a process has one batch of a counter under way at a time, and what arrives meanwhile
is the next one. If increments arrive at random at `r` a second and a write takes `L` seconds, a batch begins either
when the one before it ends, or, where nothing came meanwhile (probability `exp(-r L)`), `1 / r` later on average. So

    batches per second = 1 / (L + exp(-r L) / r)

which is `r` for a quiet counter and never more than `1 / L`, however hot it is. It is the renewal argument for a queue
that is served in bulk. Source: N. T. J. Bailey, "On Queueing Processes with Bulk Service", Journal of the Royal
Statistical Society B 16, 1954; here with Poisson arrivals, a constant time of service and no bound on a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from plusone.errors import ConfigurationError
from plusone.lab.servers import SERVERS

SECONDS_PER_MONTH: Final = 730 * 3_600
"""730 hours, as the vendors' calculators have it."""
SESSIONS_KEPT: Final = 8
"""So many writers' sessions a counter's item on DynamoDB keeps: processes that counted on it, before a restart too.

More are kept while they are younger than an hour.
"""
_SESSIONS_MAX: Final = 1_000
_RATE_MAX: Final = 1e9
_KEYS_MAX: Final = 1_000_000_000
_PROCESSES_MAX: Final = 100_000
_LATENCY_MS_MAX: Final = 60_000.0


class RecordSize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large plusone's record of a counter is, where the vendor charges by its size."""

    base_bytes: int
    session_bytes: int
    bytes_per_unit: int

    def __post_init__(self) -> None:
        if self.base_bytes < 0 or self.session_bytes < 0 or self.bytes_per_unit < 1:
            raise ValueError("base_bytes and session_bytes must not be negative, bytes_per_unit at least 1")

    def units(self, sessions: int) -> int:
        """Units that a write of a record with so many sessions is charged."""
        return max(1, math.ceil((self.base_bytes + self.session_bytes * sessions) / self.bytes_per_unit))


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price for a month at up to so many operations a second."""

    per_second: float
    dollars: float


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vendor charges for writes: either `dollars` for every `per` units, or `tiers`."""

    store: str
    """As `--store` takes it."""
    title: str
    schemes: Sequence[str] = ()
    """Schemes of the store URLs whose datastore may be this one."""
    superseded: bool = False
    """Whether it is no longer in force: only shown when it is asked for by name."""
    unit: str
    dollars: float | None = None
    per: int = 1_000_000
    tiers: Sequence[Tier] = ()
    free_units: float = 0
    """Units a month that are free."""
    fixed_dollars: float = 0
    """What a month costs without any write."""
    plain_units: float = 1
    """Units of a plain increment."""
    plusone_units: float = 1
    """Units of a write of plusone, where `record` does not tell."""
    record: RecordSize | None = None
    units_per_second_and_counter: float | None = None
    """So many units a second a single counter may take, by the vendor's limit."""
    refusal: str = ""
    """What the vendor answers beyond that."""
    besides: str = ""
    """What has to be paid besides, by the hour."""
    region: str
    date: str
    """When the source said so, ISO 8601."""
    source: str
    url: str
    vendor_url: str = ""
    """Where the vendor says what it is today."""
    note: str = ""

    def __post_init__(self) -> None:
        if (self.dollars is None) == (not self.tiers):
            raise ValueError(f"{self.store}: a price has either dollars or tiers")
        amounts = (self.dollars or 0, self.free_units, self.fixed_dollars, *(tier.dollars for tier in self.tiers))
        units = (self.per, self.plain_units, self.plusone_units, *(tier.per_second for tier in self.tiers))
        if not all(math.isfinite(amount) and amount >= 0 for amount in amounts):
            raise ValueError(f"{self.store}: dollars, free_units and fixed_dollars must not be negative")
        if not all(math.isfinite(unit) and unit > 0 for unit in units):
            raise ValueError(f"{self.store}: per, per_second and units must be more than 0")
        if list(self.tiers) != sorted(self.tiers, key=lambda tier: tier.per_second):
            raise ValueError(f"{self.store}: tiers must rise")

    def units(self, *, plusone: bool, sessions: int) -> float:
        """Units of one write: of plusone, on a record with so many sessions, or of a plain increment."""
        if not plusone:
            return self.plain_units
        return self.plusone_units if self.record is None else self.record.units(sessions)

    def monthly(self, writes_per_second: float, units: float) -> float | None:
        """Dollars a month for writes of so many units; None for more than its largest tier takes."""
        if self.dollars is None:
            fitting = (tier.dollars for tier in self.tiers if writes_per_second * units <= tier.per_second)
            cheapest = next(fitting, None)
            return None if cheapest is None else cheapest + self.fixed_dollars
        charged = max(0.0, writes_per_second * units * SECONDS_PER_MONTH - self.free_units)
        return charged / self.per * self.dollars + self.fixed_dollars


class LeftOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A datastore without a price, and why."""

    store: str
    why: str


class PriceList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a price file holds."""

    format: int
    prices: Sequence[Price]
    left_out: Sequence[LeftOut] = ()

    def __post_init__(self) -> None:
        if self.format != 1:
            raise ValueError("format must be 1")
        names = [price.store for price in self.prices]
        if len(set(names)) != len(names):
            raise ValueError("a store has two prices")


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted. Raises `ConfigurationError`, which names the field."""

    rate: float
    """Increments a second, over all counters and processes."""
    keys: int = 1
    """Counters that they are on."""
    hot_share: float | None = None
    """The hottest counter's share of the increments; the rest is even. None: all is even."""
    latency_ms: float = 5.0
    """How long a write to the datastore takes."""
    processes: int = 1
    """Processes that count on the same counters: each has batches of its own."""
    sessions: int = SESSIONS_KEPT
    """Writers that a counter's record remembers."""

    def __post_init__(self) -> None:
        _check("rate", self.rate, 0.0, _RATE_MAX, above=True)
        _check("keys", self.keys, 1, _KEYS_MAX)
        _check("latency_ms", self.latency_ms, 0.0, _LATENCY_MS_MAX, above=True)
        _check("processes", self.processes, 1, _PROCESSES_MAX)
        _check("sessions", self.sessions, 1, _SESSIONS_MAX)
        if self.hot_share is not None:
            _check("hot_share", self.hot_share, 1 / self.keys, 1.0)

    @property
    def hot(self) -> float:
        """Increments a second on the hottest counter."""
        return self.rate * (1 / self.keys if self.hot_share is None else self.hot_share)

    @property
    def other(self) -> float:
        """Increments a second on each of the others."""
        return (self.rate - self.hot) / (self.keys - 1) if self.keys > 1 else 0.0

    def batches(self, rate: float) -> float:
        """Batches a second of a counter with so many increments a second."""
        each = batches_per_second(rate / self.processes, self.latency_ms / 1_000)
        return each * self.processes


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way of writing: each increment by itself, or batched."""

    writes_per_second: float
    units_per_write: float
    hot_writes_per_second: float
    throttled: bool
    """Whether the hottest counter's writes pass what the vendor lets one counter take."""
    dollars: float | None
    """A month, as if all were let through; None beyond the largest tier."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload costs at one price."""

    price: Price
    plain: Way
    batched: Way
    notes: Sequence[str]


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What `plusone cost` answers."""

    workload: Workload
    estimates: Sequence[Estimate]
    machine_dollars: float | None
    """A month of the machines that a datastore of one's own runs on, as given: no increment changes it."""
    left_out: Sequence[LeftOut]


def batches_per_second(rate: float, latency: float) -> float:
    """Batches that a counter takes with `rate` increments a second and writes of `latency` seconds; see the module."""
    return rate / (rate * latency + math.exp(-rate * latency)) if rate > 0 else 0.0


def costs(prices: PriceList, workload: Workload, stores: Sequence[str], machine_dollars: float | None) -> Costs:
    """What a workload costs at the prices of `stores`, or of all that are in force.

    A store is a price's name, or a datastore as a store URL or the lab calls it: then it is all its prices in force.
    Raises `ConfigurationError` for a store without a price.
    """
    if machine_dollars is not None:
        _check("machine", machine_dollars, 0.0, _RATE_MAX)
    if stores:
        # One that is named twice, by itself and by its scheme, is shown once.
        chosen = list({price.store: price for store in stores for price in _prices_of(prices, store)}.values())
    else:
        chosen = [price for price in prices.prices if not price.superseded]
    return Costs(
        workload=workload,
        estimates=[estimate(price, workload) for price in chosen],
        machine_dollars=machine_dollars,
        left_out=() if stores else prices.left_out,
    )


def estimate(price: Price, workload: Workload) -> Estimate:
    """What a workload costs at one price."""
    hot, other, others = workload.hot, workload.other, workload.keys - 1
    plain = _way(price, workload, hot, workload.rate, plusone=False)
    batches = workload.batches(hot)
    batched = _way(price, workload, batches, batches + others * workload.batches(other), plusone=True)
    return Estimate(price=price, plain=plain, batched=batched, notes=_notes(price, plain, batched))


def dollars_per_million(price: Price, writes_per_increment: float, *, plusone: bool) -> float | None:
    """Dollars for a million increments, without what is fixed or free; None where machines have to be paid besides.

    Plusone's record is taken as small as that of a counter that one process counts on.
    """
    if price.dollars is None or price.besides:
        return None
    return writes_per_increment * price.units(plusone=plusone, sessions=1) * 1_000_000 / price.per * price.dollars


def price_of(prices: PriceList, scheme: str) -> Price | None:
    """The first price in force of a datastore that store URLs of this scheme may lead to."""
    return next((price for price in prices.prices if scheme in price.schemes and not price.superseded), None)


def load_prices(path: Path | None = None) -> PriceList:
    """The prices that come with plusone, or those of a file of one's own in their place.

    Raises `ConfigurationError` for a file that is none.
    """
    try:
        raw = path.read_bytes() if path else files("plusone.lab").joinpath("prices.json").read_bytes()
        return msgspec.json.decode(raw, type=PriceList)
    except OSError as error:
        raise ConfigurationError(f"prices: {path} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"prices: {path} is no price file: {error}") from None


def _prices_of(prices: PriceList, store: str) -> Sequence[Price]:
    if named := [price for price in prices.prices if price.store == store]:
        return named
    scheme = SERVERS[store].scheme if store in SERVERS else store
    if found := [price for price in prices.prices if scheme in price.schemes and not price.superseded]:
        return found
    known = dict.fromkeys([price.store for price in prices.prices])
    known |= dict.fromkeys([scheme for price in prices.prices if not price.superseded for scheme in price.schemes])
    why = next((f": {left.why}" for left in prices.left_out if left.store == store), "")
    raise ConfigurationError(f"store {store!r} has no price{why}; known are {', '.join(known)}")


def _way(price: Price, workload: Workload, hot: float, writes: float, *, plusone: bool) -> Way:
    units = price.units(plusone=plusone, sessions=workload.sessions)
    limit = price.units_per_second_and_counter
    return Way(
        writes_per_second=writes,
        units_per_write=units,
        hot_writes_per_second=hot,
        throttled=limit is not None and hot * units > limit,
        dollars=price.monthly(writes, units),
    )


def _notes(price: Price, plain: Way, batched: Way) -> list[str]:
    notes = []
    limit = price.units_per_second_and_counter
    for way, words in ((plain, "Each increment a write"), (batched, "Batched")):
        if way.throttled and limit is not None:
            passing = limit / way.units_per_write
            notes.append(
                f"{words}, the hottest counter asks for {way.hot_writes_per_second:,.0f} writes/s, and {passing:,.0f}"
                f" are let through: the others are refused with {price.refusal}, repeated by the SDK, and lost when"
                " its attempts are used up."
            )
        if way.dollars is None:
            notes.append(f"{words}, it is beyond the largest tier: the price list has no price for so much.")
    if plain.throttled and not batched.throttled:
        notes.append(
            f"Batched, the hottest counter takes {batched.hot_writes_per_second:,.0f} writes/s: nothing is refused."
        )
    if batched.units_per_write > plain.units_per_write:
        notes.append(
            f"A write of plusone is {batched.units_per_write:g} units, of a plain increment {plain.units_per_write:g}."
        )
    if price.besides:
        notes.append(f"The {price.besides} are besides.")
    if price.note:
        notes.append(price.note)
    return notes


def _check(name: str, value: float, lowest: float, highest: float, *, above: bool = False) -> None:
    if not (lowest < value if above else lowest <= value) or not value <= highest:
        words = f"more than {lowest:g}" if above else f"{lowest:g}"
        raise ConfigurationError(f"{name} must be {words} to {highest:g}, not {value:g}")
