"""Measure plusone against its peers, one figure against the other within one run.

python -m bench                                all, about fifteen minutes
python -m bench --quick                        most of it, roughly, in a quarter of that
python -m bench --only redis-hot redis-spread  some of them; the others' last figures stay
python -m bench --profile redis-hot            where our own time goes
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.entries import ENTRIES
from bench.machine import this_machine
from bench.measure import Entry, Result, measure
from bench.profiling import profile
from bench.report import Report, terminal_table
from bench.servers import Missing

_JSON: Final = Path("docs/bench.json")
_WIDTH: Final = 150
_SECONDS, _ROUNDS = 0.5, 8
_QUICK_SECONDS, _QUICK_ROUNDS = 0.4, 3


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    by_name = {entry.name: entry for entry in ENTRIES}
    if options.profile:
        profile(by_name[options.profile], options.seconds or _SECONDS, console)
        return 0
    chosen = [
        by_name[name] for name in options.only or by_name if options.only or not by_name[name].slow & options.quick
    ]
    seconds = options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS)
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    report = _run(chosen, seconds, rounds, options.patience, arguments, console)
    console.print(terminal_table(report.results))
    for name, why in report.skipped.items():
        console.print(f"[bold red]{name} was not measured:[/] {why}")
    console.print(report.machine.sentence(), style="dim")
    if path := options.json or (None if options.quick or options.seconds else _JSON):
        saved = _joined(report) if options.only and path == _JSON else report
        path.write_bytes(msgspec.json.format(msgspec.json.encode(saved), indent=2) + b"\n")
    missed = [result.name for result in report.results if not result.met]
    return 1 if options.check and (missed or report.skipped) else 0


def _run(
    entries: Sequence[Entry],
    seconds: float,
    rounds: int,
    patience: float,
    arguments: Sequence[str],
    console: Console,
) -> Report:
    results: list[Result] = []
    skipped: dict[str, str] = {}
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        total = sum(min(rounds, entry.rounds_max or rounds) + 1 for entry in entries)
        task = progress.add_task("", total=total)
        for entry in entries:
            progress.update(task, description=entry.name)
            step = partial(progress.advance, task)
            try:
                results.append(measure(entry, seconds=seconds, rounds=rounds, patience=patience, step=step))
            except Missing as missing:
                skipped[entry.name] = str(missing)
    return Report(
        measured=datetime.now(UTC).date().isoformat(),
        command=" ".join(["python -m bench", *arguments]),
        machine=this_machine(),
        results=results,
        skipped=skipped,
    )


def _joined(report: Report) -> Report:
    """The run, and of the last one what it did not measure again; in the order of the entries."""
    before = msgspec.json.decode(_JSON.read_bytes(), type=Report)
    results = {result.name: result for result in (*before.results, *report.results)}
    return msgspec.structs.replace(
        report,
        command="python -m bench",
        results=[results[entry.name] for entry in ENTRIES if entry.name in results],
        skipped={name: why for name, why in (before.skipped | report.skipped).items() if name not in results},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure plusone against its peers.")
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, help="how long each side works in a round")
    parser.add_argument("--quick", action="store_true", help="shorter and fewer rounds, without the slowest entries")
    patience = "seconds that each round waits for other programs to leave the cores (default 3)"
    parser.add_argument("--patience", type=float, default=3.0, help=patience)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target was missed")
    parser.add_argument("--profile", choices=names, metavar="NAME", help="profile our side of one entry instead")
    parser.add_argument("--json", type=Path, help=f"where to save the run (default {_JSON}, but of no hasty run)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
