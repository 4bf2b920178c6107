"""`plusone verify`: what is promised, and whether it held."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from plusone.cli.laboratory import in_lab
from plusone.cli.printing import print_json
from plusone.errors import ConfigurationError

if TYPE_CHECKING:
    from plusone.lab.results import Verification
    from plusone.lab.verify import FaultName, Report

NOT_HELD: Final = 1
"""The exit code when a promise that is claimed did not hold."""
CALM_ONLY: Final = 6
"""The exit code when everything held, and nothing was tested under a fault, though none was asked to be left out."""
_SHOWN: Final = {
    "ok": "[green]✓ held[/]",
    "illegal": "[bold red]✗ did not hold[/]",
    "unknown": "[yellow]? undecided[/]",
    "not tested": "[dim]not tested[/]",
}

_NOT_CLAIMED: Final = "[yellow]✗ did not hold[/]"


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="A store URL, or the name of a server that the lab starts.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="What is counted with; several times for several; all: all that fit.")
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(
            help="Some of replies, partition, clock, kill, pause, failover, disk_full; or none. Else all to be had."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of counting, over all faults; 1 to 3,600.")] = 60.0,
    seed: Annotated[int | None, typer.Option(help="Repeats a run's random choices.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the result and the histories.")] = None,
    list_subjects: Annotated[bool, typer.Option("--list-subjects", help="Show what can be counted with.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object for each subject.")] = False,
) -> None:
    """Count on a datastore under faults, and say of each promise whether it held: exit code 0, or else 1.

    With --subject all, plusone and service decide the exit code; the others are shown for comparison. It is 6 if all
    held, but no fault was to be had on a datastore with a network.

    Nothing is touched but counters whose names begin with plusone-lab, and tables that begin with plusone_lab; they are
    removed at the end. plusone's own tables stay, and the rows of deleted counters an hour, until some plusone process
    counts there.
    """
    with in_lab(as_json):
        if list_subjects:
            _print_subjects(target, as_json=as_json)
            return
        if target is None:
            raise ConfigurationError("name a store URL, or a server that the lab starts: plusone verify redis")
        from plusone.lab.verify import run_folder
        from plusone.lab.verify import verify as run

        folder = output or run_folder("verify", target)
        wanted = _fault_names(faults)
        # What is lost is what the run counts and says, once and in its place.
        logging.getLogger("plusone.combiner").setLevel(logging.ERROR)
        with _progress(quiet=as_json or not sys.stderr.isatty()) as report:
            found = run(
                target,
                subjects=tuple(subject or ("plusone",)),
                faults=wanted,
                seconds=seconds,
                seed=seed,
                output=folder,
                report=report,
                ended=lambda found, its_folder: print_json(found) if as_json else _print(found, its_folder),
            )
        code = _exit_code(found, subject or (), any_fault=wanted is None)
        if code:
            raise typer.Exit(code)


def _exit_code(found: Sequence[Verification], subjects: Sequence[str], *, any_fault: bool) -> int:
    """What the run came to. Among all subjects those decide that are plusone's own, or were named."""
    from plusone.lab.verify import ALL, NO_NETWORK, OWN
    from plusone.stores.registry import StoreURL

    deciding = [each for each in found if ALL not in subjects or each.subject in OWN or each.subject in subjects]
    if not all(each.held for each in deciding):
        return NOT_HELD
    untested = (each for each in deciding if each.calm_only and StoreURL.parse(each.url).scheme not in NO_NETWORK)
    return CALM_ONLY if any_fault and any(untested) else 0


def _fault_names(text: str | None) -> Sequence[FaultName] | None:
    """The names in a list that commas separate; whether there are such faults is for the lab to say."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigurationError("faults: name at least one, or none for a run in calm")
    return cast("Sequence[FaultName]", [] if names == ["none"] else names)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from plusone.lab.verify import Progress as Told

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[operations]:,} operations, {task.fields[errors]:,} errors"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("starting", total=1.0, operations=0, errors=0)

        def report(told: Told) -> None:
            progress.update(
                task, description=told.what, completed=told.share, operations=told.operations, errors=told.errors
            )

        yield report


def _print(found: Verification, folder: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from plusone.lab.results import UNDISTURBED

    console = Console(highlight=False)
    console.print(
        f"[bold]{escape(found.subject_title)}[/] on [bold]{escape(found.store_title)}[/], {escape(found.url)}"
    )
    if found.calm_only:
        console.print(f"[bold yellow]{UNDISTURBED} was met: {escape(found.no_fault or 'none was brought')}[/]")
    faults = ", ".join(f"{name} {count:,}" for name, count in found.faults.items()) or "none"
    console.print(
        f"{found.operations:,} operations in {found.seconds:.0f} s; {found.acknowledged:,} increments acknowledged,"
        f" {found.unknown:,} unknown, {found.errors:,} errors; faults hit: {escape(faults)}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("promise", "", "claimed", "evidence"):
        table.add_column(column, overflow="fold")
    for promise in found.promises:
        claimed = "–" if promise.verdict == "not tested" else "yes" if promise.claimed else "no"  # noqa: RUF001 - a dash
        shown = _SHOWN[promise.verdict] if promise.claimed or promise.verdict != "illegal" else _NOT_CLAIMED
        table.add_row(promise.name, shown, claimed, escape(promise.evidence))
    console.print(table)
    for contradiction in found.contradictions:
        console.print(f"[bold red]{contradiction.kind}[/]: {escape(contradiction.sentence)}")
    for note in found.notes:
        console.print(f"[dim]note: {escape(note)}[/]")
    console.print(f"repeat it: {escape(found.command)}", soft_wrap=True)
    console.print(f"kept in: {escape(str(folder))}", "", soft_wrap=True)


def _print_subjects(target: str | None, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from plusone.lab.subjects.registry import SUBJECTS
    from plusone.lab.target import scheme_of

    scheme = None if target is None else scheme_of(target)
    found = [each for each in SUBJECTS.values() if scheme is None or scheme in each.schemes]
    if as_json:
        for each in found:
            print_json(
                {
                    "name": each.name,
                    "title": each.title,
                    "schemes": sorted(each.schemes),
                    "found": each.found,
                    "told": each.told,
                    "bounded": each.bounded,
                    "weaknesses": sorted(each.weaknesses),
                }
            )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("subject", no_wrap=True)  # to be typed, and so in one piece
    for column in ("what it is", "known to show", "found in"):
        table.add_column(column, overflow="fold")
    for each in found:
        table.add_row(
            each.name, escape(each.title), ", ".join(sorted(each.weaknesses)) or "nothing", escape(each.found)
        )
    Console(highlight=False).print(table)
