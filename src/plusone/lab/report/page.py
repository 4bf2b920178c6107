"""The report as one page that is whole in itself: no script, font or picture from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import jinja2
import msgspec
from markupsafe import Markup

from plusone.lab.report import plots, spacetime, wording
from plusone.lab.report.reading import Run
from plusone.lab.report.summary import STANDINGS, WORDS, Checked, Summary, column_cell, latency_cell, summarized
from plusone.lab.results import Cell, Column, Comparison, Contradiction, Latency, Moment, Result

_FILTERS: Final = {
    name: getattr(wording, name)
    for name in (
        "answered",
        "asked",
        "code_parts",
        "count",
        "counters",
        "dollars",
        "duration",
        "figure",
        "moment",
        "named",
        "plain",
        "printable",
    )
} | {"signed": wording.signed, "trusted": Markup}
_ROWS_MAX: Final = 60
"""Of a timeline as a table."""


class _View(msgspec.Struct, frozen=True):
    """What is drawn of a verification."""

    contradictions: list[tuple[Contradiction, spacetime.Diagram]]
    timeline: plots.Plot | None
    moments: list[Moment]


class _Speed(msgspec.Struct, frozen=True):
    """A line of the table of speeds."""

    column: Column
    cells: list[Cell | None]
    """That with the most callers, for each number of keys."""
    latency: Latency | None


def html(runs: Sequence[Run]) -> str:
    """The page."""
    summary = summarized(runs)
    columns = [column for comparison in summary.comparisons for column in comparison.columns]
    environment = _environment()
    script, style = _source(environment, "page.js"), colours() + _source(environment, "page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        **_measured(columns),
        heading=_heading(summary),
        byline=_byline(summary),
        summary=summary,
        others=any(subject not in summary.subjects for row in summary.rows for subject in row.entries),
        views={each.anchor: _view(each) for each in summary.checked},
        kinds=[kind for kind in wording.VIOLATIONS if any(_has(each, kind) for each in summary.checked)],
        violations=wording.VIOLATIONS,
        standings=STANDINGS,
        words=WORDS,
        marks_max=plots.BANDS_MAX,
        script=script,
        script_hash=f"sha256-{digest}",
        style=style,
    )


def colours() -> str:
    """The variables that the plots take their colours from, as CSS."""
    return _source(_environment(), "colours.css")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("plusone.lab.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _measured(columns: Sequence[Column]) -> dict[str, Any]:
    """What the part about speed shows."""
    all_keys = sorted({cell.keys for column in columns for cell in column.cells})
    stores = dict.fromkeys(column.store for column in columns)
    panels = [plots.latency([column for column in columns if column.store == store]) for store in stores]
    return {
        "all_keys": all_keys,
        "speeds": [_speed(column, all_keys) for column in columns],
        "throughputs": [plot for keys in all_keys if (plot := plots.throughput(columns, keys))],
        "latencies": [plot for plot in panels if plot],
    }


def _speed(column: Column, all_keys: Sequence[int]) -> _Speed:
    cells = [column_cell(column, keys) for keys in all_keys]
    measured = latency_cell(column)
    return _Speed(column, cells, measured.latency if measured else None)


def _view(each: Checked) -> _View:
    found = [(contradiction, spacetime.laid_out(contradiction)) for contradiction in each.result.contradictions]
    return _View(found, plots.timeline(each.result, each.anchor), plots.stepped(each.result.timeline, _ROWS_MAX))


def _has(each: Checked, kind: str) -> bool:
    return any(found.kind == kind for found in each.result.contradictions)


def _heading(summary: Summary) -> str:
    return wording.listed([row.store for row in summary.rows]) or "nothing was run"


def _byline(summary: Summary) -> str:
    """How much was run, and when."""
    results: list[Result] = [*(each.result for each in summary.checked), *summary.comparisons]
    days = sorted({result.started[:10] for result in results})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
    measured = sum(len(result.columns) for result in results if isinstance(result, Comparison))
    parts = [wording.many(len(summary.rows), "datastore"), wording.many(len(summary.checked), "verification")]
    parts += [wording.many(measured, "measurement")] if measured else []
    return wording.printable(", ".join([*parts, when]))
