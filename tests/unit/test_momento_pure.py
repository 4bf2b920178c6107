"""What of the Momento store needs no server: its URL, API keys, the table of errors, and items."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

import grpc
import grpc.aio

from plusone.errors import ConfigurationError, CorruptRecord, OutcomeUnknown, StoreRefused, StoreUnavailable
from plusone.stores.momento import blob, errors
from plusone.stores.momento.credentials import Credentials, parse
from plusone.stores.momento.settings import Settings
from plusone.stores.momento.store import MomentoStore
from plusone.stores.protocol import Answer, GuardedAdd, TokenRecord, TokenWrite
from plusone.stores.registry import StoreURL
from plusone.stores.sessions import SESSIONS_MAX
from plusone.types import MAX, MIN
from tests.conformance.harness import KEY, NOTES, add

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
REGION = "cell-4-us-west-2-1.prod.a.momentohq.com"
BUNDLE = base64.b64encode(json.dumps({"endpoint": REGION, "api_key": "the-key"}).encode()).decode()


def jwt(**claims: str) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2lnbmVk"])


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("MOMENTO_API_KEY", raising=False)
    return monkeypatch


# API keys.


def test_a_key_of_the_first_version_names_the_region() -> None:
    assert parse(BUNDLE + "\n") == Credentials("the-key", f"cache.{REGION}:443", f"control.{REGION}:443")


def test_an_older_key_names_both_endpoints_among_its_claims() -> None:
    key = jwt(sub="me", c="cache.cell-1.example.com", cp="control.cell-1.example.com")
    assert parse(key) == Credentials(key, "cache.cell-1.example.com:443", "control.cell-1.example.com:443")


@pytest.mark.parametrize("key", [jwt(t="g", id="me"), "plain", "a.b.c", base64.b64encode(b"no json").decode()])
def test_other_keys_are_sent_as_they_are(key: str) -> None:
    assert parse(key) == Credentials(key)


@pytest.mark.parametrize("key", ["", " ", "two words", "k\u00e9y", "a\nb"])
def test_what_no_call_can_carry_is_refused_unrepeated(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(key)
    assert str(caught.value) == "momento: the API key is empty, or has characters that no API key has"


def test_a_key_is_not_shown() -> None:
    assert "the-key" not in repr(parse(BUNDLE))


# URLs.


def settings(url: str) -> Settings:
    return Settings.from_url(StoreURL.parse(url))


def test_the_url_of_the_cloud(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MOMENTO_API_KEY", BUNDLE)
    found = settings("momento://My-Cache")
    assert (found.cache, found.data, found.control) == ("My-Cache", f"cache.{REGION}:443", f"control.{REGION}:443")
    assert (found.token, found.tls, found.ca_file, found.prefix) == ("the-key", True, None, "plusone:")
    assert (found.ttl_ms, found.connect_timeout_ms) == (86_400_000, 2_000)
    assert found.metadata() == (("authorization", "the-key"), ("cache", "My-Cache"))


def test_a_key_without_an_endpoint_takes_that_of_the_url(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTHER_KEY", "v2-key")
    with pytest.raises(ConfigurationError, match="name it in the store URL, by endpoint="):
        settings("momento://c?api_key_from=OTHER_KEY")
    found = settings(f"momento://c?api_key_from=OTHER_KEY&endpoint={REGION}")
    assert (found.token, found.data, found.control) == ("v2-key", f"cache.{REGION}:443", f"control.{REGION}:443")
    assert found.tls


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_an_endpoint_on_this_machine_needs_neither_key_nor_tls(environment: pytest.MonkeyPatch, host: str) -> None:
    found = settings(f"momento://c?endpoint={host}:8080")
    assert (found.data, found.control, found.token, found.tls) == (f"{host}:8080", f"{host}:8080", None, False)
    assert found.metadata() == (("cache", "c"),)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("momento://", "must read momento://cache"),
        ("momento://key@c?endpoint=localhost:1", "must read momento://cache?endpoint=…, and hold no API key"),
        ("momento://c:1?endpoint=localhost:1", "must read momento://cache"),
        ("momento://c/path?endpoint=localhost:1", "must read momento://cache"),
        ("momento://c", "set the environment variable MOMENTO_API_KEY to an API key, or name an endpoint"),
        (f"momento://c?endpoint={REGION}", "set the environment variable MOMENTO_API_KEY to an API key"),
        ("momento://c?api_key_from=a-b", "api_key_from must be the name of an environment variable"),
        ("momento://c?endpoint=localhost:1&pool=1", "unknown parameter 'pool'"),
        ("momento://c?endpoint=localhost:0", "endpoint must be host:port"),
        ("momento://c?endpoint=localhost:x", "endpoint must be host:port"),
        ("momento://c?endpoint=a/b", "endpoint must be host:port"),
        ("momento://c?endpoint=u@localhost:1", "endpoint must be host:port"),
        ("momento://c?endpoint=", "endpoint must be host:port"),
        ("momento://c?endpoint=localhost:1&prefix=", "prefix must be 1 to 64 of"),
        ("momento://c?endpoint=localhost:1&tls=maybe", "tls must be yes or no"),
        ("momento://c?endpoint=10.0.0.1:1&tls=no", "tls=no is for an endpoint on this machine"),
        ("momento://c?endpoint=localhost:1&ca_file=x", "ca_file needs tls=yes"),
        ("momento://c?endpoint=localhost:1&ttl=86401", "ttl must be an integer from 3600 to 86400"),
        ("momento://c?endpoint=localhost:1&ttl=3599", "ttl must be an integer from 3600 to 86400"),
        ("momento://c?endpoint=localhost:1&connect_timeout=0", "connect_timeout must be an integer from 1 to 60000"),
    ],
)
def test_other_urls_are_refused(environment: pytest.MonkeyPatch, url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(url)
    assert message in str(caught.value)


def test_a_file_of_certificates_has_to_be_there(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("MOMENTO_API_KEY", "key")
    with pytest.raises(ConfigurationError, match="is no file"):
        settings(f"momento://c?endpoint=localhost:1&tls=yes&ca_file={tmp_path}")


# Errors.


def failure(status: Any, limit: str = "") -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*((("err", limit),) if limit else ()))
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), trailing, details="why")


def test_every_status_has_a_verdict() -> None:
    """A status that gRPC adds has to be judged before anything is said of it."""
    assert set(errors.BY_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    definite = {status.name for status, verdict in errors.BY_STATUS.items() if verdict is not OutcomeUnknown}
    assert definite == {
        *("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "FAILED_PRECONDITION"),
        "RESOURCE_EXHAUSTED",
    }


def test_the_drivers_exceptions_are_those_that_we_know() -> None:
    """All that is no status is ambiguous once a call was sent."""
    found = {
        name
        for module in (grpc, grpc.aio)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert found == {
        *("RpcError", "FutureTimeoutError", "FutureCancelledError"),
        *("AioRpcError", "BaseError", "UsageError", "InternalError", "AbortError"),
    }
    for error in (grpc.RpcError(), grpc.aio.UsageError(), grpc.aio.InternalError(), RuntimeError()):
        assert isinstance(errors.translate(error, "KEY"), OutcomeUnknown)


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
def test_what_fails_before_anything_was_sent_is_definite(status: Any) -> None:
    error = errors.while_connecting(failure(status), "KEY")
    assert isinstance(error, StoreUnavailable | StoreRefused)
    assert str(error).startswith(f"Momento: {status.name}: why")


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        ("operations_rate_limit_exceeded", StoreUnavailable),
        ("throughput_rate_limit_exceeded", StoreUnavailable),
        ("", StoreUnavailable),
        ("item_size_limit_exceeded", StoreRefused),
        ("request_size_limit_exceeded", StoreRefused),
    ],
)
def test_a_limit_is_worth_another_try_unless_it_is_one_of_size(limit: str, kind: type[Exception]) -> None:
    error = errors.translate(failure(grpc.StatusCode.RESOURCE_EXHAUSTED, limit), "KEY")
    assert type(error) is kind
    assert limit in str(error)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "check the API key in the environment variable OTHER_KEY"),
        (grpc.StatusCode.PERMISSION_DENIED, "give the API key in OTHER_KEY the right to read and write this cache"),
    ],
)
def test_a_key_that_is_not_good_enough_is_named_by_its_variable(status: Any, advice: str) -> None:
    for translate in (errors.translate, errors.while_connecting):
        assert str(translate(failure(status), "OTHER_KEY")) == f"Momento: {status.name}: why; {advice}"


def test_a_key_that_is_none_is_named_by_its_variable(environment: pytest.MonkeyPatch) -> None:
    assert settings("momento://c?endpoint=localhost:1&api_key_from=OTHER_KEY").key_from == "OTHER_KEY"
    environment.setenv("OTHER_KEY", "of the second version")
    with pytest.raises(ConfigurationError, match="see the environment variable OTHER_KEY") as caught:
        settings("momento://c?api_key_from=OTHER_KEY")
    assert "second" not in str(caught.value)
    environment.setenv("OTHER_KEY", "second-version")
    with pytest.raises(ConfigurationError, match="the API key in OTHER_KEY has no endpoint in it"):
        settings("momento://c?api_key_from=OTHER_KEY")


def test_a_ttl_beyond_momentos_is_not_promised() -> None:
    assert "A counter unwritten for 24 h is gone, whatever its ttl" in MomentoStore.CAPABILITIES.durable


# Items.


def decided(item: bytes | None, request: GuardedAdd, *, now_ms: int = NOW_MS) -> blob.Change:
    change = blob.decide(item, request, now_ms, DAY_MS)
    assert isinstance(change, blob.Change)
    return change


def test_the_format_is_as_it_is_stored() -> None:
    """Items outlive a version of this program: whoever changes a byte of them has to raise the version in MAGIC."""
    request = add(5, ttl_ms=1_000, tokens=(TokenWrite("t", NOTES),))
    assert decided(None, request).item.hex() == (
        "706c75736f6e6501"
        "00000048"
        "9e00af64656661756c742f636f756e7465720501cf000001a3185c53e8cf000001a3185c5000"
        "b04141414141414141414141414141414101000000cf000001a3185c5000a27b7d00"
        "81a17495d9305b2239663836643038313838346337643635222c66616c73652c2d332c322c31383030303030303030303030303030"
        "5d0000c2cf000001a31d82ac00"
    )


@pytest.mark.parametrize(
    "item",
    [
        b"",
        b"7",
        blob.MAGIC,
        blob.MAGIC + b"\0\0\0\1",
        blob.MAGIC + b"\0\0\0\1\x90",
        blob.MAGIC + b"\xff\xff\xff\xff\x90",
        blob.MAGIC[:-1] + b"\2" + decided(None, add()).item[8:],
        decided(None, add(key="default/other")).item,
    ],
)
def test_what_is_no_counter_of_ours_is_corrupt(item: bytes) -> None:
    error = blob.decide(item, add(), NOW_MS, DAY_MS)
    assert isinstance(error, CorruptRecord)
    assert "'default/counter'" in str(error)
    with pytest.raises(CorruptRecord):
        blob.record(item, KEY, NOW_MS)


def test_tokens_that_are_none_of_ours_are_corrupt() -> None:
    item = decided(None, add()).item + b"\x01"
    assert isinstance(blob.decide(item, add(seq=2, tokens=(TokenWrite("t", NOTES),)), NOW_MS, DAY_MS), CorruptRecord)


def test_expired_tokens_make_room() -> None:
    tokens = tuple(TokenWrite(f"{number}", NOTES) for number in range(blob.TOKENS_MAX))
    full = decided(None, add(tokens=tokens)).item
    one_more = add(seq=2, acked=1, tokens=(TokenWrite("one more", NOTES),))
    refused = blob.decide(full, one_more, NOW_MS + DAY_MS - 1, DAY_MS)
    assert isinstance(refused, StoreRefused)
    assert "this counter remembers 512 idempotency keys" in str(refused)
    after = decided(full, one_more, now_ms=NOW_MS + DAY_MS).item
    assert len(after) < 300
    known = blob.decide(after, one_more, NOW_MS + DAY_MS, DAY_MS)
    assert isinstance(known, Answer)
    assert known.status == "duplicate"
    again = blob.decide(after, add(seq=3, tokens=one_more.tokens), NOW_MS + DAY_MS, DAY_MS)
    assert isinstance(again, Answer)
    assert again.tokens == (TokenRecord("one more", NOTES, 1, 1, True),)


def test_the_fullest_item_is_below_momentos_limit() -> None:
    """As many tokens as a counter takes, each of the longest, and as many writers as there can be."""
    tokens = tuple(TokenWrite(f"{number:03}" + "\U0001fa99" * 252, "n" * 299) for number in range(blob.TOKENS_MAX))
    item = decided(None, add(MIN, tokens=tokens, key="a" * 63 + "/" + "n" * 255)).item
    for number in range(SESSIONS_MAX - 1):
        request = add(
            (MAX, MIN)[number % 2], seq=2**60, restart=True, writer=f"{number:016}", key="a" * 63 + "/" + "n" * 255
        )
        change = blob.decide(item, request, NOW_MS, DAY_MS)
        assert isinstance(change, blob.Change)
        item = change.item
    assert len(item) < 1_000_000
