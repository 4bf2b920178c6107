"""What a lost reply does to a count: each datastore's plain increment and ours through the same proxy.

python -m bench.lost_replies             all that can be started here
python -m bench.lost_replies redis etcd  some of them

A caller that gets an error asks again, as everybody does, until there is an answer. Of the plain increment's replies 1%
is lost after the datastore acted, of ours 10%. What a counter then has too much was counted twice.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress

import plusone
from bench.datastores import PLAIN
from bench.plain import Plain
from bench.servers import Missing
from plusone.lab.lossy import LosingReplies, ask

JSON: Final = Path("docs/lost-replies.json")
INCREMENTS: Final = 5_000
CALLERS: Final = 20
LOST: Final = 0.01
LOST_OF_OURS: Final = 0.1
"""More of ours: combined, they are so few that 1% of them would be next to nothing."""
ALONE: Final = frozenset({"mongodb"})
"""Where one caller counts by itself: PyMongo lets all callers wait when one loses its connection, for half a second."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One datastore: what its counter was when all increments had been acknowledged, and what it took."""

    name: str
    title: str
    recipe: str
    plain: int
    """What the counter was after the plain increments."""
    plain_lost: int
    """Replies lost."""
    plain_errors: int
    """Errors that callers saw, and answered by asking again."""
    ours: int
    ours_lost: int
    ours_errors: int


class Table(msgspec.Struct, frozen=True):
    """A run: what docs/lost-replies.json holds."""

    measured: str
    increments: int
    callers: int
    plain_lost: float
    """The share of replies that was lost."""
    ours_lost: float
    lines: Sequence[Line]


async def measure(plain: Plain, url: str) -> Line:
    """Count with the plain increment, then with ours, each on a counter of its own."""
    name = f"lost-replies-{random.randrange(10**9)}"
    callers = 1 if plain.name in ALONE else CALLERS
    theirs, ours = LosingReplies(url, LOST, 1), LosingReplies(url, LOST if callers == 1 else LOST_OF_OURS, 1)
    async with theirs.proxies as proxy, plain.subject.connect(proxy.url) as client:
        theirs.begun = True
        plain_errors = await _count(lambda: client.increment(name, None), callers)
        theirs.begun = False
    async with plain.subject.connect(url) as client:
        plain_value = (await client.read(name)).value or 0
    async with ours.proxies as proxy, plusone.open(proxy.url, timeout=60) as counters:
        ours.begun = True
        our_errors = await _count(lambda: counters.increment(name), callers)
        ours.begun = False
    async with plusone.open(url) as counters:
        our_value = (await counters.get(name)).value
    return Line(
        name=plain.name,
        title=plain.title,
        recipe=plain.recipe,
        plain=plain_value,
        plain_lost=theirs.lost,
        plain_errors=plain_errors,
        ours=our_value,
        ours_lost=ours.lost,
        ours_errors=our_errors,
    )


async def _count(increment: Callable[[], Awaitable[object]], callers: int) -> int:
    """Have all increments acknowledged; how many errors that took."""
    begun = itertools.count(1)
    asked = await ask(
        lambda _: increment(),
        callers=callers,
        enough=lambda _: next(begun) > INCREMENTS,
        again=True,
        seed=1,
    )
    return asked.errors


def markdown(table: Table) -> str:
    """The README's table."""
    lines = [
        "| datastore | what people use | replies lost | its counter | | replies lost | plusone's | |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for line in table.lines:
        wrong, ours = line.plain - table.increments, line.ours - table.increments
        lines.append(
            f"| {line.title} | {line.recipe} | {line.plain_lost} | {line.plain:,} | **{wrong:+,}**"
            f" | {line.ours_lost} | {line.ours:,} | {f'**{ours:+,}**' if ours else 'exact'} |"
        )
    errors = sum(line.ours_errors for line in table.lines)
    return "\n".join(
        [
            *lines,
            "",
            f"{table.increments:,} increments of one counter, by {table.callers} callers (one on MongoDB) that ask"
            f" again until they are answered; of the replies {table.plain_lost:.0%} is lost after the datastore acted,"
            f" of plusone's {table.ours_lost:.0%} where it combines, since they are fewer. Errors that its callers saw:"
            f" {errors}. Measured on {table.measured} by `python -m bench.lost_replies`.",
        ]
    )


def _before() -> Sequence[Line]:
    """What earlier runs measured: a run of some renews those."""
    return msgspec.json.decode(JSON.read_bytes(), type=Table).lines if JSON.exists() else ()


def main(names: Sequence[str]) -> int:
    unknown = set(names) - {plain.name for plain in PLAIN}
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(plain.name for plain in PLAIN)}")
        return 2
    chosen = [plain for plain in PLAIN if not names or plain.name in names]
    lines: list[Line] = []
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        for plain in chosen:
            progress.update(task, description=plain.name)
            try:
                with plain.server() as url:
                    lines.append(asyncio.run(measure(plain, url)))
            except Missing as missing:
                console.print(f"[bold red]{plain.name} was not measured:[/] {missing}")
            progress.advance(task)
    measured = {line.name: line for line in (*_before(), *lines)}
    lines = [measured[plain.name] for plain in PLAIN if plain.name in measured]
    table = Table(datetime.now(UTC).date().isoformat(), INCREMENTS, CALLERS, LOST, LOST_OF_OURS, lines)
    print(markdown(table))
    if lines:
        JSON.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=2) + b"\n")
    return int(any(line.ours != INCREMENTS for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
