"""What of the etcd store needs no server: settings, errors, records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

pytest.importorskip("aetcd")

import grpc
from aetcd import rpc
from grpc import aio

from plusone.errors import ConfigurationError, CorruptRecord, OutcomeUnknown, StoreRefused, StoreUnavailable
from plusone.stores.etcd import errors, records
from plusone.stores.etcd.settings import OPTIONS, Settings
from plusone.stores.protocol import TokenRecord
from plusone.stores.record import Row
from plusone.stores.registry import StoreURL
from plusone.types import MAX, MIN

_RPCTYPES = """
key is not provided|key not found|value is provided|lease is provided|ttl is 0|too many operations in txn request
duplicate key given in txn request|mvcc: required revision has been compacted
mvcc: required revision is a future revision|mvcc: database space exceeded|requested lease not found
lease already exists|too large lease TTL|watch canceled|member ID already exist|Peer URLs already exists
re-configuration failed due to not enough started members|given member URLs are invalid|member not found
can only promote a learner member|can only promote a learner member which is in sync with leader
too many learner members in cluster|request is too large|too many requests|root user does not exist
root user does not have root role|user name already exists|user name is empty|user name not found
role name already exists|role name not found|role name is empty
authentication failed, invalid user ID or password|permission denied|role is not granted to the user
permission is not granted to the role|authentication is not enabled|invalid auth token|invalid auth management
revision of auth store is old|no leader|not leader|leader changed|not capable|server stopped|request timed out
request timed out, possibly due to previous leader failure|request timed out, possibly due to connection lost
request timed out, waiting for the applied index took too long|unhealthy cluster|corrupt cluster
rpc not supported for learner|bad leader transferee|cluster version not found during downgrade
wrong downgrade target version format|invalid downgrade target version|cluster has a downgrade job in progress
no inflight downgrade job
"""
# Of requests that we do not send: old revisions, watches, members, users, roles, downgrades, leases named by us.
_NEVER = """
mvcc: required revision has been compacted|mvcc: required revision is a future revision|ttl is 0|lease already exists
too large lease TTL|watch canceled|member ID already exist|Peer URLs already exists
re-configuration failed due to not enough started members|given member URLs are invalid|member not found
can only promote a learner member|can only promote a learner member which is in sync with leader
too many learner members in cluster|root user does not exist|root user does not have root role
user name already exists|role name already exists|role name not found|role name is empty
role is not granted to the user|permission is not granted to the role|invalid auth management|not leader
unhealthy cluster|bad leader transferee|cluster version not found during downgrade
wrong downgrade target version format|invalid downgrade target version|cluster has a downgrade job in progress
no inflight downgrade job
"""


def texts(lines: str) -> set[str]:
    return {f"etcdserver: {text}" for line in lines.strip().split("\n") for text in line.split("|")}


SAID_BY_ETCD = texts(_RPCTYPES)
"""All that rpctypes/error.go of etcd 3.4 to 3.6 knows."""
NEVER_SAID_TO_US = texts(_NEVER)


def failure(code: grpc.StatusCode, details: str) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details)


def test_everything_that_etcd_says_has_a_place_in_the_table() -> None:
    assert set(errors.BY_TEXT) | NEVER_SAID_TO_US == SAID_BY_ETCD
    assert not set(errors.BY_TEXT) & NEVER_SAID_TO_US
    assert set(errors.ADVICE) <= set(errors.BY_TEXT)


def test_every_code_of_grpc_has_a_place_in_the_table() -> None:
    assert set(errors.BY_CODE) == set(grpc.StatusCode)
    definite = {code for code, verdict in errors.BY_CODE.items() if verdict is not OutcomeUnknown}
    assert definite == {grpc.StatusCode.UNIMPLEMENTED}


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_text_that_is_not_known_is_ambiguous(code: grpc.StatusCode) -> None:
    """A broken connection is `UNAVAILABLE` too, whatever had been sent by then."""
    translated = errors.translate(failure(code, "Socket closed"))
    expected = StoreRefused if code is grpc.StatusCode.UNIMPLEMENTED else OutcomeUnknown
    assert type(translated) is expected
    assert str(translated) == "etcd: Socket closed"


@pytest.mark.parametrize(
    ("details", "code", "expected", "message"),
    [
        (
            "etcdserver: permission denied",
            grpc.StatusCode.PERMISSION_DENIED,
            StoreRefused,
            "etcd: permission denied; grant the user's role readwrite on the prefix of the store URL",
        ),
        ("etcdserver: no leader", grpc.StatusCode.UNAVAILABLE, StoreUnavailable, "etcd: no leader"),
        ("etcdserver: request timed out", grpc.StatusCode.UNAVAILABLE, OutcomeUnknown, "etcd: request timed out"),
        (
            "etcdserver: mvcc: database space exceeded",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            OutcomeUnknown,
            "etcd: mvcc: database space exceeded; compact and defragment, or raise --quota-backend-bytes; then etcdctl "
            "alarm disarm",
        ),
        (None, grpc.StatusCode.UNKNOWN, OutcomeUnknown, "etcd: UNKNOWN"),
    ],
)
def test_etcds_own_words_decide(details: str, code: grpc.StatusCode, expected: type, message: str) -> None:
    translated = errors.translate(failure(code, details))
    assert (type(translated), str(translated)) == (expected, message)


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_failure_to_connect_is_definite(code: grpc.StatusCode) -> None:
    assert errors.while_connecting(failure(code, "whatever"), "a:2379").applied == "no"


def test_a_url_is_taken_apart() -> None:
    settings = settings_of("etcd://us%40er:pass%2Fword@a:1,b,[::1]:3?prefix=x/&connect_timeout=5&connections=2")
    assert settings.endpoints == ["a:1", "b:2379", "[::1]:3"]
    assert (settings.username, settings.password) == ("us@er", "pass/word")
    assert (settings.prefix, settings.connect_timeout_ms, settings.connections) == (b"x/", 5, 2)
    assert (settings_of("etcd://a").prefix, settings_of("etcd://a/").tls) == (b"plusone/", False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("etcd://", "etcd: the store URL names no host"),
        ("etcd://a,a:2379", "etcd: a host stands in the store URL twice"),
        ("etcd://a/b", "etcd: the store URL must read etcd://[user:password@]host:port,host:port"),
        ("etcd://a#b", "etcd: the store URL must read etcd://[user:password@]host:port,host:port"),
        ("etcd://user@a", "etcd: the store URL must name both a user and a password, or neither"),
        ("etcd://:secret@a", "etcd: the store URL must name both a user and a password, or neither"),
        ("etcd://a?prefix=", "etcd: prefix must be 1 to 64 of A-Z a-z 0-9 _ . : / -"),
        ("etcd://a?prefix=%00", "etcd: prefix must be 1 to 64 of A-Z a-z 0-9 _ . : / -"),
        ("etcd://a?tls=on", "etcd: tls must be yes or no"),
        ("etcd://a?ca_file=/x", "etcd: ca_file needs tls=yes"),
        ("etcd://a?tls=yes&ca_file=/absent/x", "etcd: ca_file '/absent/x' is no file"),
        ("etcd://a?tls=yes&cert_file=/dev/../etc/hosts", "etcd: cert_file and key_file belong together"),
        ("etcd://a?connections=0", "etcd: connections must be an integer from 1 to 1000"),
        ("etcd://a?connect_timeout=x", "etcd: connect_timeout must be an integer from 1 to 60000"),
        (
            "etcd://a?timeout=1",
            "etcd: unknown parameter 'timeout' in the store URL; known are tls, ca_file, cert_file, ",
        ),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_of(url)
    assert str(refused.value).startswith(message)
    assert "secret" not in str(refused.value)


def settings_of(url: str) -> Settings:
    return Settings.from_url(StoreURL.parse(url))


class RefusingPeer:
    """Speaks as much HTTP/2 as to go away at each request, which it says it did not see: gRPC may repeat it."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(24)
            writer.write(frame(4, b""))
            while True:
                header = await reader.readexactly(9)
                length, kind = int.from_bytes(header[:3]), header[3]
                await reader.readexactly(length)
                if kind == 1:
                    self.requests += 1
                    writer.write(frame(7, bytes(8)))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, 0]) + bytes(4) + payload


