"""`plusone compare`: datastores, and ways of counting on each, beside one another."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from plusone.cli.laboratory import in_lab
from plusone.cli.printing import print_json
from plusone.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from rich.text import Text

    from plusone.lab.compare import Step
    from plusone.lab.results import Cell, Column, Comparison

RUNS: Final = Path("plusone-runs")
_FILE: Final = "result.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="TARGET...", help="Store URLs, or names of servers that the lab starts: redis, etcd, …"),
    ],
    subject: Annotated[
        list[str] | None, typer.Option(help="A way of counting; may be repeated. Else all that the target has.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 10.0,
    concurrency: Annotated[str, typer.Option(help="Calls at once, separated by commas.")] = "1,64,256",
    keys: Annotated[str, typer.Option(help="Numbers of counters, separated by commas.")] = "1,1000",
    rate: Annotated[
        float | None, typer.Option(help="Operations a second of the open loop. Else half of each one's throughput.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides order, names and arrivals. Else a random one.")] = None,
    output: Annotated[Path | None, typer.Option(help="The run's folder. Else one below plusone-runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; errors and progress go to stderr.")] = False,
) -> None:
    """Measure throughput, latency, writes, lost replies and cost of counting on several datastores."""
    with in_lab(as_json):
        from plusone.lab.compare import Plan, planned_seconds, reach_all, resolve
        from plusone.lab.compare import compare as measured

        plan = Plan(
            targets=targets,
            subjects=subject or (),
            seconds=seconds,
            concurrency=_numbers("concurrency", concurrency),
            keys=_numbers("keys", keys),
            rate=rate,
            seed=secrets.randbelow(2**31) if seed is None else seed,
        )
        found = resolve(plan)
        asyncio.run(reach_all(found))
        folder = _folder(output, "-".join(target.given.partition(":")[0] for target in found))
        with _progress(planned_seconds(plan, found)) as step:
            comparison = measured(plan, found, step)
        (folder / _FILE).write_bytes(msgspec.json.format(msgspec.json.encode(comparison), indent=2) + b"\n")
        if as_json:
            print_json(comparison)
        else:
            show(comparison)
            typer.echo(f"\nThe run is in {folder}; `plusone report {folder}` makes a page of it.")
        if not any(cell.increments_per_second for column in comparison.columns for cell in column.cells):
            raise StoreUnavailable("nothing was measured, since no increment was answered: the run's notes say why")


def _numbers(name: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        raise ConfigurationError(f"{name} must be whole numbers separated by commas, such as 1,64, not {text!r}")
    return [int(part) for part in parts]


def _folder(output: Path | None, name: str) -> Path:
    """An empty folder for the run. Raises `ConfigurationError` for one that holds a run, or cannot be made."""
    folder = output or RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-compare-{name[:60]}"
    if (folder / _FILE).exists():
        raise ConfigurationError(f"output {folder} holds a run already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"output {folder} cannot be made: {error.strerror}") from None
    return folder


@contextmanager
def _progress(seconds: float) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    bars = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*bars, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=seconds)

        def step(description: str, done: float) -> None:
            progress.update(task, description=description, advance=done)

        yield step


def show(comparison: Comparison) -> None:
    """Print the tables: two for each concurrency and number of counters, and one of what no load changes.

    Two, since what there is to say of a load does not fit side by side into 80 columns.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    columns = comparison.columns
    cells = {(cell.keys, cell.concurrency): None for column in columns for cell in column.cells}
    for keys, concurrency in cells:
        there = [
            (column, cell)
            for column in columns
            for cell in column.cells
            if (cell.keys, cell.concurrency) == (keys, concurrency)
        ]
        counters = "1 counter" if keys == 1 else f"{keys:,} counters"
        console.print(Text(f"\n{concurrency} at once on {counters}", style="bold"))
        _print(there, _THROUGHPUT)
        console.print()
        _print(there, _LATENCY)
    console.print(Text("\nReplies lost, 1%", style="bold"))
    _print([(column, column) for column in columns], _OF_A_COLUMN)
    console.print(Text("\n* the best of its column; latencies in ms, from when each operation was due", style="dim"))
    for note in comparison.notes:
        console.print(Text(f"- {note}"))
    console.print(Text(f"- {comparison.machine}; seed {comparison.seed}; again: {comparison.command}"))


