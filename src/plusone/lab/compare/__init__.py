"""`plusone compare`: datastores, and several ways of counting on each, beside one another.

Every subject of a datastore is asked by the same caller code on the same event loop, in an order that the seed decides.
The closed loop is measured in two halves, the second in the reverse order, so that a machine that grows slower, or a
server that grows larger, does so for all. The open loop then asks each at a share of its own throughput.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from plusone.lab import cost, machine
from plusone.lab.compare.measuring import RATE_MAX, RATE_SHARE, Measuring, Step
from plusone.lab.compare.plan import Compared, Plan, planned_seconds, reach_all, redacted, resolve
from plusone.lab.load import event_loop
from plusone.lab.results import Cell, Column, Comparison, Lossy
from plusone.lab.subjects.protocol import Subject
from plusone.lab.subjects.registry import OWN
from plusone.lab.target import Target, opened

__all__ = ["Compared", "Plan", "Step", "compare", "planned_seconds", "reach_all", "resolve"]


def compare(plan: Plan, targets: Sequence[Compared], step: Step, prices: cost.PriceList | None = None) -> Comparison:
    """Measure. One target after the other, so that each has the machine to itself."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    prices = prices or cost.load_prices()
    columns: list[Column] = []
    asked = f"{RATE_SHARE:.0%} of what the closed loop got answered, {RATE_MAX:,.0f}/s at most"
    notes = [f"The open loop asks for {asked if plan.rate is None else f'{plan.rate:,g}/s'}."]
    notes += _priced(targets, prices)
    for target in targets:
        with opened(target.given, faults=()) as place:
            measuring = Measuring(plan, place, target.subjects, step)
            with event_loop() as runner:
                cells = runner.run(measuring.cells())
            # Proxies need an event loop whose transports are asyncio's.
            with event_loop(fast=False) as runner:
                lossy = runner.run(measuring.lossy())
        columns += [
            _column(subject, place, cells.get(subject.name, ()), lossy[subject.name], prices)
            for subject in target.subjects
        ]
        notes += measuring.notes
    return Comparison(
        command=plan.command(),
        seed=plan.seed,
        started=started,
        seconds=plan.seconds,
        versions=machine.versions(),
        machine=machine.this_machine(),
        columns=columns,
        notes=notes,
    )


def _priced(targets: Sequence[Compared], prices: cost.PriceList) -> Iterator[str]:
    """By which prices a million increments is reckoned: the datastore that was measured may be none that is sold."""
    found = (cost.price_of(prices, target.scheme) for target in targets)
    for price in {price.store: price for price in found if price is not None}.values():
        if cost.dollars_per_million(price, 1, plusone=False) is not None:
            yield f"Dollars per million are those of {price.title} in {price.region}, as of {price.date} ({price.url})."


def _column(
    subject: Subject, place: Target, cells: Sequence[Cell], lossy: Lossy | None, prices: cost.PriceList
) -> Column:
    price = cost.price_of(prices, place.scheme)

    def dollars(cell: Cell) -> float | None:
        if price is None or cell.writes_per_increment is None:
            return None
        return cost.dollars_per_million(price, cell.writes_per_increment, plusone=subject.name in OWN)

    return Column(
        subject=subject.name,
        subject_title=subject.title,
        store=place.name,
        store_title=place.title,
        url=redacted(place.url),
        # Each load has its own: what is batched on one hot counter is not on a thousand.
        cells=[msgspec.structs.replace(cell, dollars_per_million=dollars(cell)) for cell in cells],
        lossy=lossy,
    )
