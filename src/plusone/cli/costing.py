"""`plusone cost`: what counting costs a month."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plusone.cli.printing import explained, print_json

if TYPE_CHECKING:
    from plusone.lab.cost import Costs, Way


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cost)


def cost(
    rate: Annotated[float, typer.Option(help="Increments a second, over all counters and processes.")],
    keys: Annotated[int, typer.Option(help="Counters that they are on.")] = 1,
    store: Annotated[
        list[str] | None,
        typer.Option(help="A price, as the table names it, or a datastore: redis, mysql; may be repeated. Else all."),
    ] = None,
    hot_share: Annotated[
        float | None, typer.Option(help="The hottest counter's share of the increments, 1/KEYS to 1. Else all is even.")
    ] = None,
    latency: Annotated[float, typer.Option(help="Milliseconds that a write to the datastore takes.")] = 5.0,
    processes: Annotated[int, typer.Option(help="Processes that count; each has batches of its own.")] = 1,
    sessions: Annotated[
        int,
        typer.Option(help="Writers that a counter's record remembers: processes, those before a restart included."),
    ] = 8,
    machine: Annotated[
        float | None, typer.Option(help="Dollars a month of the machines that a datastore of your own runs on.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="A price file of your own, in the place of plusone's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what counting costs a month on datastores paid by use, with plusone's batching and without."""
    from plusone.lab.cost import Workload, costs, load_prices

    with explained(as_json):
        workload = Workload(
            rate=rate,
            keys=keys,
            hot_share=hot_share,
            latency_ms=latency,
            processes=processes,
            sessions=sessions,
        )
        found = costs(load_prices(prices), workload, store or [], machine)
        if as_json:
            print_json(found)
        else:
            _show(found)


def _show(found: Costs) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    work = found.workload
    console.print(
        f"{work.rate:,g} increments/s on {work.keys:,} counters, {work.hot:,.4g}/s on the hottest;"
        f" a write takes {work.latency_ms:g} ms; a month has 730 hours.\n"
        "Plain: each increment is a write. Plusone: what waits for the same counter travels in one.\n"
    )
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("\nstore", no_wrap=True)
    for column in ("plain\n$ a month", "\nwrites/s", "\nhottest", "plusone\n$ a month", "\nwrites/s", "\nhottest"):
        table.add_column(column, justify="right")
    for each in found.estimates:
        table.add_row(Text(each.price.store), *_cells(each.plain), *_cells(each.batched))
    if found.machine_dollars is not None:
        dollars = f"{found.machine_dollars:,.2f}"
        table.add_row("self-run", dollars, "", "", dollars, "", "")
    console.print(table)
    for each in found.estimates:
        price = each.price
        amount = f"${price.dollars:g} per {price.per:,} {price.unit}s" if price.dollars is not None else "by tiers"
        console.print(Text(f"\n{price.store}: {price.title}, {price.region}, {amount}", style="bold"))
        for note in each.notes:
            console.print(Text(f"  {note}"))
        console.print(Text(f"  Price of {price.date}: {price.source}, {price.url}"), soft_wrap=True)
        if price.vendor_url:
            console.print(Text(f"  Today's: {price.vendor_url}"), soft_wrap=True)
    for left in found.left_out:
        console.print(Text(f"\n{left.store}: left out; {left.why}."))


def _cells(way: Way) -> tuple[str, str, str]:
    # A dash, which the price's notes explain: a word for nothing would be read as a price of nothing.
    dollars = "–" if way.dollars is None else f"{way.dollars:,.2f}"  # noqa: RUF001 - a dash
    hottest = f"{way.hot_writes_per_second:,.4g}"
    return dollars, f"{way.writes_per_second:,.0f}", f"refused {hottest}" if way.throttled else hottest
