"""`plusone check`: whether a history that was kept is one of a counter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from plusone.cli.laboratory import require_libraries
from plusone.cli.printing import explained, print_json
from plusone.cli.verifying import NOT_HELD

if TYPE_CHECKING:
    from plusone.lab.checker import Verdict


def register(app: typer.Typer) -> None:
    app.command()(check)


def check(
    histories: Annotated[
        list[Path], typer.Argument(metavar="HISTORY...", help="Files of JSON Lines, as they are or compressed by gzip.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object for each history.")] = False,
) -> None:
    """Judge histories, of `plusone verify` or anybody's own: exit code 0 if a counter explains each of them, or else 1.

    Nothing is known here of what a datastore may lose: a history in which it did is no counter's.
    """
    with explained(as_json):
        require_libraries()
        from plusone.lab.checker import check as judged
        from plusone.lab.history import read_history

        legal = True
        for path in histories:
            verdict = judged(read_history(path))
            legal &= verdict.verdict == "ok"
            if as_json:
                print_json({"history": str(path), **msgspec.structs.asdict(verdict)})
            else:
                _print(path, verdict)
        if not legal:
            raise typer.Exit(NOT_HELD)


def _print(path: Path, verdict: Verdict) -> None:
    from plusone.lab.report.wording import many

    on = f"{many(verdict.operations, 'operation')} on {many(verdict.counters, 'counter')}"
    typer.echo(f"{path}: {verdict.verdict}, {on}")
    for contradiction in verdict.contradictions:
        typer.echo(f"  {contradiction.kind}, {contradiction.counter}: {contradiction.sentence}")
    if verdict.undecided:
        typer.echo(f"  undecided: {verdict.undecided}")
