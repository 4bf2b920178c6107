"""What the runs come to: a standing for each subject on each datastore, and what there is to say at the head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from plusone.lab.report.reading import Run
from plusone.lab.report.wording import VIOLATIONS, count, figure, listed, many, printable, signed
from plusone.lab.results import UNDISTURBED, Cell, Column, Comparison, Verification, Word

Standing: TypeAlias = Literal["held", "lost", "wrong", "broken", "undecided", "not tested"]


class Sign(msgspec.Struct, frozen=True):
    """How a verdict is shown: never by its colour alone."""

    symbol: str
    word: str
    tone: Literal["good", "bad", "warning", "quiet"]
    meaning: str


STANDINGS: Final[dict[Standing, Sign]] = {
    "broken": Sign("✗", "broken", "bad", "A promise that plusone claims did not hold."),
    "undecided": Sign("?", "undecided", "warning", "Whether a promise that is claimed held could not be decided."),
    "wrong": Sign("✗", "counts wrong", "bad", "What it answered or counted is not what is expected of a counter."),
    "lost": Sign("!", "held, data lost", "warning", "It held; the datastore itself lost what it had acknowledged."),
    "held": Sign("✓", "held", "good", "Every promise that is claimed, and that was tested, held."),
    "not tested": Sign("–", "not tested", "quiet", "No promise was tested."),  # noqa: RUF001 - a dash
}
"""The worst first."""
WORDS: Final[dict[Word, Sign]] = {
    "ok": Sign("✓", "held", "good", "It was tested, and nothing contradicts it."),
    "illegal": Sign("✗", "did not hold", "bad", "What was observed contradicts it."),
    "unknown": Sign("?", "undecided", "warning", "It was tested, and no verdict was reached."),
    "not tested": Sign("–", "not tested", "quiet", "Nothing in this run could have contradicted it."),  # noqa: RUF001
}
CALM: Final = Sign("!", UNDISTURBED, "warning", "Neither the network nor a server did any harm.")
OURS: Final[tuple[str, ...]] = ("plusone", "service")
"""The subjects that are this project, first in every table."""
_NAMED_MAX: Final = 3
"""Other ways of counting that the head names one by one."""
_KINDS_MAX: Final = 4
"""Kinds of contradictions that a table's cell names."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One subject on one datastore: what all runs about it say together."""

    subject: str
    title: str
    standing: Standing
    remark: str
    """What was found, in a few words."""
    anchor: str
    """Of the worst of its verifications; empty if it was only measured."""
    speed: str
    """Increments per second of the busiest cell of one hot counter; empty if it was not measured."""

    @property
    def sign(self) -> Sign:
        return STANDINGS[self.standing]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A datastore."""

    store: str
    title: str
    entries: dict[str, Entry]
    """By subject."""


class Line(msgspec.Struct, frozen=True):
    """A sentence of the page's head."""

    sign: Sign
    text: str


class Checked(msgspec.Struct, frozen=True):
    """A verification, where the page shows it, and what it comes to."""

    anchor: str
    run: str
    result: Verification

    @property
    def standing(self) -> Standing:
        return standing(self.result)

    @property
    def sign(self) -> Sign:
        return STANDINGS[self.standing]

    @property
    def remark(self) -> str:
        return remark(self.result)


class Summary(msgspec.Struct, frozen=True):
    """Everything that the forms of the report are made from."""

    lines: list[Line]
    subjects: dict[str, str]
    """Titles of the subjects that have a column of their own in the table: ours. The others differ by datastore."""
    rows: list[Row]
    checked: list[Checked]
    comparisons: list[Comparison]


def summarized(runs: Sequence[Run]) -> Summary:
    verified = [(run.name, run.result) for run in runs if isinstance(run.result, Verification)]
    verified.sort(key=lambda named: (named[1].store, place(named[1].subject), named[1].started, named[1].seed))
    checked = [Checked(f"run-{number}", name, result) for number, (name, result) in enumerate(verified, 1)]
    comparisons = [run.result for run in runs if isinstance(run.result, Comparison)]
    comparisons.sort(key=lambda comparison: comparison.started)
    rows = _rows(checked, [column for comparison in comparisons for column in comparison.columns])
    titles = {subject: entry.title for row in rows for subject, entry in row.entries.items()}
    columns = {subject: titles[subject] for subject in OURS if subject in titles}
    return Summary(_lines(checked, comparisons), columns, rows, checked, comparisons)


