"""What the report is made from: reading runs, judging them, and drawing them."""

from __future__ import annotations

import itertools
import json
import random
import re
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from plusone.cli import app
from plusone.errors import ConfigurationError
from plusone.lab.report import plots, reading, wording
from plusone.lab.report.document import Document, document
from plusone.lab.report.markdown import main_table, markdown
from plusone.lab.report.page import colours, html
from plusone.lab.report.reading import Run, read_runs
from plusone.lab.report.spacetime import laid_out
from plusone.lab.report.summary import standing, summarized
from plusone.lab.results import Contradiction, Moment, Promise, Verification
from tests.lab.report_samples import (
    HOSTILE,
    KINDS,
    comparison,
    contradiction,
    runs,
    verification,
    verifications,
    witness,
    written,
)


def test_runs_are_read_from_folders_and_files_and_each_once(tmp_path: Path) -> None:
    folders = written(tmp_path)
    found = read_runs([*folders, folders[0] / "result.json"])
    assert [(run.name, type(run.result).__name__) for run in found] == [
        *((f"2026-11-21T1200{number:02}Z", "Verification") for number in range(8)),
        ("2026-11-21T120008Z", "Comparison"),
    ]
    assert html(found) == html(runs())


def edited(change: Callable[[dict[str, object]], object]) -> bytes:
    content = json.loads(msgspec.json.encode(verification()))
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a result of the lab"),
        (b"[1, 2]", "not a result of the lab"),
        (b"\xff\xfe", "not a result of the lab"),
        (b"{}", "not a result of `plusone verify` or `plusone compare`"),
        (edited(lambda result: result.update(type="measurement")), "not a result of `plusone verify`"),
        (edited(lambda result: result.update(format=2)), "of format 2; this version of plusone reads format 1"),
        (edited(lambda result: result.update(seed="seven")), "Expected `int`, got `str` - at `$.seed`"),
        (edited(lambda result: result.pop("promises")), "missing required field `promises`"),
        (edited(lambda result: result.update(notes=["x"] * 100_001)), "notes: 100,001 members; at most 100,000"),
        (b"[" * 100_000, "not a result of the lab"),
    ],
)
def test_a_file_that_is_no_result_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "result.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_runs([tmp_path])
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("times", [(-1, 5), (7, 5), (5, 2**63)])
def test_operations_that_end_before_they_begin_are_no_result(tmp_path: Path, times: tuple[int, int]) -> None:
    impossible = msgspec.structs.replace(witness(1, 0, 1, 2), called_ns=times[0], answered_ns=times[1])
    found = Contradiction(kind="stale read", counter="seats", sentence="", operations=(impossible,))
    (tmp_path / "result.json").write_bytes(msgspec.json.encode(verification(contradictions=(found,))))
    with pytest.raises(ConfigurationError, match="operation 1 is answered before it is called"):
        read_runs([tmp_path])


def test_a_folder_stands_for_the_runs_in_it(tmp_path: Path) -> None:
    written(tmp_path / "all" / "redis")
    assert len(read_runs([tmp_path / "all" / "redis"])) == 9
    assert len(read_runs([tmp_path / "all"])) == 9
    with pytest.raises(ConfigurationError, match=r"no result.json in this folder"):
        read_runs([tmp_path])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"no result.json in this folder: is it a run that did not finish"):
        read_runs([tmp_path / "empty"])
    with pytest.raises(ConfigurationError, match="nowhere: cannot be read: No such file"):
        read_runs([tmp_path / "nowhere"])


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BYTES_MAX", 1_000)
    folder = written(tmp_path)[0]
    with pytest.raises(ConfigurationError, match=r"bytes; a result has at most 1,000"):
        read_runs([folder])


def promise(claimed: bool, verdict: str) -> Promise:
    return msgspec.convert(
        {"name": "bounds", "claimed": claimed, "claim": "", "verdict": verdict, "evidence": ""}, type=Promise
    )


