"""Histories in files: JSON Lines, compressed if the name ends in `.gz`."""

from __future__ import annotations

import gzip
import io
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self, cast

import msgspec

from plusone.errors import InvalidRequest
from plusone.lab.history.events import (
    FORMAT,
    KINDS,
    Answer,
    AnswerResult,
    Call,
    Event,
    Header,
    Mark,
    OperationKind,
    Phase,
    check_integer,
    problem,
)
from plusone.lab.history.operations import Collector, History

_LINE_BYTES_MAX: Final = 1 << 20
_BUFFER_BYTES: Final = 1 << 16
_COMPRESSION: Final = 3
"""More costs the event loop that writes more than the disk is worth."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Header | Call | Answer | Mark, strict=True).decode


class HistoryWriter:
    """Writes a history to `path`, compressed if its name ends in `.gz`. For one thread, that of the event loop.

    With `append` it goes on where the history at `path` ended: the header stays, numbers and times continue, and a
    line that was cut off is removed. Raises `InvalidRequest` where `path` holds no history.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header | None = None, *, append: bool = False) -> None:
        self.path: Final = Path(path)
        self._number = 0
        begin_ns = 0
        if append:
            self._number, begin_ns = _mend(self.path)
        elif header is None:
            raise InvalidRequest("header", "is missing: a new history begins with one")
        # What was written last time happened before what is written now, however long ago that was.
        self._epoch_ns = time.monotonic_ns() - begin_ns
        self._waiting: dict[int, OperationKind] = {}
        self._file = _open_for_writing(self.path, append=append)
        if header is not None and not append:
            self._file.write(_encode(header) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def now_ns(self) -> int:
        """The time on this history's clock."""
        return time.monotonic_ns() - self._epoch_ns

    def call(
        self,
        process: int,
        counter: str,
        kind: OperationKind,
        amount: int = 0,
        *,
        ceiling: int | None = None,
        floor: int | None = None,
        token: str | None = None,
    ) -> int:
        """A caller is about to ask; write it before asking. Returns the number that its answer goes by."""
        if kind not in KINDS:
            raise InvalidRequest("kind", f"must be one of {', '.join(KINDS)}")
        for field, number in (("amount", amount), ("ceiling", ceiling), ("floor", floor)):
            check_integer(field, number)
        self._number += 1
        call = Call(
            number=self._number,
            at_ns=self.now_ns,
            process=process,
            counter=counter,
            kind=kind,
            amount=amount,
            ceiling=ceiling,
            floor=floor,
            token=token,
        )
        self._file.write(_encode(call) + b"\n")
        self._waiting[self._number] = kind
        return self._number

    def answer(
        self,
        number: int,
        result: AnswerResult,
        *,
        value: int | None = None,
        previous: int | None = None,
        revision: int | None = None,
    ) -> None:
        """The call `number` was answered. Raises `InvalidRequest` for a second answer, or one that makes no sense."""
        at_ns = self.now_ns
        kind = self._waiting.get(number)
        if kind is None:
            raise InvalidRequest("number", f"is {number}, which no call that waits for its answer has")
        answer = Answer(number=number, at_ns=at_ns, result=result, value=value, previous=previous, revision=revision)
        if wrong := problem(kind, answer):
            raise InvalidRequest("answer", wrong)
        del self._waiting[number]
        self._file.write(_encode(answer) + b"\n")

    def mark(self, fault: str, phase: Phase, detail: str = "") -> None:
        """A fault began, ended, or hit something."""
        self._file.write(_encode(Mark(at_ns=self.now_ns, fault=fault, phase=phase, detail=detail)) + b"\n")

    def flush(self) -> None:
        """Hand what was written so far to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left. Calls that are not answered yet stay unknown."""
        self._file.close()


def read_history(path: str | os.PathLike[str]) -> History:
    """The history at `path`. Raises `InvalidRequest`, with the number of the line, where it is corrupt.

    A last line without its end, and a compressed file without its end, are what a process that died leaves: `cut_off`
    says so, and everything before counts.
    """
    lines = _Lines(Path(path))
    collector: Collector | None = None
    for event in lines:
        try:
            if isinstance(event, Header):
                if collector is not None:
                    raise InvalidRequest("header", "comes a second time")
                if event.format != FORMAT:
                    raise InvalidRequest("format", f"is {event.format}; this version of plusone reads format {FORMAT}")
                collector = Collector(event)
            elif collector is None:
                raise InvalidRequest("header", "is missing: a history begins with one")
            else:
                collector.add(event)
        except InvalidRequest as error:
            raise lines.error(str(error)) from None
    if collector is None:
        raise lines.error("is empty: a history begins with a header")
    return collector.history(lines.cut_off)


class _Lines:
    """The events of a file, one line after the other; afterwards, how much of it was good."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.good_bytes = 0
        """Of the text, without compression: what ends with the last good line."""
        self.cut_off = ""

    def __iter__(self) -> Iterator[Header | Event]:
        with _open_for_reading(self.path) as file:
            while line := self._next(file):
                self.number += 1
                if not line.endswith(b"\n"):
                    if len(line) > _LINE_BYTES_MAX:
                        raise self.error(f"is longer than {_LINE_BYTES_MAX} bytes")
                    self.cut_off = f"line {self.number} was cut off, after {len(line)} bytes"
                    return
                try:
                    event = _decode(line)
                except msgspec.MsgspecError as error:
                    raise self.error(str(error)) from None
                yield event
                self.good_bytes += len(line)

    def error(self, problem: str) -> InvalidRequest:
        return InvalidRequest("history", f"{self.path} is corrupt: line {self.number}: {problem}")

    def _next(self, file: BinaryIO) -> bytes:
        try:
            return file.readline(_LINE_BYTES_MAX + 1)
        except EOFError:
            self.cut_off = f"the compressed file ends early, after line {self.number}"
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self.error(f"after it the file cannot be decompressed: {error}") from None
        return b""


def _mend(path: Path) -> tuple[int, int]:
    """Cut off what is not whole at the end; returns the last call's number and the last time."""
    lines = _Lines(path)
    number = at_ns = 0
    for event in lines:
        if isinstance(event, Header):
            continue
        at_ns = event.at_ns
        if isinstance(event, Call):
            number = event.number
    if not lines.good_bytes:
        raise lines.error("is empty: a history begins with a header")
    if not lines.cut_off:
        return number, at_ns
    if path.suffix != ".gz":
        os.truncate(path, lines.good_bytes)
        return number, at_ns
    # Nothing could be read behind a compressed member that lacks its end: what is good of it is written anew.
    beside = path.with_name(f"mending-{path.name}")
    with _open_for_reading(path) as old, _open_for_writing(beside, append=False) as new:
        left = lines.good_bytes
        while left:
            piece = old.readline(min(left, _LINE_BYTES_MAX))
            new.write(piece)
            left -= len(piece)
    beside.replace(path)
    return number, at_ns


def _open_for_reading(path: Path) -> BinaryIO:
    try:
        if path.suffix == ".gz":
            return cast("BinaryIO", gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise InvalidRequest("history", f"{path} cannot be read: {error.strerror}") from None


def _open_for_writing(path: Path, *, append: bool) -> BinaryIO:
    mode: Literal["ab", "wb"] = "ab" if append else "wb"
    try:
        if path.suffix != ".gz":
            return path.open(mode, buffering=_BUFFER_BYTES)
        compressed = cast("io.RawIOBase", gzip.open(path, mode, _COMPRESSION))  # noqa: SIM115 - closed by what wraps it
        return cast("BinaryIO", io.BufferedWriter(compressed, _BUFFER_BYTES))
    except OSError as error:
        raise InvalidRequest("history", f"{path} cannot be written: {error.strerror}") from None
