"""The plots, as SVG that takes its colours from the page: the same drawing is right in light and in dark.

matplotlib draws with marker colours, which are then replaced by CSS variables. Text stays text, without a font of its
own. Nothing in a drawing depends on when or where it was made: the same run gives the same file.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import pairwise
from typing import Any, Final

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from plusone.lab.report.summary import OURS, column_cell, latency_cell, place
from plusone.lab.report.wording import duration, figure, named, plain
from plusone.lab.results import Column, FaultMark, Moment, Verification

_COLOURS: Final = {
    "ink": "#010101",
    "muted": "#020202",
    "rule": "#030303",
    "paper": "#040404",
    "band": "#050505",
    "bad": "#060606",
    "series-1": "#070707",
    "series-2": "#080808",
    "series-3": "#090909",
    "series-4": "#0a0a0a",
}
"""CSS variables, and the colours that stand for them while matplotlib draws."""
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": _COLOURS["ink"],
    "axes.labelcolor": _COLOURS["muted"],
    "axes.edgecolor": _COLOURS["rule"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _COLOURS["rule"],
    "xtick.labelcolor": _COLOURS["muted"],
    "ytick.color": _COLOURS["rule"],
    "ytick.labelcolor": _COLOURS["ink"],
    "grid.color": _COLOURS["rule"],
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}
_SERIES: Final = (("series-1", "o"), ("series-2", "s"), ("series-3", "^"), ("series-4", "D"), ("muted", "v"))
"""A colour and a shape for each line of a plot, so that it does without colour."""
POINTS_MAX: Final = 160
"""Of a timeline; longer runs are drawn in wider steps."""
BANDS_MAX: Final = 200
LABEL_MAX: Final = 48


class Plot(msgspec.Struct, frozen=True):
    """A drawing, and what it shows in words."""

    svg: str
    caption: str


def throughput(columns: Sequence[Column], keys: int) -> Plot | None:
    """Increments per second of every subject on every datastore, from the fewest callers to the most."""
    stores: dict[str, list[Column]] = {}
    for column in columns:
        if cell := column_cell(column, keys):
            stores.setdefault(column.store_title, [])
            if cell.increments_per_second > 0:
                stores[column.store_title].append(column)
    if not any(stores.values()):
        return None
    lines = sum(len(each) + 1 for each in stores.values())
    counters = "one hot counter" if keys == 1 else f"{keys:,} counters"
    with _drawing(f"throughput-{keys}", 7.4, 0.7 + 0.235 * lines) as (drawn, axes):
        _dumbbells(axes, stores, keys)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figure(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x")
        axes.set_xlabel(f"increments per second, {counters}")
    low, high = _callers(columns, keys)
    grows = f": hollow with {low}, filled with {high} at once" if low < high else f", {high} at once"
    return Plot(drawn[0], f"Increments per second of {counters}{grows}. The scale is logarithmic.")


def latency(columns: Sequence[Column]) -> Plot | None:
    """How long an increment took, by percentile, of the subjects of one datastore."""
    with _drawing(f"latency-{columns[0].store}", 4.4, 2.9) as (drawn, axes):
        shown = 0
        for column in sorted(columns, key=lambda column: place(column.subject)):
            cell = latency_cell(column)
            if cell is None or cell.latency is None or shown == len(_SERIES):
                continue
            found = cell.latency
            colour, shape = _SERIES[shown]
            values = [found.p50_us, found.p95_us, found.p99_us, found.p999_us, found.max_us]
            label = f"{_short(column.subject_title)}, at {figure(found.rate)}/s"
            axes.plot(range(5), values, color=_COLOURS[colour], marker=shape, markersize=5, linewidth=1.4, label=label)
            shown += 1
        if not shown:
            return None
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: duration(value).replace(".00", "").replace(".0", ""))
        )
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(range(5), ["p50", "p95", "p99", "p99.9", "most"])
        axes.tick_params(axis="y", labelcolor=_COLOURS["muted"])
        axes.grid(axis="y")
        axes.set_title(_short(columns[0].store_title), loc="left", fontsize=10.5, fontweight="bold")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, fontsize=9, labelcolor="linecolor")
    measured = sum(latency_cell(column) is not None for column in columns)
    rest = f" {shown} of {measured} ways of counting; the table has all." if shown < measured else ""
    return Plot(drawn[0], f"Latency of an increment on {plain(columns[0].store_title)}, by percentile.{rest}")


def timeline(result: Verification, salt: str) -> Plot | None:
    """What was answered from moment to moment, and above it when each fault was in force."""
    moments = stepped(result.timeline)
    if not moments:
        return None
    faults: dict[str, list[FaultMark]] = {}
    for mark in result.marks[:BANDS_MAX]:
        faults.setdefault(mark.fault, []).append(mark)
    rows = 0.26 * len(faults)
    with _drawing(salt, 7.4, 1.9 + rows, [1.9, rows] if faults else [1]) as (drawn, axes):
        width = _step(moments)
        edges = [each.second for each in moments] + [moments[-1].second + width]
        errors = [each.errors / width for each in moments]
        axes.stairs([each.answered / width for each in moments], edges, color=_COLOURS["series-1"], linewidth=1.4)
        if any(errors):
            axes.stairs(errors, edges, color=_COLOURS["bad"], linewidth=1.2, linestyle="--")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.tick_params(axis="y", labelcolor=_COLOURS["muted"])
        axes.set_xlabel("seconds since the run began")
        axes.set_ylabel("per second")
        axes.grid(axis="y")
        if faults:
            _bars(axes, faults, edges[-1] - edges[0])
    dashed = "; dashed, errors and unknown outcomes" if any(errors) else "; there were no errors"
    bars = "; the bars above, when each fault was in force" if faults else ""
    return Plot(drawn[0], f"Answers per second{dashed}{bars}.")


def stepped(timeline: Sequence[Moment], most: int = POINTS_MAX) -> list[Moment]:
    """The timeline in order, in `most` steps at most: neighbours are added up."""
    ordered = sorted(timeline, key=lambda each: each.second)
    size = -(-len(ordered) // most) or 1
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [
        Moment(
            second=group[0].second,
            answered=sum(each.answered for each in group),
            errors=sum(each.errors for each in group),
        )
        for group in groups
    ]


def standalone(plot: Plot, variables: str) -> str:
    """The drawing as a file of its own, with the page's colours (CSS) and its background."""
    style = f"<style>{variables} text{{font-family:system-ui,sans-serif}}</style>"
    opening, rest = plot.svg.split(">", 1)
    ground = '<rect width="100%" height="100%" style="fill: var(--paper)"/>'
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{style}{ground}{rest}\n'


