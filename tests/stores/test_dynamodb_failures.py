"""How the DynamoDB store fails, on a real server: tables, servers that are away or refuse, cancellation, TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("aiobotocore")

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.lab.faults import Faults
from plusone.lab.processes import ServerProcess
from plusone.lab.proxy import Proxy
from plusone.lab.servers.dynamodb import dynamodb_server, url_of
from plusone.stores.dynamodb import table
from plusone.stores.protocol import Answer
from tests.conformance.harness import add, apply, asynchronous, opened, state, with_tokens
from tests.servers.dynamodb import own_table, skip_without_dynamodb, store_at, wire
from tests.servers.tls_relay import tls_relay

skip_without_dynamodb(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with dynamodb_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_table(url_of(server))


# The table.


@asynchronous
async def test_setup_says_what_it_does_and_does_it_once(server: ServerProcess) -> None:
    url = url_of(server, "setup-test")
    planned = await store_at(url).setup(dry_run=True)
    assert [step.partition(" ")[0] for step in planned] == ["CreateTable", "UpdateTimeToLive"]
    assert json.loads(planned[0].partition(" ")[2])["TableName"] == "setup-test"
    async with wire(url) as direct:
        with pytest.raises(StoreRefused, match="run: plusone setup"):
            await table.require(direct, "setup-test")
    assert await store_at(url).setup(dry_run=False) == planned
    assert await store_at(url).setup(dry_run=True) == []
    assert await store_at(url).setup(dry_run=False) == []
    async with wire(url) as direct:
        await table.require(direct, "setup-test")


@asynchronous
async def test_a_table_is_made_on_this_machine_by_several_at_once(server: ServerProcess) -> None:
    stores = [store_at(url_of(server, "first-use")) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        await store.check()
        assert (await apply(store, add(1, writer=f"writer{number:010}"))).value == number
        await store.close()
        await store.close()


@asynchronous
async def test_a_table_that_is_missing_or_another_programs_is_refused(server: ServerProcess) -> None:
    url = url_of(server, "foreign")
    async with wire(url) as direct:
        definition = {"AttributeName": "id", "AttributeType": "S"}
        key = {"AttributeName": "id", "KeyType": "HASH"}
        await direct.control(
            "create_table",
            TableName="foreign",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[definition],
            KeySchema=[key],
        )
    with pytest.raises(StoreRefused, match="name a table of its own"):
        await store_at(url).open()
    async with opened(store_at(url_of(server, "goes-away"))) as store:
        async with wire(url) as direct:
            await direct.control("delete_table", TableName="goes-away")
        for attempt in (store.check(), apply(store, add(1)), state(store)):
            with pytest.raises(StoreRefused, match="run: plusone setup"):
                await attempt


# Servers that are away, refuse, or are somebody else.


@asynchronous
async def test_nobody_there_is_definite() -> None:
    for endpoint in ("http://127.0.0.1:1", "http://nobody.invalid:8000"):
        with pytest.raises(StoreUnavailable):
            await store_at(f"dynamodb://k:s@table?region=eu-central-1&endpoint={endpoint}").open()


@asynchronous
async def test_without_credentials_or_a_region_it_is_said_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(StoreRefused, match="dynamodb://key:secret@table"):
        await store_at("dynamodb://table?region=eu-central-1").open()
    with pytest.raises(StoreRefused, match="say region="):
        await store_at("dynamodb://k:s@table").open()


@asynccontextmanager
async def answering(status: int, code: str) -> AsyncIterator[str]:
    """The URL of a server that says this, in DynamoDB's way, to whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "because"}).encode()
        writer.write(b"HTTP/1.1 %d .\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"dynamodb://k:s@table?region=eu-central-1&endpoint=http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "code", "ours", "advice"),
    [
        (400, "ThrottlingException", StoreUnavailable, "because"),
        (400, "ProvisionedThroughputExceededException", StoreUnavailable, "because"),
        (400, "TransactionConflictException", StoreUnavailable, "because"),
        (400, "UnrecognizedClientException", StoreRefused, "see that the credentials are right"),
        (400, "InvalidSignatureException", StoreRefused, "this machine's clock"),
        (400, "AccessDeniedException", StoreRefused, "let these credentials do that"),
        (500, "InternalServerError", OutcomeUnknown, "500"),
        (503, "ServiceUnavailable", OutcomeUnknown, "503"),
        (500, "ThrottlingException", OutcomeUnknown, "500"),
    ],
)
@asynchronous
async def test_what_a_server_says_is_passed_on_with_advice(
    status: int, code: str, ours: type[PlusoneError], advice: str
) -> None:
    async with answering(status, code) as url:
        store = store_at(url)
        await store.wire.open()
        for request in (add(1), with_tokens(store, add(1), (0, 0, False), "t")):
            [answer] = await store.apply([request])
            assert type(answer) is ours
            assert advice in str(answer)
        with pytest.raises(ours, match=advice):
            await store.check()
        await store.close()


@asynchronous
async def test_a_cut_connection_is_ambiguous_and_sent_once(url: str) -> None:
    """Neither aiobotocore nor aiohttp sends the request again, and a reset is no failure to connect."""
    for fault in ("cut_before_request", "cut_after_request"):
        matched = Faults(schedule={1: fault}, matcher=lambda request: b"BatchExecuteStatement" in request)
        async with Proxy(url, matched) as proxy, opened(store_at(proxy.url)) as store:
            [answer] = await store.apply([add(1)])
            assert isinstance(answer, OutcomeUnknown)
            assert proxy.counts["requests"] == 1


@asynchronous
async def test_a_cancelled_call_leaves_no_reply_behind(url: str, server: ServerProcess) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        with server.paused():
            under_way = asyncio.ensure_future(store.apply([add(2, seq=2, acked=1)]))
            done, _ = await asyncio.wait([under_way], timeout=0.05)
            assert not done
            under_way.cancel()
            with pytest.raises(asyncio.CancelledError):
                await under_way
        assert await apply(store, add(4, seq=3, acked=1)) in (
            Answer("applied", 3, 2, True),
            Answer("applied", 1, 1, True),  # the cancelled one did not reach it, or comes late: stale
        )


@asynchronous
async def test_the_store_is_open_or_says_so(url: str) -> None:
    store = store_at(url)
    await store.open()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreRefused, match="not open"):
        await store.check()


# TLS.


@asynchronous
async def test_tls_takes_the_certificate_that_is_trusted_and_named_so(
    server: ServerProcess, certificate: tuple[Path, Path]
) -> None:
    with tls_relay(server.port, *certificate) as relay:
        base = f"dynamodb://k:s@over-tls?region=eu-central-1&endpoint=https://localhost:{relay.port}"
        async with opened(store_at(f"{base}&ca_file={certificate[1]}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        for url in (base.replace("localhost", "127.0.0.1") + f"&ca_file={certificate[1]}", base):
            with pytest.raises(StoreRefused, match="set ca_file"):
                await store_at(url).open()
