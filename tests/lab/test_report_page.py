"""The report in a browser: whole in itself, readable in light and dark, on a phone, and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from plusone.lab.report.page import html
from tests.lab.browser import Browser, browser, skip_without_chromium
from tests.lab.report_samples import runs

skip_without_chromium()

CHECKS: Final = (Path(__file__).parent / "report_checks.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(html(runs()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def test_it_asks_for_nothing_and_complains_of_nothing(window: Browser, page: Path) -> None:
    window.requests()
    window.open(page)
    window.run(f"{CHECKS} unfold();")
    asked = [url for url in window.requests() if not url.startswith("data:")]
    assert (asked, window.errors()) == ([page.as_uri()], [])
    assert window.run("return performance.getEntriesByType('resource').length") == 0


def test_what_a_run_says_is_no_code(window: Browser, page: Path) -> None:
    window.open(page)
    assert window.run("return document.scripts.length") == 1
    assert window.run("return document.body.textContent.includes('<script>alert(1)</script>&')") is True
    # The policy names the page's own script by its hash; no other runs.
    window.run("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)")
    assert window.run("return window.ran") is None
    (refusal,) = window.errors()
    assert "Content Security Policy" in refusal


@pytest.mark.parametrize("width", [320, 360, 1200])
def test_nothing_scrolls_sideways_but_what_says_so(window: Browser, page: Path, width: int) -> None:
    window.open(page, width=width)
    window.run(f"{CHECKS} unfold();")
    assert window.run("return document.documentElement.scrollWidth") <= width
    assert window.run(f"{CHECKS} return beyond({width})") == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(window: Browser, page: Path, dark: bool) -> None:
    window.open(page, dark=dark)
    found: list[tuple[float, str]] = window.run(f"{CHECKS} unfold(); return contrasts()")
    assert len(found) > 500
    assert [each for each in found if each[0] < 4.5] == []
    ground = window.run("return getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(21, 24, 27)" if dark else "rgb(253, 253, 252)")


def test_the_headings_are_an_outline(window: Browser, page: Path) -> None:
    window.open(page)
    headings = "return [...document.querySelectorAll('{}')].map((each) => [+each.tagName[1], each.textContent.trim()])"
    assert [text for _, text in window.run(headings.format("h1, h2, h3"))] == [
        "Counting under faults",
        "Verdict",
        "Datastores and ways of counting",
        "Speed and cost",
        "Latency",
        "Runs",
        "MariaDB 10.11, every transaction flushed",
        "Redis 7.0.15, every write flushed",
        "How to read it, and how to run it again",
        "Verdicts",
        "Contradictions",
        "Measurements",
    ]
    levels = [level for level, _ in window.run(headings.format("h1, h2, h3, h4, h5"))]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    landmarks = "return ['main', 'header', 'nav'].map((name) => document.querySelectorAll(name).length)"
    assert window.run(landmarks) == [1, 1, 1]


def test_every_table_and_drawing_has_a_name(window: Browser, page: Path) -> None:
    window.open(page)
    assert window.run(f"{CHECKS} return unnamed()") == []
    assert window.run(f"{CHECKS} return idsInUseTwice()") == []
    assert window.run("return [...document.querySelectorAll('table')].every((each) => each.tHead)") is True
    drawn = "return [...document.querySelectorAll('svg.plot')].map((each) => each.dataset.plot)"
    assert window.run(drawn) == [
        *("throughput-1", "throughput-1000", "latency-redis", "latency-mariadb"),
        *("run-1", "run-2", "run-4", "run-5", "run-6", "run-7", "run-8"),
    ]


def test_a_diagram_has_a_lane_for_each_process(window: Browser, page: Path) -> None:
    window.open(page)
    assert window.run(f"{CHECKS} return lanes()") == [
        *([0, 3], [0]),  # on MariaDB, plusone: duplicate value; the upsert: phantom increment
        [0, 1],  # the service: lost after acknowledgement
        *([0, 1, 2], [0, 3], [0], [5], [1, 2], [0, 1], [0, 1], [0, 1], [0, 1]),  # one of each kind
        *([0], [0, 1]),  # redis-incrby: phantom increment, order reversed
    ]


def test_words_in_a_diagram_cover_no_others(window: Browser, page: Path) -> None:
    window.open(page)
    assert window.run(f"{CHECKS} unfold(); return covered()") == []


def test_a_verdict_leads_to_its_evidence_and_opens_it(window: Browser, page: Path) -> None:
    window.open(page)
    assert window.run("return document.querySelector('#run-5').open") is False
    opened = """addEventListener("hashchange", () => arguments[0](document.querySelector("#run-5").open));
        document.querySelector("a[href='#run-5']").click();"""
    assert window.wait(opened) is True


def test_tables_can_be_sorted(window: Browser, page: Path) -> None:
    window.open(page)
    first = "return document.querySelector('table.sortable tbody').rows[0].cells[2].textContent"
    assert window.run(first) == "144,000"
    window.run("document.querySelectorAll('table.sortable th button')[2].focus()")
    window.press("Enter")
    assert window.run(first) == "4,800"
    assert window.run("return document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    window.press("Enter")
    assert window.run(first) == "144,000"


def test_it_says_everything_without_scripts(window: Browser, page: Path) -> None:
    window.open(page, scripts=False)
    assert window.run("return document.querySelectorAll('th button').length") == 0
    assert window.run("return document.querySelectorAll('table.sortable tbody tr').length") == 6
    assert window.run("return document.querySelectorAll('details.run').length") == 8