@contextmanager
def _drawing(salt: str, width: float, height: float, parts: Sequence[float] = (1,)) -> Iterator[tuple[list[str], Axes]]:
    """Axes to draw on, the lowest of `parts`, in inches; afterwards the list holds the SVG."""
    drawn: list[str] = []
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts draw the text
        canvas = FigureCanvasSVG(Figure(figsize=(width, height), layout="constrained"))
        grid = canvas.figure.add_gridspec(len(parts), 1, height_ratios=parts[::-1])
        axes, *_ = [canvas.figure.add_subplot(grid[row]) for row in reversed(range(len(parts)))]
        yield drawn, axes
        if not axes.has_data():
            return
        written = io.StringIO()
        canvas.figure.savefig(written, format="svg", metadata={"Date": None})
    drawn.append(_embedded(written.getvalue(), salt))


def _embedded(svg: str, salt: str) -> str:
    """matplotlib's file as an element of a page: no prolog, no style of its own, no names that are used by nobody."""
    (box,) = re.findall(r'viewBox="([^"]+)"', svg)
    body = svg[svg.index("</defs>", svg.index("<style")) + len("</defs>") : svg.rindex("</svg>")]
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"/>', "", body)
    body = re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]*>", _tag, body))  # tags only: what stands between them is text
    return f'<svg class="plot" viewBox="{box}" data-plot="{escape(salt)}" stroke-linejoin="round">{body}</svg>'