def _print(rows: Sequence[tuple[Column, Any]], shown: Sequence[_Shown]) -> None:
    """A table of what is shown of each, which is a cell or the column itself."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    stores = len({column.store for column, _ in rows}) > 1
    for title in ("store", "subject") if stores else ("subject",):
        table.add_column(title, overflow="fold")
    for each in shown:
        table.add_column(each.title, justify="right", no_wrap=each.whole)
    best = [each.best_of([thing for _, thing in rows]) for each in shown]
    for column, thing in rows:
        names = (column.store, column.subject) if stores else (column.subject,)
        table.add_row(*names, *(each.text(thing, top) for each, top in zip(shown, best, strict=True)))
    Console(highlight=False).print(table)


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a printed table."""

    title: str
    words: Callable[[Any], str]
    whole: bool = True
    """Whether it is kept in one piece, for a number in two is two numbers."""
    value: Callable[[Any], float | None] = lambda _: None
    """By which the best is found."""
    best: Callable[[Sequence[float]], float] | None = None

    def best_of(self, things: Sequence[Any]) -> float | None:
        values = [value for thing in things if (value := self.value(thing)) is not None]
        return self.best(values) if self.best is not None and len(values) > 1 else None

    def text(self, thing: Any, best: float | None) -> Text:
        from rich.text import Text

        if best is not None and self.value(thing) == best:
            return Text(f"{self.words(thing)}*", style="bold green")
        return Text(self.words(thing))


def _latency(title: str, field: str) -> _Shown:
    def value(cell: Cell) -> float | None:
        return None if cell.latency is None else float(getattr(cell.latency, field)) / 1_000

    def words(cell: Cell) -> str:
        milliseconds = value(cell)
        return "" if milliseconds is None else f"{milliseconds:,.3g}" if milliseconds < 100 else f"{milliseconds:,.0f}"

    return _Shown(title=title, value=value, words=words, best=min)


def _arrivals(cell: Cell) -> str:
    if cell.latency is None:
        return ""
    due = f" of {cell.latency.rate:,.0f}" if cell.latency.unsent else ""
    return f"{cell.latency.achieved:,.0f}{due}"


def _wrong(column: Column) -> float | None:
    """By how much the counter was wrong; None where no reply was lost, which proves nothing."""
    lossy = column.lossy
    return abs(lossy.counted - lossy.increments) if lossy is not None and lossy.lost_replies else None


def _count(column: Column) -> str:
    """What the counter was, against what was acknowledged: errors that nobody repeated may have counted."""
    lossy = column.lossy
    if lossy is None or not lossy.lost_replies:
        return "" if lossy is None else "none lost"
    wrong = lossy.counted - lossy.increments
    return "exact" if wrong == 0 else f"{wrong:+,}"


_THROUGHPUT: Final = (
    _Shown(
        title="increments/s",
        words=lambda cell: f"{cell.increments_per_second:,.0f}",
        value=lambda cell: cell.increments_per_second or None,
        best=max,
    ),
    _Shown(
        title="writes\neach",
        words=lambda cell: "" if cell.writes_per_increment is None else f"{cell.writes_per_increment:.3g}",
        value=lambda cell: cell.writes_per_increment,
        best=min,
    ),
    _Shown(
        title="$ per\nmillion",
        words=lambda cell: "" if cell.dollars_per_million is None else f"{cell.dollars_per_million:.3g}",
        value=lambda cell: cell.dollars_per_million,
        best=min,
    ),
    _Shown(title="errors", words=lambda cell: f"{cell.errors:,}"),
)
_LATENCY: Final = (
    _Shown(title="open\nloop/s", words=_arrivals, whole=False),
    _latency("p50", "p50_us"),
    _latency("p95", "p95_us"),
    _latency("p99", "p99_us"),
    _latency("p99.9", "p999_us"),
    _latency("max", "max_us"),
)
_OF_A_COLUMN: Final = (
    _Shown(title="increments", words=lambda column: f"{column.lossy.increments:,}" if column.lossy else ""),
    _Shown(title="replies\nlost", words=lambda column: f"{column.lossy.lost_replies:,}" if column.lossy else ""),
    _Shown(
        title="count",
        words=_count,
        value=_wrong,
        best=min,
    ),
    _Shown(title="errors", words=lambda column: f"{column.lossy.errors:,}" if column.lossy else ""),
)
