"""What a Redis Cluster and its sentinels answer, before and after their addresses were led through proxies."""

from __future__ import annotations

import pytest

from plusone.lab.redis_addresses import Address, Values, of_node, of_sentinel

NODE = b"$40\r\n" + b"a" * 40 + b"\r\n"
ASKED = ("10.0.0.9", 7009)


def through(address: Address) -> Address:
    """The proxy of port 7001 is at 9001, and so on; that of any address but these is an error of the test."""
    host, port = address
    assert host in ("10.0.0.1", "10.0.0.9", "redis.example", "::1")
    return "127.0.0.1", port + 2000


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"+OK\r\n", b"+OK\r\n"),
        (b"-MOVED 3999 10.0.0.1:7001\r\n", b"-MOVED 3999 127.0.0.1:9001\r\n"),
        (b"-ASK 3999 redis.example:7001\r\n", b"-ASK 3999 127.0.0.1:9001\r\n"),
        (b"-MOVED 3999 :7002\r\n", b"-MOVED 3999 127.0.0.1:9002\r\n"),
        (b"-MOVED 3999 ::1:7002\r\n", b"-MOVED 3999 127.0.0.1:9002\r\n"),
        (b"-ERR 10.0.0.1:7001\r\n", b"-ERR 10.0.0.1:7001\r\n"),
        (
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$8\r\n10.0.0.1\r\n:7001\r\n%b*0\r\n" % NODE,
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:9001\r\n%b*0\r\n" % NODE,
        ),
        (
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$-1\r\n:7001\r\n%b*0\r\n" % NODE,
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:9001\r\n%b*0\r\n" % NODE,
        ),
        (
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n_\r\n:7001\r\n%b%%0\r\n" % NODE,
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:9001\r\n%b%%0\r\n" % NODE,
        ),
        (b"*3\r\n$7\r\napplied\r\n:7\r\n$1\r\nx\r\n", b"*3\r\n$7\r\napplied\r\n:7\r\n$1\r\nx\r\n"),
    ],
)
def test_what_a_node_says(said: bytes, told: bytes) -> None:
    assert of_node(ASKED, through)(said) == told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"*-1\r\n", b"*-1\r\n"),
        (b"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n7001\r\n", b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n"),
        (
            b"*1\r\n*6\r\n$4\r\nname\r\n$1\r\nx\r\n$2\r\nip\r\n$8\r\n10.0.0.1\r\n$4\r\nport\r\n$4\r\n8001\r\n",
            b"*1\r\n*6\r\n$4\r\nname\r\n$1\r\nx\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n10001\r\n",
        ),
    ],
)
def test_what_a_sentinel_says(said: bytes, told: bytes) -> None:
    assert of_sentinel(through)(said) == told


def test_an_answer_in_pieces_is_passed_on_when_it_is_whole() -> None:
    array = b"*2\r\n$4\r\na\r\nb\r\n%1\r\n+k\r\n:1\r\n"
    said = b"-MOVED 3999 10.0.0.1:7001\r\n" + array
    translate = of_node(ASKED, through)
    told = [translate(said[at : at + 1]) for at in range(len(said))]
    assert [piece for piece in told if piece] == [b"-MOVED 3999 127.0.0.1:9001\r\n", array]


@pytest.mark.parametrize(
    "value",
    [
        b"+OK\r\n",
        b"$0\r\n\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"*2\r\n*1\r\n:1\r\n$-1\r\n",
        b"*-1\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n",
        b"~1\r\n#t\r\n",
        b">2\r\n+message\r\n=7\r\ntxt:abc\r\n",
        b"|1\r\n+ttl\r\n:3600\r\n:1\r\n",
    ],
)
def test_where_a_value_ends(value: bytes) -> None:
    """Neither before its last byte, nor behind it."""
    for cut in range(len(value)):
        values = Values()
        assert values(value[:cut]) == []
        assert values(value[cut:] + value) == [value, value]
