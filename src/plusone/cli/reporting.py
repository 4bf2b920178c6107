"""`plusone report`: runs of the lab, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias, get_args

import typer

from plusone.cli.laboratory import require_libraries
from plusone.cli.printing import explained
from plusone.errors import ConfigurationError

if TYPE_CHECKING:
    from plusone.lab.report.reading import Run

Format: TypeAlias = Literal["html", "markdown", "json"]
_BY_SUFFIX: Final[dict[str, Format]] = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json"}
PAGE: Final = Path("plusone-report.html")
_STDOUT: Final = Path("-")


def register(app: typer.Typer) -> None:
    @app.command()
    def report(
        runs: Annotated[
            list[Path],
            typer.Argument(metavar="RUN...", help="Folders that `plusone verify` and `plusone compare` wrote."),
        ],
        output: Annotated[
            Path | None,
            typer.Option(help=f"File to write; - is stdout. Else {PAGE} for a page, and stdout for the others."),
        ] = None,
        form: Annotated[
            str | None,
            typer.Option("--format", help="html, markdown or json. Else what the output's name says; html."),
        ] = None,
    ) -> None:
        """Show what runs found: verdicts, contradictions, speed and cost, in one page that needs no network."""
        with explained(as_json=False):
            chosen = _format(form, output)
            target = output or (PAGE if chosen == "html" else _STDOUT)
            from plusone.lab.report.reading import read_runs

            text = _written(chosen, read_runs(runs))
            if target == _STDOUT:
                typer.echo(text, nl=False)
                return
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            except OSError as error:
                raise ConfigurationError(f"--output {target}: cannot be written: {error.strerror}") from error
            typer.echo(target)


def _format(said: str | None, output: Path | None) -> Format:
    if said is None:
        if output is None or output == _STDOUT:
            return "html"
        if known := _BY_SUFFIX.get(output.suffix.lower()):
            return known
        raise ConfigurationError(
            f"--output {output}: its name does not end in {', '.join(_BY_SUFFIX)}; end it so, or say --format"
        )
    for known in get_args(Format):
        if said == known:
            return known  # type: ignore[no-any-return]
    raise ConfigurationError(f"--format {said}: there are {', '.join(get_args(Format))}")


def _written(form: Format, runs: list[Run]) -> str:
    if form == "json":
        from plusone.lab.report.document import document

        return document(runs)
    if form == "html":
        require_libraries()
        from rich.console import Console

        with Console(stderr=True).status(f"drawing {len(runs)} runs"):
            from plusone.lab.report.page import html

            return html(runs)
    from plusone.lab.report.markdown import markdown

    return markdown(runs)
