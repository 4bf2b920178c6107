"""Records as they were last seen, so that the next step on a counter is one round trip. A wrong guess costs one more.

What is remembered is never answered from: it only says what a write is to be conditional on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """The records used lately. When the younger of two generations is full, the elder is forgotten as a whole.

    So many records, and so many bytes by `size_of`, bound each generation.
    """

    def __init__(self, records_max: int, bytes_max: int, size_of: Callable[[T], int]) -> None:
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._size_of = size_of
        self._younger: dict[str, T] = {}
        self._elder: dict[str, T] = {}
        self._bytes = 0

    def get(self, key: str) -> T | None:
        record = self._younger.get(key)
        return record if record is not None else self._elder.get(key)

    def put(self, key: str, record: T) -> None:
        before = self._younger.pop(key, None)
        if before is not None:
            self._bytes -= self._size_of(before)
        size = self._size_of(record)
        if self._bytes + size > self._bytes_max or len(self._younger) >= self._records_max:
            self._younger, self._elder = {}, self._younger
            self._bytes = 0
        self._younger[key] = record
        self._bytes += size

    def forget(self, key: str) -> T | None:
        """Forget a record; what it was."""
        elder = self._elder.pop(key, None)
        younger = self._younger.pop(key, None)
        if younger is None:
            return elder
        self._bytes -= self._size_of(younger)
        return younger

    def clear(self) -> None:
        self._younger, self._elder = {}, {}
        self._bytes = 0