def standing(result: Verification) -> Standing:
    claimed = {promise.verdict for promise in result.promises if promise.claimed}
    unclaimed = {promise.verdict for promise in result.promises if not promise.claimed}
    if "illegal" in claimed:
        return "broken" if result.subject in OURS else "wrong"
    if "unknown" in claimed:
        return "undecided"
    if result.lost:
        return "lost"
    if result.contradictions or "illegal" in unclaimed:
        return "wrong"
    return "held" if "ok" in claimed | unclaimed else "not tested"


def remark(result: Verification) -> str:
    """What a run found, in a few words: the kinds of contradictions, and how far the count is off."""
    # Where the datastore lost what it had acknowledged, the contradictions are that loss.
    kinds = [] if standing(result) == "lost" else list(dict.fromkeys(each.kind for each in result.contradictions))
    parts: list[str] = [*kinds[:_KINDS_MAX]]
    if len(kinds) > _KINDS_MAX:
        parts.append(f"{len(kinds) - _KINDS_MAX} more kinds")
    most = result.expected + result.unknown
    difference = (
        result.counted - most if result.counted > most else min(0, result.counted + result.lost - result.expected)
    )
    if difference:
        parts.append(f"{signed(difference)} of {count(result.expected)}")
    if result.lost:
        parts.append(f"the datastore lost {count(result.lost)}")
        if result.gaps_noticed:
            parts.append(f"noticed {many(result.gaps_noticed, 'time')}")
        elif result.subject in OURS:
            parts.append("with the process that had counted them")
    if parts:
        return ", ".join(parts)
    met = UNDISTURBED if result.calm_only else many(sum(result.faults.values()), "fault")
    return f"{count(result.operations)} operations, {met}"


def column_cell(column: Column, keys: int) -> Cell | None:
    """A column's measurement with so many keys and the most callers."""
    cells = [cell for cell in column.cells if cell.keys == keys]
    return max(cells, key=lambda cell: cell.concurrency, default=None)


def latency_cell(column: Column) -> Cell | None:
    """Whose latency is shown: that of the hot counter with the most callers."""
    cells = [cell for cell in column.cells if cell.latency and cell.latency.p50_us > 0]
    return min(cells, key=lambda cell: (cell.keys, -cell.concurrency), default=None)


def place(subject: str) -> tuple[int, str]:
    """Where a subject stands in a table: ours first."""
    return (OURS.index(subject) if subject in OURS else len(OURS), subject)


def _rows(checked: Sequence[Checked], columns: Sequence[Column]) -> list[Row]:
    stores = {column.store: column.store_title for column in columns}
    # A verification of a URL knows no better title than its scheme.
    told = [each.result for each in checked if each.result.store_title != each.result.store]
    stores = {each.result.store: each.result.store for each in checked} | stores
    stores |= {result.store: result.store_title for result in told}
    rows = []
    for store, title in sorted(stores.items()):
        here = [each for each in checked if each.result.store == store]
        measured = {column.subject: column for column in columns if column.store == store}
        subjects = {each.result.subject: each.result.subject_title for each in here}
        subjects |= {subject: column.subject_title for subject, column in measured.items()}
        entries = {
            subject: _entry(subject, subjects[subject], here, measured.get(subject))
            for subject in sorted(subjects, key=place)
        }
        rows.append(Row(store=store, title=title, entries=entries))
    return rows


def _entry(subject: str, title: str, here: Iterable[Checked], column: Column | None) -> Entry:
    about = [each for each in here if each.result.subject == subject]
    worst = min(about, key=lambda each: list(STANDINGS).index(each.standing), default=None)
    keys = min((cell.keys for cell in column.cells), default=1) if column else 1
    busiest = column_cell(column, keys) if column else None
    return Entry(
        subject=subject,
        title=title,
        standing=worst.standing if worst else "not tested",
        remark=worst.remark if worst else "",
        anchor=worst.anchor if worst else "",
        speed=f"{figure(busiest.increments_per_second)}/s" if busiest else "",
    )