def test_every_run_has_its_standing() -> None:
    assert [standing(result) for result in verifications()] == [
        *("held", "lost", "wrong", "wrong", "broken", "undecided", "wrong", "not tested")
    ]
    for claimed, verdict, expected in (
        (True, "ok", "held"),
        (True, "illegal", "broken"),
        (True, "unknown", "undecided"),
        (True, "not tested", "not tested"),
        (False, "ok", "held"),
        (False, "illegal", "wrong"),
        (False, "unknown", "not tested"),
    ):
        assert standing(verification(promises=(promise(claimed, verdict),))) == expected
    # A broken promise is not excused by what the datastore lost; a contradiction that breaks none is that loss.
    assert standing(verification(promises=(promise(True, "illegal"),), lost=3)) == "broken"
    assert standing(verification(lost=3, contradictions=(contradiction("duplicate value"),))) == "lost"
    assert standing(verification(contradictions=(contradiction("duplicate value"),))) == "wrong"
    assert standing(verification("redis-incrby", promises=(promise(True, "illegal"),))) == "wrong"


def test_a_remark_says_how_far_the_count_is_off() -> None:
    for counted, unknown, lost, expected in (
        (5_000, 0, 0, "14,203 operations, 144 faults"),
        (5_003, 3, 0, "14,203 operations, 144 faults"),
        (5_004, 3, 0, "+1 of 5,000"),
        (4_999, 3, 0, "−1 of 5,000"),  # noqa: RUF001 - a minus sign
        (4_990, 0, 10, "the datastore lost 10, noticed 1 time"),
        (4_989, 0, 10, "−1 of 5,000, the datastore lost 10, noticed 1 time"),  # noqa: RUF001 - a minus sign
    ):
        found = verification(counted=counted, unknown=unknown, lost=lost, gaps_noticed=1)
        assert summarized([Run("a", found)]).checked[0].remark == expected
    unseen = verification("service", counted=4_990, lost=10)
    said = "the datastore lost 10, with the process that had counted them"
    assert summarized([Run("a", unseen)]).checked[0].remark == said


def test_the_head_says_what_did_not_hold_before_what_did() -> None:
    assert [(line.sign.symbol, line.text) for line in summarized(runs()).lines] == [
        ("✗", "plusone did not hold what it claims in 1 of 4 runs: plusone on mariadb (exactly once)."),
        ("?", "plusone could not be decided in 1 of 4 runs: service on mariadb (exactly once)."),
        (
            "✓",
            "plusone held every promise that it claims and that was tested, in 2 of 4 runs on 1 datastore:"
            " 28,406 operations, 288 faults.",
        ),
        ("!", "redis lost 3 increments that had been acknowledged, as they may; plusone noticed 1 loss."),
        (
            "✗",
            "3 of 4 other ways of counting counted wrong: lost update 1, duplicate value 1, phantom increment 3,"
            " bound crossed 1, false rejection 1, stale read 1, order reversed 2, lost after acknowledgement 1,"
            " wrong value 1.",
        ),
        ("–", "Claimed and not tested: failover in 1 run."),  # noqa: RUF001 - a dash
        ("·", "Measured: 6 ways of counting on 2 datastores."),
    ]


def test_when_all_held_the_head_is_one_line() -> None:
    found = summarized([Run("a", verification()), Run("b", verification("service"))])
    assert [line.text for line in found.lines] == [
        "plusone held every promise that it claims and that was tested, in 2 runs on 1 datastore:"
        " 28,406 operations, 288 faults."
    ]


def test_what_met_no_fault_is_said_at_the_head() -> None:
    calm = verification(faults={}, no_fault="rediss: no proxy can stand there")
    found = summarized([Run("a", verification()), Run("b", calm), Run("c", verification("redis-lua", faults={}))])
    assert [(line.sign.word, line.text) for line in found.lines][-1] == (
        "no fault of network or server",
        "No fault of network or server was met by plusone on redis: rediss: no proxy can stand there.",
    )
    assert found.checked[1].remark == "14,203 operations, no fault of network or server"


def test_a_few_ways_of_counting_are_named() -> None:
    wrong = verification("redis-incrby", contradictions=(contradiction("phantom increment"),))
    found = summarized([Run("a", wrong), Run("b", verification("redis-lua"))])
    assert [line.text for line in found.lines] == [
        "redis-incrby on redis counted wrong: phantom increment 1.",
        "1 of 2 other ways of counting held: redis-lua on redis.",
    ]


def test_other_ways_of_counting_that_hold_are_named() -> None:
    found = summarized([Run("a", verification("etcd-put", "etcd")), Run("b", verification("redis-lua"))])
    assert [line.text for line in found.lines] == [
        "2 of 2 other ways of counting held: etcd-put on etcd and redis-lua on redis."
    ]


