"""What the command line prints: tables for people, JSON for programs, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import typer

from plusone.errors import ConfigurationError, InvalidRequest, NotCounted, OutcomeUnknown, PlusoneError, Rejected
from plusone.types import Counter

if TYPE_CHECKING:
    from plusone.cli.installed import NotInstalled
    from plusone.stores.protocol import Capabilities

EXIT_CODES: Final = {
    0: "done",
    1: "an unexpected failure: a defect, or the output could not be written; it may have been counted."
    " Of `verify`: a promise that is claimed did not hold",
    2: "the command, the request or a setting is wrong; not counted",
    3: "not counted: the datastore was out of reach or refused, or the deadline came before the operation was sent",
    4: "outcome unknown: it may have been counted; the same command with the same `--token` finds out",
    5: "rejected by a bound or a precondition; not counted",
    6: "of `verify`: everything held, but nothing was tested under a fault, since none was to be had on this datastore",
    130: "interrupted; it may have been counted",
}


@contextmanager
def explained(as_json: bool) -> Iterator[None]:
    """End the command with the exit code of an error, and say what the error means and what to do."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("plusone: interrupted", err=True)
        raise typer.Exit(130) from None
    except PlusoneError as error:
        if as_json:
            problem = {"code": error.code, "applied": error.applied, "message": str(error)}
            typer.echo(msgspec.json.encode(problem).decode(), err=True)
        else:
            typer.echo(f"plusone: {error}", err=True)
            if isinstance(error, NotCounted | OutcomeUnknown):
                typer.echo(error.__doc__, err=True)
        raise typer.Exit(exit_code(error)) from None


def exit_code(error: PlusoneError) -> int:
    if isinstance(error, InvalidRequest | ConfigurationError):
        return 2
    if isinstance(error, Rejected):
        return 5
    return 3 if error.applied == "no" else 4


def promises(capabilities: Capabilities) -> dict[str, str]:
    """What a store promises, in words: for `plusone stores` and the README's guarantee table."""
    kept = f"{capabilities.tokens_per_counter:,} per counter; " if capabilities.tokens_per_counter else ""
    return {
        "title": _title(capabilities.title, capabilities.schemes),
        "an acknowledged count survives": capabilities.durable,
        "linearizable": "yes" if capabilities.linearizable else "no",
        "failover": capabilities.survives_failover,
        "eventual reads": "may be answered by a replica" if capabilities.eventual_reads else "are strong reads",
        "listing": "yes" if capabilities.lists else "no",
        "expiry by the clock of": f"the {capabilities.ttl_clock}",
        "idempotency keys": kept + capabilities.token_retention,
        "counters in one call": f"{capabilities.batches_per_call:,}",
        "longest name": f"{capabilities.name_bytes} bytes",
        "tested on": capabilities.tested_on,
    }


def absence(store: NotInstalled) -> dict[str, str]:
    """What there is to say of a store that is not installed."""
    said = {"title": _title(store.title, store.schemes), "not installed": store.not_installed}
    return said if store.problem is None else {**said, "its driver says": store.problem}


def _title(title: str, schemes: Sequence[str]) -> str:
    return f"{title} ({', '.join(scheme + ':' for scheme in schemes)})"


def print_json(value: object) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def print_counters(counters: Iterable[Counter]) -> None:
    print_rows(
        ("counter", "value", "revision", "updated"),
        [
            (
                counter.name,
                counter.value,
                counter.revision if counter.exists else "absent",
                counter.updated.isoformat(" ", "seconds") if counter.updated and counter.exists else "",
            )
            for counter in counters
        ],
    )


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table: names on the left, which fold when they are long, and numbers on the right, which never do."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column == "counter" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(highlight=False).print(table)


def print_stores(found: Iterable[dict[str, str]]) -> None:
    """Each store under its title."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for store in found:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=30)
        for label, text in store.items():
            if label != "title":
                table.add_row(label, Text(text))
        console.print(Text(store["title"], style="bold"), table, "")
