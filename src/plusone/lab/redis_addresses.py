"""The addresses in what a Redis Cluster's nodes and sentinels answer, led through proxies.

A client of either is told where to go next: by `CLUSTER SLOTS`, by `MOVED` and `ASK`, by `SENTINEL
GET-MASTER-ADDR-BY-NAME`, `MASTERS`, `MASTER` and `REPLICAS`. Whoever stands between has to put his own address there,
or is left out of the rest. Both versions of the protocol are understood (https://redis.io/docs/latest/develop/reference/protocol-spec/).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from plusone.lab.links import Translate

Address: TypeAlias = tuple[str, int]
Through: TypeAlias = Callable[[Address], Address]
"""Where the proxy of a server is."""

_HEADED: Final = b"$!="
"""Types whose length in bytes stands in the first line."""
_MEMBERS: Final = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
"""Types whose length in values, or in pairs of them, stands in the first line."""
_NODE: Final = re.compile(
    rb"(?P<head>\*[34]\r\n)(?:\$\d+\r\n(?P<host>[^\r\n]*)|\$-1|_)\r\n:(?P<port>\d+)(?=\r\n\$40\r\n)"
)
"""In `CLUSTER SLOTS`: the address before a node's id. Without a host it is the one that was asked."""
_REDIRECTION: Final = re.compile(rb"(?P<head>-(?:MOVED|ASK) \d+ )(?P<host>[^ \r\n]*):(?P<port>\d+)(?=\r\n)")
_PRIMARY: Final = re.compile(rb"(?P<head>\*2\r\n)\$\d+\r\n(?P<host>[^\r\n]+)\r\n\$\d+\r\n(?P<port>\d+)\r\n")
_FIELDS: Final = re.compile(
    rb"(?P<head>\$2\r\nip\r\n)\$\d+\r\n(?P<host>[^\r\n]+)\r\n\$4\r\nport\r\n\$\d+\r\n(?P<port>\d+)\r\n"
)


class Values:
    """Cuts a stream into whole values of Redis's protocol."""

    def __init__(self) -> None:
        self._rest = b""

    def __call__(self, data: bytes) -> list[bytes]:
        self._rest += data
        found = []
        at = 0
        while (end := _end_of_value(self._rest, at)) is not None:
            found.append(self._rest[at:end])
            at = end
        self._rest = self._rest[at:]
        return found


def of_node(asked: Address, through: Through) -> Translate:
    """What rewrites the answers of a cluster's node on one connection; `asked` is that node."""
    values = Values()

    def of(match: re.Match[bytes]) -> Address:
        host, port = through(((match["host"] or b"").decode() or asked[0], int(match["port"])))
        return host, port

    def node(match: re.Match[bytes]) -> bytes:
        host, port = of(match)
        return b"%b%b:%d" % (match["head"], _string(host), port)

    def redirection(match: re.Match[bytes]) -> bytes:
        host, port = of(match)
        return b"%b%b:%d" % (match["head"], host.encode(), port)

    def translate(data: bytes) -> bytes:
        return b"".join(_REDIRECTION.sub(redirection, _NODE.sub(node, value)) for value in values(data))

    return translate


def of_sentinel(through: Through) -> Translate:
    """What rewrites the answers of a sentinel on one connection."""
    values = Values()

    def pair(match: re.Match[bytes]) -> bytes:
        host, port = through((match["host"].decode(), int(match["port"])))
        return match["head"] + _string(host) + _string(str(port))

    def fields(match: re.Match[bytes]) -> bytes:
        host, port = through((match["host"].decode(), int(match["port"])))
        return match["head"] + _string(host) + _string("port") + _string(str(port))

    def translate(data: bytes) -> bytes:
        return b"".join(_FIELDS.sub(fields, _PRIMARY.sub(pair, value)) for value in values(data))

    return translate


def _string(text: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text.encode()), text.encode())


def _end_of_value(data: bytes, at: int) -> int | None:
    """Where the value that begins there ends; None if its end is yet to come."""
    values = 1
    while values:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        kind, length = data[at : at + 1], data[at + 1 : end]
        values -= 1
        at = end + 2
        if kind in _HEADED and length != b"-1":
            at += int(length) + 2
        elif kind in _MEMBERS and length != b"-1":
            # An attribute is no value by itself: the one that it belongs to follows.
            values += int(length) * _MEMBERS[kind] + (kind == b"|")
    return at if at <= len(data) else None