def test_of_several_runs_the_table_shows_the_worst() -> None:
    bad = verification(promises=(promise(True, "illegal"),), seed=8)
    (row,) = summarized([Run("good", verification()), Run("bad", bad), Run("good", verification(seed=9))]).rows
    assert (row.entries["plusone"].standing, row.entries["plusone"].anchor) == ("broken", "run-2")


def test_the_main_table_in_markdown() -> None:
    chosen = [run for run in runs() if not (isinstance(run.result, Verification) and "get" in run.result.subject)]
    assert main_table(chosen).splitlines() == [
        "| datastore | plusone | plusone over HTTP | other ways of counting |",
        "| --- | --- | --- | --- |",
        "| MariaDB 10.11, every transaction flushed | **✗ broken**, duplicate value, 12,800/s"
        " | ? undecided, 14,203 operations, 144 faults, 11,200/s"
        " | **✗ 1 of 1 count wrong** |",
        "| Redis 7.0.15, every write flushed | ✓ held, 144,000/s"
        " | ! held, data lost, the datastore lost 3, noticed 1 time, 48,000/s"
        " | **✗ 1 of 1 count wrong** |",
    ]
    assert (
        " | asyncmy select, then update: – not tested"  # noqa: RUF001 - a dash
        "<br>asyncmy `INSERT … ON DUPLICATE KEY UPDATE`: **✗ counts wrong**, phantom increment,"
        " +59 of 5,000, 4,800/s |\n"
    ) in markdown(chosen)


def test_writes_and_dollars_are_those_of_each_number_of_counters() -> None:
    """What batching saves on one counter, it does not on a thousand: the table has both, and says which is which."""
    text = markdown(runs())
    (head,) = [line for line in text.splitlines() if "wrong after lost replies" in line]
    assert head == (
        "| datastore | counted with | increments/s, one counter | increments/s, 1,000 counters | p50 | p99"
        " | writes per increment, one counter | writes per increment, 1,000 counters"
        " | $/million, one counter | $/million, 1,000 counters | wrong after lost replies |"
    )
    lines = [line.split(" | ") for line in text[text.index(head) :].splitlines() if line.startswith("| MariaDB")]
    assert [line[6:] for line in lines] == [
        ["0.0039", "1.00", "$0.0039", "$1.00", "exact |"],
        ["", "", "", "", "exact |"],
        ["1.00", "1.00", "$0.500", "$0.500", "+57 |"],
    ]


def cells_of(page: str, table: str) -> list[list[str]]:
    """The words of a table's body, a list for each row."""
    found = page[page.index(table) :]
    rows = re.findall(r"<tr>(.*?)</tr>", found[found.index("<tbody>") : found.index("</tbody>")], re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)]
        for row in rows
    ]


def test_the_pages_table_of_speeds() -> None:
    page = html(runs())
    rows = cells_of(page, 'aria-label="Speed and cost of each way of counting"')
    assert [row[7:] for row in rows[3:]] == [
        ["0.0039", "1.00", "$0.0039", "$1.00", "✓ exact"],
        ["–", "–", "–", "–", "✓ exact"],  # noqa: RUF001 - dashes
        ["1.00", "1.00", "$0.500", "$0.500", "✗ +57"],
    ]
    everything = cells_of(page, 'aria-label="All measurements"')
    # One caller at a time writes each of its increments, on one counter as on a thousand.
    assert [row[-2:] for row in everything if row[:3] == ["mariadb", "plusone", "1"]] == [["1.00", "$1.00"]] * 2


def test_errors_are_counted_once() -> None:
    """A cell's errors are those of both loops already."""
    (first, *_) = comparison().columns
    cell = next(cell for cell in first.cells if cell.latency)
    assert cell.latency is not None
    failed = msgspec.structs.replace(cell, errors=70_009, latency=msgspec.structs.replace(cell.latency, errors=9))
    column = msgspec.structs.replace(first, cells=[failed])
    (row,) = cells_of(
        html([Run("a", msgspec.structs.replace(comparison(), columns=[column]))]), 'aria-label="All measurements"'
    )
    assert row[5] == "70,009"


def test_measurements_of_before_prices_had_a_cell_of_their_own_are_read(tmp_path: Path) -> None:
    content = json.loads(msgspec.json.encode(comparison()))
    for column in content["columns"]:
        column["dollars_per_million"] = 1.25
        for cell in column["cells"]:
            del cell["dollars_per_million"]
    (tmp_path / "result.json").write_text(json.dumps(content), encoding="utf-8")
    assert "+57" in markdown(read_runs([tmp_path]))


