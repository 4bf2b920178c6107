"""Histories in files: what is written is read, what is cut off is said, what is corrupt is refused by its line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from plusone.errors import InvalidRequest
from plusone.lab.history import NEVER, Answer, Call, Header, HistoryWriter, Mark, history_of, read_history

HEADER: Final = Header(
    subject="plusone",
    store="redis://127.0.0.1:6379/0",
    seed=7,
    settings={"seconds": 60.0, "faults": "kill", "ceiling": None},
    versions={"plusone": "0.1.0"},
    started="2026-11-21T12:00:00Z",
)
LINE_OF_HEADER: Final = (
    b'{"type":"history","format":1,"subject":"plusone","store":"redis://127.0.0.1:6379/0","seed":7,'
    b'"settings":{"seconds":60.0,"faults":"kill","ceiling":null},"versions":{"plusone":"0.1.0"},'
    b'"started":"2026-11-21T12:00:00Z"}\n'
)
CALL: Final = b'{"type":"call","number":1,"at_ns":5,"process":0,"counter":"c","kind":"add","amount":1}\n'
ANSWER: Final = b'{"type":"answer","number":1,"at_ns":6,"result":"applied","value":1}\n'

BOTH: Final = pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.gz"])


@BOTH
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with HistoryWriter(path, HEADER) as writer:
        first = writer.call(3, "votes", "add", 2, ceiling=10, floor=-1, token="order-7781")
        second = writer.call(4, "votes", "read")
        writer.answer(second, "read", value=0, revision=0)
        writer.mark("kill", "begin", "SIGKILL")
        writer.answer(first, "applied", value=2, previous=0, revision=1)
        third = writer.call(3, "seats", "add", 1)
        writer.answer(third, "refused")
        writer.call(3, "seats", "set", 5)

    history = read_history(path)

    assert history.header == HEADER
    assert (history.operations, history.cut_off) == (4, "")
    assert [(mark.fault, mark.phase, mark.detail) for mark in history.marks] == [("kill", "begin", "SIGKILL")]
    votes, seats = history.counters["votes"], history.counters["seats"]
    witness = votes.witness(0)
    assert (witness.number, witness.process, witness.kind, witness.amount) == (1, 3, "add", 2)
    assert (witness.ceiling, witness.floor, witness.result) == (10, -1, "applied")
    assert (witness.value, witness.previous, witness.revision) == (2, 0, 1)
    assert votes.tokens == {0: "order-7781"}
    assert (votes.witness(1).kind, votes.witness(1).ceiling, votes.witness(1).value) == ("read", None, 0)
    assert votes.called_ns[0] < votes.called_ns[1] < votes.answered_ns[1] < votes.answered_ns[0]
    assert (seats.witness(0).result, seats.witness(1).result) == ("refused", "unknown")
    assert (seats.answered_ns[1], seats.witness(1).answered_ns) == (NEVER, None)


def test_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryWriter(path, HEADER) as writer:
        writer.answer(writer.call(0, "c", "add", 1), "unknown")

    header, call, answer = path.read_bytes().splitlines(keepends=True)
    assert header == LINE_OF_HEADER
    assert call.startswith(b'{"type":"call","number":1,"at_ns":')
    assert call.endswith(b',"process":0,"counter":"c","kind":"add","amount":1}\n')
    assert answer.endswith(b',"result":"unknown"}\n')


@BOTH
def test_appending_continues_numbers_and_times(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with HistoryWriter(path, HEADER) as writer:
        writer.answer(writer.call(0, "c", "add", 1), "applied", value=1)
        writer.call(0, "c", "add", 1)
    with HistoryWriter(path, append=True) as writer:
        assert writer.call(0, "c", "read") == 3
        writer.answer(3, "read", value=2)

    history = read_history(path)
    operations = history.counters["c"]
    assert list(operations.number) == [1, 2, 3]
    assert operations.called_ns[2] >= operations.called_ns[1]
    assert operations.witness(1).result == "unknown"
    assert history.header == HEADER


@BOTH
def test_what_is_cut_off_is_said_and_the_rest_counts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with HistoryWriter(path, HEADER) as writer:
        for value in range(1, 2_001):
            writer.answer(writer.call(0, "c", "add", 1), "applied", value=value)
    os.truncate(path, path.stat().st_size - 30)

    history = read_history(path)
    assert "cut off" in history.cut_off or "ends early" in history.cut_off
    whole = len(history.counters["c"])
    assert whole > 0

    with HistoryWriter(path, append=True) as writer:
        number = writer.call(1, "c", "read")
        writer.answer(number, "read", value=0)
    mended = read_history(path)
    assert (mended.cut_off, number) == ("", whole + 1)
    assert mended.operations == whole + 1
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_words_for_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(LINE_OF_HEADER + CALL + ANSWER[:20])

    history = read_history(path)
    assert history.cut_off == "line 3 was cut off, after 20 bytes"
    assert history.counters["c"].witness(0).result == "unknown"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "line 0: is empty: a history begins with a header"),
        (CALL, "line 1: header is missing: a history begins with one"),
        (LINE_OF_HEADER + LINE_OF_HEADER, "line 2: header comes a second time"),
        (LINE_OF_HEADER.replace(b'"format":1', b'"format":2'), "line 1: format is 2; this version of plusone reads"),
        (LINE_OF_HEADER + b"nonsense\n" + CALL, "line 2: JSON is malformed"),
        (LINE_OF_HEADER + CALL.replace(b'"add"', b'"multiply"'), "line 2: Invalid enum value 'multiply' - at `$.kind`"),
        (LINE_OF_HEADER + CALL + CALL, "line 3: number is 1, but 1 was given away already"),
        (LINE_OF_HEADER + ANSWER, "line 2: number is 1, which no call that waits for its answer has"),
        (LINE_OF_HEADER + CALL + ANSWER + ANSWER, "line 4: number is 1, which no call that waits for its answer has"),
        (
            LINE_OF_HEADER + CALL + ANSWER.replace(b'"at_ns":6', b'"at_ns":4'),
            "line 3: at_ns is 4, before the event that precedes it at 5",
        ),
        (
            LINE_OF_HEADER + CALL + ANSWER.replace(b'"applied"', b'"read"'),
            "line 3: answer to a call of kind add cannot be 'read'",
        ),
        (
            LINE_OF_HEADER + CALL + ANSWER.replace(b'"value":1', b'"value":9223372036854775808'),
            "line 3: answer tells a value of 9223372036854775808, which is beyond 64 bits",
        ),
        (
            LINE_OF_HEADER + CALL.replace(b'"amount":1', b'"amount":9223372036854775808'),
            "line 2: amount is beyond 64 bits: it must lie in -2^63 to 2^63 - 1",
        ),
        (LINE_OF_HEADER + b'"' + b"x" * (1 << 20), "line 2: is longer than 1048576 bytes"),
    ],
)
def test_what_is_corrupt_is_refused_by_its_line(tmp_path: Path, text: bytes, problem: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(text)

    with pytest.raises(InvalidRequest) as error:
        read_history(path)
    assert str(error.value).startswith(f"history {path} is corrupt: ")
    assert problem in str(error.value)


def test_what_is_no_file_and_what_is_not_compressed(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read: No such file or directory"):
        read_history(tmp_path / "nothing.jsonl")
    (tmp_path / "plain.jsonl.gz").write_bytes(LINE_OF_HEADER)
    with pytest.raises(InvalidRequest, match="line 0: after it the file cannot be decompressed: Not a gzipped file"):
        read_history(tmp_path / "plain.jsonl.gz")
    with pytest.raises(InvalidRequest, match="cannot be written: No such file or directory"):
        HistoryWriter(tmp_path / "nowhere" / "history.jsonl", HEADER)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        HistoryWriter(tmp_path / "nothing.jsonl", append=True)
    with pytest.raises(InvalidRequest, match="header is missing: a new history begins with one"):
        HistoryWriter(tmp_path / "new.jsonl")


def test_a_writer_takes_no_answer_that_makes_no_sense(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path / "history.jsonl", HEADER) as writer:
        number = writer.call(0, "c", "add", 1)
        with pytest.raises(InvalidRequest, match="number is 2, which no call"):
            writer.answer(2, "applied")
        with pytest.raises(InvalidRequest, match="to a call of kind add cannot be 'read'"):
            writer.answer(number, "read", value=1)
        with pytest.raises(InvalidRequest, match="tells a revision of -1"):
            writer.answer(number, "applied", revision=-1)
        with pytest.raises(InvalidRequest, match="amount is beyond 64 bits"):
            writer.call(0, "c", "add", 2**63)
        writer.answer(number, "applied", value=1)
        with pytest.raises(InvalidRequest, match="number is 1, which no call"):
            writer.answer(number, "applied", value=1)

    assert read_history(tmp_path / "history.jsonl").operations == 1


def test_a_history_without_a_file() -> None:
    history = history_of(
        [
            Call(number=1, at_ns=1, process=0, counter="c", kind="delete", amount=5),
            Mark(at_ns=2, fault="pause", phase="hit"),
            Answer(number=1, at_ns=3, result="applied"),
        ]
    )

    # What a delete writes is 0, whatever else its call says.
    assert (history.operations, len(history.marks), history.counters["c"].witness(0).amount) == (1, 1, 0)
