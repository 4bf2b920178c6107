"""The report for machines: one JSON document with the verdicts and everything that they are made from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from plusone.lab.report.reading import Run
from plusone.lab.report.summary import Standing, summarized
from plusone.lab.results import FORMAT, Comparison, Verification


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification comes to."""

    run: str
    store: str
    subject: str
    standing: Standing
    held: bool
    remark: str


class Document(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """The document."""

    format: int = FORMAT
    head: list[str]
    verdicts: list[Verdict]
    verifications: list[Verification]
    comparisons: list[Comparison]


def document(runs: Sequence[Run]) -> str:
    """The report as JSON, of the shape of `Document`."""
    summary = summarized(runs)
    verdicts = [
        Verdict(
            run=each.run,
            store=each.result.store,
            subject=each.result.subject,
            standing=each.standing,
            held=each.result.held,
            remark=each.remark,
        )
        for each in summary.checked
    ]
    whole = Document(
        head=[line.text for line in summary.lines],
        verdicts=verdicts,
        verifications=[each.result for each in summary.checked],
        comparisons=summary.comparisons,
    )
    return msgspec.json.format(msgspec.json.encode(whole), indent=1).decode() + "\n"