def test_markdown_takes_nothing_for_markup() -> None:
    text = markdown([Run("a", verification(notes=(HOSTILE, "| a | b |\n# head", "[x](javascript:y)")))])
    assert "<" not in text
    assert "\x1b" not in text
    assert "- \\| a \\| b \\| # head\n" in text
    assert "- \\[x\\](javascript:y)\n" in text


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


def test_json_holds_everything() -> None:
    whole = msgspec.json.decode(document(runs()), type=Document)
    assert [(each.subject, each.standing, each.held) for each in whole.verdicts] == [
        ("plusone", "broken", False),
        ("service", "undecided", False),
        ("mariadb-select-then-update", "not tested", True),
        ("mariadb-upsert", "wrong", False),
        ("plusone", "held", True),
        ("service", "lost", True),
        ("redis-get-check-incr", "wrong", True),
        ("redis-incrby", "wrong", True),
    ]
    assert sorted(map(encoded, whole.verifications)) == sorted(map(encoded, verifications()))
    assert encoded(whole.comparisons) == encoded([comparison()])


def test_the_page_is_the_same_each_time_and_small() -> None:
    page = html(runs())
    assert page == html(runs())
    assert len(page.encode()) < 300_000
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page


def test_plots_have_no_colours_of_their_own() -> None:
    columns = comparison().columns
    drawn = [plots.throughput(columns, 1), plots.latency(columns[:3]), plots.timeline(verification(), "run-1")]
    for plot in drawn:
        assert plot is not None
        file = plots.standalone(plot, colours())
        xml.etree.ElementTree.fromstring(file)
        assert len(file) < 100_000
        assert "#0" not in plot.svg
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot.svg)) <= {"none", *(f"var(--{name})" for name in CSS)}


CSS = ("ink", "muted", "rule", "paper", "band", "bad", "series-1", "series-2", "series-3", "series-4")


def test_titles_in_plots_are_text() -> None:
    columns = [msgspec.structs.replace(each, subject_title=f"$x$ {HOSTILE} 数") for each in comparison().columns]
    plot = plots.throughput(columns, 1)
    assert plot is not None
    assert "<script>" not in plot.svg
    assert "$x$ &lt;script&gt;" in plot.svg
    columns = [msgspec.structs.replace(each, store_title="v1.2345 #010101 font: 9px x;") for each in columns]
    drawn = plots.throughput(columns, 1), plots.latency(columns)
    assert all(plot is not None and "v1.2345 #010101 font: 9px x;" in plot.svg for plot in drawn)


def test_what_cannot_be_plotted_is_left_out() -> None:
    columns = comparison().columns
    empty = [msgspec.structs.replace(each, cells=()) for each in columns]
    assert (plots.throughput(empty, 1), plots.latency(empty), plots.throughput(columns, 7)) == (None, None, None)
    assert plots.timeline(verification(timeline=()), "run-1") is None
    page = html([Run("a", msgspec.structs.replace(comparison(), columns=empty)), Run("b", verification(timeline=()))])
    assert "<svg" not in page


def test_a_plot_says_what_it_leaves_out() -> None:
    (first, *_) = comparison().columns
    columns = [msgspec.structs.replace(first, subject=f"way-{number}") for number in range(7)]
    plot = plots.latency(columns)
    assert plot is not None
    assert plot.caption.endswith("by percentile. 5 of 7 ways of counting; the table has all.")


def test_a_long_timeline_is_drawn_in_wider_steps() -> None:
    moments = [Moment(second=number / 10, answered=3, errors=number % 2) for number in range(10_000)]
    random.Random(5).shuffle(moments)
    stepped = plots.stepped(moments)
    assert len(stepped) == 159
    assert (sum(each.answered for each in stepped), sum(each.errors for each in stepped)) == (30_000, 5_000)
    assert [each.second for each in stepped] == sorted(each.second for each in stepped)


def test_a_diagram_keeps_the_order_of_events() -> None:
    for seed in range(500):
        print(f"seed {seed}")
        check_order(random.Random(seed))