def _lines(checked: Sequence[Checked], comparisons: Sequence[Comparison]) -> list[Line]:
    """The head: what did not hold before what held, then the others, what nobody tried, and what was measured."""
    ours = [each for each in checked if each.result.subject in OURS]
    others = [each for each in checked if each.result.subject not in OURS]
    lines = [*_about_ours(ours), *_about_losses(ours), *_about_others(others), *_about_calm(ours)]
    lines += _about_untested(ours)
    columns = [column for comparison in comparisons for column in comparison.columns]
    if columns:
        stores = len({column.store for column in columns})
        sign = Sign("·", "measured", "quiet", "")
        ways = many(len(columns), "way of counting", "ways of counting")
        lines.append(Line(sign, f"Measured: {ways} on {many(stores, 'datastore')}."))
    return lines


def _about_ours(ours: Sequence[Checked]) -> Iterable[Line]:
    for kind, said in (("broken", "did not hold what it claims"), ("undecided", "could not be decided")):
        those = [each for each in ours if each.standing == kind]
        if those:
            text = f"plusone {said} in {len(those)} of {many(len(ours), 'run')}"
            yield Line(STANDINGS[those[0].standing], f"{text}: {listed([_what(each) for each in those])}.")
    held = [each.result for each in ours if each.standing in ("held", "lost")]
    if held:
        stores = many(len({result.store for result in held}), "datastore")
        runs = f"{len(held)} of {len(ours)} runs" if len(held) < len(ours) else many(len(held), "run")
        operations = many(sum(result.operations for result in held), "operation")
        hits = many(sum(sum(result.faults.values()) for result in held), "fault")
        text = f"plusone held every promise that it claims and that was tested, in {runs} on {stores}"
        yield Line(STANDINGS["held"], f"{text}: {operations}, {hits}.")


def _what(each: Checked) -> str:
    """Which promises of a run did not hold: `plusone on redis (exactly once, bounds)`."""
    result = each.result
    names = [p.name for p in result.promises if p.claimed and p.verdict in ("illegal", "unknown")]
    return f"{result.subject} on {result.store} ({', '.join(names)})"


def _about_losses(ours: Sequence[Checked]) -> Iterable[Line]:
    losing = [each.result for each in ours if each.result.lost]
    if losing:
        stores = listed(sorted({result.store for result in losing}))
        lost, noticed = sum(each.lost for each in losing), sum(each.gaps_noticed for each in losing)
        text = f"{stores} lost {many(lost, 'increment')} that had been acknowledged, as they may"
        yield Line(STANDINGS["lost"], f"{text}; plusone noticed {many(noticed, 'loss', 'losses')}.")


def _about_others(others: Sequence[Checked]) -> Iterable[Line]:
    wrong = [each for each in others if each.standing == "wrong"]
    held = [each for each in others if each.standing in ("held", "lost")]
    total = many(len(others), "other way of counting", "other ways of counting")
    if wrong:
        kinds = Counter(kind for each in wrong for kind in {found.kind for found in each.result.contradictions})
        found = ", ".join(f"{kind} {kinds[kind]}" for kind in VIOLATIONS if kinds[kind])
        names = listed([f"{each.result.subject} on {each.result.store}" for each in wrong])
        text = f"{names if len(others) <= _NAMED_MAX else f'{len(wrong)} of {total}'} counted wrong"
        yield Line(STANDINGS["wrong"], f"{text}: {found}." if found else f"{text}.")
    if held:
        names = listed([f"{each.result.subject} on {each.result.store}" for each in held])
        yield Line(STANDINGS["held"], f"{len(held)} of {total} held: {names}.")


def _about_calm(ours: Sequence[Checked]) -> Iterable[Line]:
    """What was counted on without any fault, with the reasons: that it held proves little."""
    calm: dict[str, list[str]] = {}
    for each in ours:
        if each.result.calm_only:
            name = f"{each.result.subject} on {each.result.store}"
            calm.setdefault(printable(each.result.no_fault), []).append(name)
    for why, names in calm.items():
        said = f"{UNDISTURBED.capitalize()} was met by {listed(sorted(set(names)))}"
        yield Line(CALM, f"{said}: {why}." if why else f"{said}.")


def _about_untested(ours: Sequence[Checked]) -> Iterable[Line]:
    missing = Counter(
        promise.name
        for each in ours
        for promise in each.result.promises
        if promise.claimed and promise.verdict == "not tested"
    )
    if missing:
        said = ", ".join(f"{name} in {many(runs, 'run')}" for name, runs in missing.items())
        yield Line(WORDS["not tested"], f"Claimed and not tested: {said}.")
