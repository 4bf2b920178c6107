"""The report as Markdown: the head, the table of stores and subjects, and every promise that did not simply hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from plusone.lab.report.reading import Run
from plusone.lab.report.summary import WORDS, Checked, Entry, Summary, column_cell, latency_cell, summarized
from plusone.lab.report.wording import counters, dollars, duration, figure, printable, signed
from plusone.lab.results import Column

_SPEED: Final = (
    "Increments per second, writes and dollars are those of the most callers. What waits for the same counter is one"
    " write of plusone's; with more counters, or fewer callers, an increment comes nearer to a write of its own."
    " Latency is of a load at a fixed rate, the most callers on the fewest counters."
)


def markdown(runs: Sequence[Run]) -> str:
    """The whole report."""
    summary = summarized(runs)
    parts = [
        "# Counting under faults",
        "\n".join(f"- {line.sign.symbol} {_safe(line.text)}" for line in summary.lines),
        "## Datastores and ways of counting",
        _main_table(summary, _each_in_full),
    ]
    if columns := [column for comparison in summary.comparisons for column in comparison.columns]:
        parts += ["## Speed and cost", _SPEED, _speed_table(columns)]
    if summary.checked:
        parts += ["## Runs", *map(_run, summary.checked)]
    for comparison in summary.comparisons:
        said = f"Measured {comparison.started}, {comparison.seconds:g} s each, on {comparison.machine}."
        parts += [_safe(said), _command(comparison.command)]
    return "\n\n".join(parts) + "\n"


def main_table(runs: Sequence[Run]) -> str:
    """The table of stores and subjects alone, with the other ways of counting summed up."""
    return _main_table(summarized(runs), _how_many_are_wrong)


def _main_table(summary: Summary, others_of: Callable[[Sequence[Entry]], str]) -> str:
    others = any(subject not in summary.subjects for row in summary.rows for subject in row.entries)
    head = ["datastore", *summary.subjects.values(), *(["other ways of counting"] if others else [])]
    lines = []
    for row in summary.rows:
        cells = [_entry(row.entries[subject]) if subject in row.entries else "not run" for subject in summary.subjects]
        rest = [each for name, each in row.entries.items() if name not in summary.subjects]
        lines.append([_safe(row.title), *cells, *([others_of(rest)] if others else [])])
    return _table([_safe(cell) for cell in head], lines, "---")


def _each_in_full(entries: Sequence[Entry]) -> str:
    return "<br>".join(f"{_safe(each.title)}: {_entry(each)}" for each in entries)


def _how_many_are_wrong(entries: Sequence[Entry]) -> str:
    checked = [each for each in entries if each.anchor and each.standing != "not tested"]
    wrong = [each for each in checked if each.standing == "wrong"]
    if not wrong:
        return f"✓ {len(checked)} of {len(checked)} held" if checked else ""
    return f"**✗ {len(wrong)} of {len(checked)} count wrong**"


def _entry(entry: Entry) -> str:
    """`✓ held, 52,300/s`; what went wrong in bold."""
    if not entry.anchor:
        return entry.speed
    sign = f"{entry.sign.symbol} {entry.sign.word}"
    remarkable = entry.standing not in ("held", "not tested")
    parts = [f"**{sign}**" if entry.sign.tone == "bad" else sign]
    parts += [_safe(entry.remark)] if remarkable and entry.remark else []
    parts += [entry.speed] if entry.speed else []
    return ", ".join(parts)


def _speed_table(columns: Sequence[Column]) -> str:
    all_keys = sorted({cell.keys for column in columns for cell in column.cells})
    head = [
        "datastore",
        "counted with",
        *(f"increments/s, {counters(keys)}" for keys in all_keys),
        "p50",
        "p99",
        *(f"writes per increment, {counters(keys)}" for keys in all_keys),
        *(f"$/million, {counters(keys)}" for keys in all_keys),
        "wrong after lost replies",
    ]
    lines = []
    for column in columns:
        cells = [column_cell(column, keys) for keys in all_keys]
        measured = latency_cell(column)
        latency = measured.latency if measured else None
        writes = [cell.writes_per_increment if cell else None for cell in cells]
        prices = [cell.dollars_per_million if cell else None for cell in cells]
        lines.append(
            [
                _safe(column.store_title),
                _safe(column.subject_title),
                *(figure(cell.increments_per_second) if cell else "–" for cell in cells),  # noqa: RUF001 - a dash
                duration(latency.p50_us) if latency else "",
                duration(latency.p99_us) if latency else "",
                *("" if number is None else figure(number) for number in writes),
                *("" if amount is None else dollars(amount) for amount in prices),
                signed(column.lossy.counted - column.lossy.increments) if column.lossy else "",
            ]
        )
    return _table(head, lines, "---:", left=2)


def _run(checked: Checked) -> str:
    result, sign = checked.result, checked.sign
    head = f"### {_safe(result.subject_title)} on {_safe(result.store_title)}: {sign.symbol} {sign.word}"
    lines = []
    for promise in result.promises:
        word = WORDS[promise.verdict]
        claim = "" if promise.claimed else " (not claimed)"
        lines.append(f"- {word.symbol} {_safe(promise.name)}{claim}: {word.word}. {_safe(promise.evidence)}")
    lines += [f"- ✗ {each.kind}, {_safe(each.counter)}: {_safe(each.sentence)}" for each in result.contradictions]
    lines += [f"- {_safe(note)}" for note in result.notes]
    return f"{head}\n\n" + "\n".join(lines) + f"\n\n{_command(result.command)}"


def _command(command: str) -> str:
    return "\n".join(f"    {line}" for line in printable(command).splitlines())


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], rule: str, left: int = 0) -> str:
    rules = ["---"] * left + [rule] * (len(head) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rules, *lines])


def _safe(text: str) -> str:
    """Text as text: no HTML, and nothing that ends a cell or a line. Backticks stay, for titles say code with them."""
    one_line = " ".join(printable(text).split())
    for char, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("[", "\\["), ("]", "\\]")):
        one_line = one_line.replace(char, escaped)
    return one_line
