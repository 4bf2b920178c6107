"""Items as they were last seen, so that the next step on a counter is one round trip. A wrong guess costs one more."""

from __future__ import annotations

from typing import Final

ITEMS_MAX: Final = 8_192
BYTES_MAX: Final = 4 * 1024 * 1024
"""Both bound each of two generations."""


class Recent:
    """The items used lately. When the younger of two generations is full, the elder is forgotten as a whole."""

    def __init__(self) -> None:
        self._younger: dict[str, bytes] = {}
        self._elder: dict[str, bytes] = {}
        self._bytes = 0

    def get(self, key: str) -> bytes | None:
        item = self._younger.get(key)
        return item if item is not None else self._elder.get(key)

    def put(self, key: str, item: bytes) -> None:
        if self._bytes + len(item) > BYTES_MAX or len(self._younger) >= ITEMS_MAX:
            self._younger, self._elder = {}, self._younger
            self._bytes = 0
        before = self._younger.get(key)
        self._bytes += len(item) - (0 if before is None else len(before))
        self._younger[key] = item

    def forget(self, key: str) -> None:
        before = self._younger.pop(key, None)
        if before is not None:
            self._bytes -= len(before)
        self._elder.pop(key, None)
