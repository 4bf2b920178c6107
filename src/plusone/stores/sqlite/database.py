"""The open file: one thread that writes, a few that read, and the calls that wait for the one that writes."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

from plusone.errors import PlusoneError
from plusone.stores.protocol import Answer, GuardedAdd
from plusone.stores.sqlite.connection import connect_reader
from plusone.stores.sqlite.errors import translate
from plusone.stores.sqlite.writer import Writer

READERS: Final = 2
Answers: TypeAlias = list[Answer | PlusoneError]


class Database:
    """Belongs to the process that made it: SQLite forbids that a child uses, or even closes, what it inherited."""

    def __init__(self, path: Path, writer: Writer, busy_seconds: float) -> None:
        self.pid = os.getpid()
        self._path = path
        self._writer = writer
        self._busy_seconds = busy_seconds
        self._writing = ThreadPoolExecutor(1, "plusone-sqlite-writer")
        self._reading = ThreadPoolExecutor(READERS, "plusone-sqlite-reader")
        self._calls: deque[tuple[Sequence[GuardedAdd], Future[Answers]]] = deque()
        self._idle_readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    async def apply(self, batch: Sequence[GuardedAdd]) -> Answers:
        """Commit the batch with all that wait. If cancelled before that began, it is left out; else it is committed."""
        answers: Future[Answers] = Future()
        self._calls.append((batch, answers))
        # One job per call: it finds nothing to do if the job of an earlier call took this one along.
        self._writing.submit(self._commit_waiting)
        return await asyncio.wrap_future(answers)

    async def check(self) -> None:
        await asyncio.wrap_future(self._writing.submit(self._writer.check))

    async def read(self, sql: str, parameters: Sequence[str] | Mapping[str, Any]) -> str:
        """The one value that a query answers. It sees all that was committed before."""
        return await asyncio.wrap_future(self._reading.submit(self._read, sql, parameters))

    async def close(self) -> None:
        """Commit the calls that wait, then close the connections."""
        await asyncio.wrap_future(self._writing.submit(self._close))
        self._writing.shutdown()

    def _close(self) -> None:
        self._commit_waiting()
        self._reading.shutdown()
        while not self._idle_readers.empty():
            self._idle_readers.get_nowait().close()
        self._writer.close()  # the last to close, for that empties the write-ahead log

    def _commit_waiting(self) -> None:
        calls = []
        while self._calls:
            call = self._calls.popleft()
            if call[1].set_running_or_notify_cancel():
                calls.append(call)
        if not calls:
            return
        try:
            answers = self._writer.apply([request for batch, _ in calls for request in batch])
        except PlusoneError as error:
            for _, future in calls:
                future.set_exception(error.again())
            return
        start = 0
        for batch, future in calls:
            future.set_result(answers[start : start + len(batch)])
            start += len(batch)
        self._writer.sweep_if_due()

    def _read(self, sql: str, parameters: Sequence[str] | Mapping[str, Any]) -> str:
        try:
            connection = self._idle_readers.get_nowait()
        except queue.Empty:
            connection = None
        try:
            if connection is None:
                connection = connect_reader(self._path, self._busy_seconds)
            [text] = connection.execute(sql, parameters).fetchone()
        except Exception as error:
            if connection is not None:
                connection.close()
            raise translate(error, self._path) from error
        self._idle_readers.put(connection)
        return str(text)