def check_order(generator: random.Random) -> None:
    operations = []
    for number in range(generator.randint(1, 12)):
        called = generator.choice((generator.randint(0, 50), generator.randint(0, 10**9)))
        answered = None if generator.random() < 0.2 else called + generator.choice((0, 1, generator.randint(0, 10**8)))
        operations.append(witness(number, generator.randint(0, 4), called, answered, value=number))
    found = Contradiction(kind=generator.choice(KINDS), counter="c", sentence="", operations=operations)
    diagram = laid_out(found)
    assert [lane.process for lane in diagram.lanes] == sorted({each.process for each in operations})
    bars = {bar.number: bar for bar in diagram.bars}
    for one, other in itertools.permutations(operations, 2):
        left, right = bars[one.number], bars[other.number]
        assert (one.called_ns < other.called_ns) == (left.left < right.left)
        if one.answered_ns is not None:
            assert (one.answered_ns < other.called_ns) == (left.right < right.left)
        if left.top == right.top:  # side by side: one ends before the other begins
            assert left.right < right.left or right.right < left.left
    assert all(diagram.left <= bar.left <= bar.right <= diagram.width for bar in diagram.bars)


def test_a_diagram_draws_no_more_than_can_be_seen() -> None:
    many = Contradiction(
        kind="wrong value",
        counter="c",
        sentence="",
        operations=[witness(number, number, number, number + 1) for number in range(100)],
    )
    assert (len(laid_out(many).bars), laid_out(many).omitted) == (40, 60)
    none = msgspec.structs.replace(many, operations=())
    assert laid_out(none).bars == []


def test_operations_in_words() -> None:
    said = {
        kind: [f"{wording.asked(each)} → {wording.answered(each)}" for each in contradiction(kind).operations]
        for kind in ("bound crossed", "false rejection", "stale read", "wrong value")
    }
    assert said == {
        "bound crossed": ["add 1, at most 10 → 11, before it 10, revision 11"],
        "false rejection": ["add 1, at most 10 → 4", "add 1, at most 10 → rejected at 4"],
        "stale read": ["add 1 → 8, revision 8", "read → 7, revision 7"],
        "wrong value": ["add 1 → no answer", "add 1 → 900", "delete → refused: it did not happen"],
    }


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (0.00391, "0.00391"),
        (0.0625, "0.0625"),
        (1, "1.00"),
        (9.814, "9.81"),
        (99.96, "100"),
        (1234567, "1,230,000"),
    ],
)
def test_figures_have_three_digits(number: float, shown: str) -> None:
    assert wording.figure(number) == shown


def test_durations_have_the_unit_that_fits() -> None:
    assert [wording.duration(each) for each in (0.5, 850, 1240, 2.1e6)] == ["0.500 µs", "850 µs", "1.24 ms", "2.10 s"]


def test_the_command_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [str(folder) for folder in written(tmp_path / "runs")]
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["report", *folders])
    assert (ran.exit_code, ran.output) == (0, "plusone-report.html\n")
    assert (tmp_path / "plusone-report.html").read_text(encoding="utf-8") == html(runs())


def test_the_command_takes_the_form_from_the_outputs_name(tmp_path: Path) -> None:
    folders = [str(folder) for folder in written(tmp_path / "runs")]
    target = tmp_path / "new" / "report.md"
    ran = CliRunner().invoke(app, ["report", *folders, "--output", str(target)])
    assert (ran.exit_code, ran.output.replace("\n", "")) == (0, str(target))
    assert target.read_text(encoding="utf-8") == markdown(runs())
    ran = CliRunner().invoke(app, ["report", *folders, "--format", "json"])
    assert ran.output == document(runs())
    ran = CliRunner().invoke(app, ["report", *folders, "--format", "markdown", "--output", "-"])
    assert ran.output == markdown(runs())
    ran = CliRunner().invoke(app, ["report", *folders, "--format", "markdown", "--output", str(tmp_path / "notes.txt")])
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == markdown(runs())


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    folder = str(written(tmp_path / "runs")[0])
    for arguments, said in (
        ([folder, "--format", "pdf"], "--format pdf: there are html, markdown, json"),
        ([str(tmp_path / "nowhere")], "nowhere: cannot be read"),
        ([folder, "--output", f"{folder}/result.json/x.html"], "x.html: cannot be written"),
        (
            [folder, "--output", "x.pdf"],
            "--output x.pdf: its name does not end in .html, .htm, .md, .json; end it so, or say --format",
        ),
        ([folder, "--output", "x"], "--output x: its name does not end in .html"),
    ):
        ran = CliRunner().invoke(app, ["report", *arguments])
        assert ran.exit_code == 2
        assert said in ran.output
    assert not Path("x.pdf").exists()
