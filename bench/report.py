"""The table on the terminal, as JSON, and as the README shows it."""
# ruff: noqa: RUF001 - a ratio is written with its sign

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.table import Table

from bench.machine import Machine
from bench.measure import Result


class Report(msgspec.Struct, frozen=True):
    """A run: what docs/bench.json holds."""

    measured: str
    """The date, in UTC."""
    command: str
    machine: Machine
    results: Sequence[Result]
    skipped: dict[str, str]
    """Entries that could not be measured, and why."""


def terminal_table(results: Sequence[Result]) -> Table:
    table = Table("what", "ours", "peer", "ratio", "lowest-highest", "target", "met")
    for column in table.columns[1:6]:
        column.justify = "right"
    for result in results:
        met = "[green]yes[/]" if result.met else f"[bold red]missed by {_missed_by(result)}[/]"
        about = f"{result.name} ÷ {result.peer}" if result.peer else result.name
        disturbed = f"\n[dim]disturbed {result.disturbed}/{result.rounds}[/]" if result.disturbed else ""
        table.add_row(
            f"{result.what}\n[dim]{about}[/]",
            f"{figure(result.ours)}\n[dim]{result.unit}[/]",
            "" if result.theirs is None else figure(result.theirs),
            _ratio(result, result.ratio),
            f"{_ratio(result, result.ratio_lowest)}-{_ratio(result, result.ratio_highest)}{disturbed}",
            _target(result),
            met,
        )
    return table


def markdown(report: Report) -> str:
    """The README's table, and where it was measured."""
    lines = [
        "| what | ours | ÷ | theirs | ratio (lowest-highest) | goal | |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    for result in report.results:
        spread = f"{_ratio(result, result.ratio_lowest)}-{_ratio(result, result.ratio_highest)}"
        theirs = "" if result.theirs is None else figure(result.theirs)
        cells = [
            result.what,
            f"{figure(result.ours)} {result.unit}",
            result.peer,
            theirs,
            f"**{_ratio(result, result.ratio)}** ({spread})",
            _target(result),
            "met" if result.met else f"**missed** by {_missed_by(result)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {name} | not measured: {why} | | | | | |" for name, why in report.skipped.items()]
    disturbed = sum(result.disturbed for result in report.results)
    rounds = sum(result.rounds for result in report.results)
    lines += [
        "",
        f"Measured on {report.measured} by `{report.command}`: {report.machine.sentence()}."
        " Ours and theirs take turns within one run, and share the cores with the servers they ask;"
        f" figures are medians over the rounds, of which {disturbed} of {rounds} began while other programs were busy.",
    ]
    return "\n".join(lines) + "\n"


def figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def _ratio(result: Result, ratio: float) -> str:
    if result.theirs is None:
        return figure(ratio)
    return f"{ratio:.1f}×" if ratio >= 10 else f"{ratio:.2f}×"


def _target(result: Result) -> str:
    unit = "" if result.theirs is None else "×"
    return f"{result.sense} {result.target:,g}{unit}"


def _missed_by(result: Result) -> str:
    return f"{abs(result.ratio / result.target - 1):.0%}"