@pytest.mark.parametrize("retries", [False, True])
def test_grpcs_own_retries_are_off(retries: bool) -> None:
    """Nothing is sent again; with gRPC's own options it would be, which shows that this peer sees it."""

    def channel(target: str) -> aio.Channel:
        return aio.insecure_channel(target) if retries else settings_of(f"etcd://{target}").channel(target)

    requests = asyncio.run(requests_of_one_call(channel))
    assert (requests > 1) == retries
    assert dict(OPTIONS)["grpc.enable_retries"] == 0
    assert dict(OPTIONS)["grpc.service_config_disable_resolution"] == 1


async def requests_of_one_call(channel: Callable[[str], aio.Channel]) -> int:
    peer = RefusingPeer()
    server = await asyncio.start_server(peer.accept, "127.0.0.1", 0)
    async with channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as made:
        with pytest.raises(aio.AioRpcError):
            await rpc.KVStub(made).Range(rpc.RangeRequest(key=b"x"), timeout=1)
    del made
    await asyncio.gather(*peer.connections)
    server.close()
    return peer.requests


ROW = Row(1, "default/a", MIN, 7, None, 5, "A" * 16, 3, MAX, 6, 1, 9, '{"B":[1,null,0,0,5]}')


def test_a_record_is_read_as_it_was_written() -> None:
    value = records.encode(ROW)
    assert value == b'[1,%d,7,null,5,"AAAAAAAAAAAAAAAA",3,%d,6,1,9,{"B":[1,null,0,0,5]}]' % (MIN, MAX)
    assert records.decode("default/a", value) == ROW
    assert records.decode("default/a", None) == Row(0, "default/a")
    token = TokenRecord("t", "notes", MIN, 3, True)
    assert records.decode_token("default/a", "t", records.encode_token(token, 1_000), 999) == token
    assert records.decode_token("default/a", "t", records.encode_token(token, 1_000), 1_000) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"5",
        b"\xff\xfe",
        b"{}",
        b"[]",
        records.encode(ROW).replace(b"[1,", b"[2,", 1),
        records.encode(ROW).replace(b"7", b"-7"),
        records.encode(ROW).replace(str(MAX).encode(), str(MAX + 1).encode()),
        records.encode(ROW)[:-1],
        records.encode(ROW)[:-1] + b",1]",
    ],
)
def test_what_is_no_record_is_told_from_none(value: bytes) -> None:
    """Bytes of others, of another version, or cut short are never taken for an absent counter."""
    with pytest.raises(CorruptRecord, match="etcd: under 'default/a' stands no record"):
        records.decode("default/a", value)
    with pytest.raises(CorruptRecord, match="etcd: under 'default/a, token t' stands no record"):
        records.decode_token("default/a", "t", value, 0)


def test_no_key_of_one_counter_is_that_of_another() -> None:
    """A counter whose name begins as another's, and a token that looks like a name, have keys of their own."""
    keys = [
        *(records.counters(b"p/", key) for key in ("a/x", "a/xy", "ab/x")),
        *(records.tokens(b"p/", key, token) for key in ("a/x", "a/xy") for token in ("t", "y", "yt")),
    ]
    assert len(set(keys)) == len(keys)
    begin = records.tokens(b"p/", "a/x")
    assert [key for key in keys if begin <= key < records.end_of(begin)] == keys[3:6]