def _tag(found: re.Match[str]) -> str:
    """A tag of matplotlib's without what the page has better."""
    tag = re.sub(r'^<g id="[^"]*">', "<g>", found[0]).replace("xlink:href", "href")
    tag = re.sub(r"font: (?:(bold|[6-9]00) )?([\d.]+)px [^;\"]*", _font, tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", tag)
    # A tenth of a point is enough, and a line goes on without being told to.
    tag = re.sub(r"(\.\d)\d+", r"\1", re.sub(r"\s*\nL ", "\n", tag))
    for name, colour in _COLOURS.items():
        tag = tag.replace(colour, f"var(--{name})")
    return tag


def _font(found: re.Match[str]) -> str:
    """The shorthand that matplotlib wrote before 3.11, without the font's name."""
    return f"{'font-weight: bold; ' if found[1] else ''}font-size: {found[2]}px"


def _dumbbells(axes: Axes, stores: dict[str, list[Column]], keys: int) -> None:
    labels, at = [], 0
    for store, columns in stores.items():
        axes.text(
            0, at, f"{_short(store)} ", transform=axes.get_yaxis_transform(), ha="right", va="center", weight="bold"
        )
        at += 1
        for column in sorted(columns, key=lambda column: place(column.subject)):
            colour = _COLOURS[_SERIES[OURS.index(column.subject)][0] if column.subject in OURS else "ink"]
            cells = sorted((cell for cell in column.cells if cell.keys == keys), key=lambda cell: cell.concurrency)
            rates = [cell.increments_per_second for cell in cells if cell.increments_per_second > 0]
            axes.plot(rates, [at] * len(rates), color=colour, linewidth=1.2)
            axes.plot(rates[:1], [at], "o", markersize=5, color=colour, markerfacecolor=_COLOURS["paper"])
            axes.plot(rates[-1:], [at], "o", markersize=6, color=colour)
            labels.append((at, _short(column.subject_title)))
            at += 1
    axes.set_yticks([place for place, _ in labels], [label for _, label in labels])
    axes.set_ylim(at - 0.3, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _callers(columns: Sequence[Column], keys: int) -> tuple[int, int]:
    found = [cell.concurrency for column in columns for cell in column.cells if cell.keys == keys]
    return min(found), max(found)


def _bars(axes: Axes, faults: dict[str, list[FaultMark]], seconds: float) -> None:
    """A row for each fault on the axes above; short faults are shaded beneath as well."""
    above = axes.figure.axes[1]
    above.set_xlim(axes.get_xlim())
    above.set_ylim(len(faults) - 0.5, -0.5)
    above.set_yticks(range(len(faults)), [_short(named(fault)) for fault in faults])
    above.tick_params(axis="both", length=0, labelbottom=False)
    for spine in above.spines.values():
        spine.set_visible(False)
    for row, marks in enumerate(faults.values()):
        for mark in marks:
            lasted = max(mark.end - mark.begin, seconds / 400)
            above.broken_barh([(mark.begin, lasted)], (row - 0.28, 0.56), color=_COLOURS["muted"], linewidth=0)
            if lasted < seconds / 4:
                axes.axvspan(mark.begin, mark.begin + lasted, color=_COLOURS["band"], linewidth=0)


def _step(moments: Sequence[Moment]) -> float:
    """The seconds from one point to the next: the median, for a run may have stood still."""
    gaps = sorted(after.second - before.second for before, after in pairwise(moments))
    return gaps[len(gaps) // 2] if gaps and gaps[len(gaps) // 2] > 0 else 1.0


def _short(text: str) -> str:
    text = plain(text).replace("\n", " ")
    return text if len(text) <= LABEL_MAX else f"{text[: LABEL_MAX - 1]}…"
