"""How the MongoDB store fares on a real server: others that write, foreign documents, setup, and what goes wrong."""

from __future__ import annotations

import asyncio
import logging
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("pymongo")

from bson import decode, encode
from bson.int64 import Int64
from pymongo.collection import Collection
from pymongo.errors import ServerSelectionTimeoutError

from plusone.errors import CorruptRecord, OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.lab.faults import Faults
from plusone.lab.processes import ServerProcess, free_port
from plusone.lab.proxy import Proxy
from plusone.lab.servers.mongo import url_of
from plusone.stores.mongodb.store import ATTEMPTS, MongoDBStore
from plusone.stores.protocol import Answer, TokenWrite
from plusone.types import MAX
from tests.conformance.harness import KEY, A, B, add, apply, asynchronous, closing, opened, state
from tests.servers.mongo import (
    FORGOTTEN_SOCKETS,
    client,
    mongo_server,
    own_collection,
    skip_without_mongo,
    store_at,
)
from tests.servers.tls_relay import tls_relay

skip_without_mongo(own=True)
pytestmark = FORGOTTEN_SOCKETS


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with mongo_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_collection(url_of(server))


@pytest.fixture
def direct(url: str) -> Iterator[Collection[dict[str, Any]]]:
    """The collection, by PyMongo's own client."""
    parts = urlsplit(url)
    with client(url) as mongo:
        yield mongo[parts.path[1:]][parse_qs(parts.query)["collection"][0]]


def is_update(request: bytes) -> bool:
    return b"update\0" in request[:64]


# Others write too.


@asynchronous
async def test_what_was_written_before_a_read_that_failed_may_count(url: str) -> None:
    """One of two writes was applied, which only a read can tell: where that fails, however surely, nothing is known."""
    first, second = "default/a", "default/b"
    async with opened(store_at(url)) as store, opened(store_at(url)) as other:
        await store.apply([add(1, key=first), add(1, key=second)])
        await apply(other, add(1, key=second, writer=B))

        async def no_primary(*_: object) -> None:
            raise ServerSelectionTimeoutError("no primary")

        store._load = no_primary  # type: ignore[assignment, method-assign]
        answers = await store.apply([add(1, key=key, seq=2, acked=1) for key in (first, second)])
        assert [type(answer) for answer in answers] == [OutcomeUnknown, OutcomeUnknown]
        assert await state(other, first) == (2, 2, True)
        assert await state(other, second) == (2, 2, True)


@asynchronous
async def test_racing_first_upserts_count_each(url: str) -> None:
    """Who creates the document second is told 11000, which is a guard that missed, and no maximum that was reached."""
    stores = [store_at(url) for _ in range(8)]
    for store in stores:
        await store.open()
    writers = [f"writer{number:010}" for number in range(8)]
    keys = [f"default/{number}" for number in range(20)]
    pairs = list(zip(stores, writers, strict=True))
    answers = await asyncio.gather(
        *(store.apply([add(1, key=key, writer=writer) for key in keys]) for store, writer in pairs)
    )
    for number, key in enumerate(keys):
        told = [answer[number] for answer in answers]
        values = []
        for (store, writer), answer in zip(pairs, told, strict=True):
            assert isinstance(answer, Answer)
            while answer.status == "missed":  # lost to the others in every attempt
                answer = await apply(store, add(1, key=key, writer=writer))
            assert answer.status in ("applied", "duplicate")
            values.append(answer.value)
        assert sorted(values, key=str) == [0, 1, 2, 3, 4, 5, 6, 7]
        assert await state(stores[0], key) == (8, 8, True)
    for store in stores:
        await store.close()


@asynchronous
async def test_what_a_store_remembers_is_good_for_a_write_only_if_nobody_else_wrote(url: str) -> None:
    async with opened(store_at(url)) as one, opened(store_at(url)) as two:
        await apply(one, add(1))
        await apply(two, add(10, writer=B))
        assert await apply(one, add(100, seq=2, acked=1)) == Answer("applied", 11, 2, True)
        assert await apply(two, add(1, seq=2, acked=1, writer=B, hi=10)) == Answer("missed", 111, 3, True)
        await apply(one, closing(seq=3, acked=2))
        assert await apply(two, add(1, seq=2, acked=1, writer=B)) == Answer("applied", 111, 3, True)


@asynchronous
async def test_a_write_that_loses_every_time_is_a_miss(url: str, direct: Collection[dict[str, Any]]) -> None:
    """It has the present state, which the guard would admit: whoever asked sends it again."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        reads = 0
        load = store._load

        async def and_another_writes(*arguments: Any) -> Any:
            nonlocal reads
            reads += 1
            found = await load(*arguments)
            direct.update_one({"_id": KEY}, {"$inc": {"stamp": Int64(1)}})
            return found

        store._load = and_another_writes  # type: ignore[assignment, method-assign]
        direct.update_one({"_id": KEY}, {"$inc": {"stamp": Int64(1)}})
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("missed", 1, 1, True)
        assert reads == ATTEMPTS
        assert await apply(store, add(1, seq=2, acked=1, hi=0)) == Answer("missed", 1, 1, True)


@asynchronous
async def test_a_loss_is_a_gap_though_the_store_remembers_better(url: str, direct: Collection[dict[str, Any]]) -> None:
    """A failover that undoes writes brings old documents back: what was decided on newer ones is not written."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        [before] = direct.find({"_id": KEY})
        await apply(store, add(1, seq=2, acked=1))
        direct.replace_one({"_id": KEY}, before)
        assert await apply(store, add(1, seq=3, acked=2)) == Answer("gap", last=1)
        assert await apply(store, add(1, seq=3, acked=1)) == Answer("applied", 1, 1, True)
        await asyncio.to_thread(direct.delete_one, {"_id": KEY})
        assert await apply(store, add(1, seq=4, acked=3)) == Answer("gap", last=0)


# Documents.


@asynchronous
async def test_numbers_are_stored_as_64_bits(url: str, direct: Collection[dict[str, Any]]) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(1, tokens=(TokenWrite("t", "notes"),)))
        await apply(store, add(1, seq=2, acked=1))
        [found] = direct.find({"_id": KEY})
        numbers = [found[name] for name in ("stamp", "value", "revision", "updated", "token_count", "tokens_until")]
        numbers += [found["tokens"][0][name] for name in ("value", "revision", "until")]
        seq, value, revision, _, time = found["sessions"][A]
        assert {type(number) for number in (*numbers, seq, value, revision, time)} == {Int64}
        assert (found["expires"], found["gone_at"]) == (None, None)


@asynchronous
async def test_dollars_and_dots_are_characters(url: str, direct: Collection[dict[str, Any]]) -> None:
    """A name or a token is never a part of a statement, and no name of a field."""
    names = ["default/$set", "default/a.b", "default/$where", "default/{'$gt': ''}", "default/.", "default/$"]
    tokens = ("$inc", "a.b", "$$ROOT", ".")
    async with opened(store_at(url)) as store:
        for name in names:
            writes = tuple(TokenWrite(token, "notes") for token in tokens)
            assert await apply(store, add(1, key=name, tokens=writes)) == Answer("applied", 0, 0, False)
            again = await apply(store, add(1, key=name, seq=2, acked=1, tokens=writes[1:3]))
            assert [record.token for record in again.tokens] == ["a.b", "$$ROOT"]
        assert [record.value for record in await store.read(names, strong=True)] == [1] * 6
        assert sorted(found["_id"] for found in direct.find({}, {"_id": 1})) == sorted(names)


@asynchronous
async def test_a_foreign_document_is_left_as_it_is(url: str, direct: Collection[dict[str, Any]]) -> None:
    foreign = {"_id": KEY, "count": 7}
    direct.insert_one(foreign)
    async with opened(store_at(url)) as store:
        for question in (apply(store, add(1)), state(store)):
            with pytest.raises(CorruptRecord, match="no counter of plusone's"):
                await question
        [there, other] = await store.apply([add(1), add(1, key="default/other")])
        assert isinstance(there, CorruptRecord)
        assert other == Answer("applied", 0, 0, False)
        page, _ = await store.list("default/", 10, None)
        assert [key for key, _ in page] == ["default/other"]
    assert list(direct.find({"_id": KEY})) == [foreign]


# Setup.


@asynchronous
async def test_setup_says_what_it_does_and_does_it_once(url: str, direct: Collection[dict[str, Any]]) -> None:
    store = store_at(url)
    step = (
        f'{{"createIndexes": "{direct.name}", "indexes":'
        ' [{"name": "gone_at", "key": {"gone_at": 1}, "expireAfterSeconds": 0}]}'
    )
    assert await store.setup(dry_run=True) == (step,)
    assert "gone_at" not in direct.index_information()
    assert await store.setup(dry_run=False) == (step,)
    assert direct.index_information()["gone_at"]["expireAfterSeconds"] == 0
    assert await store.setup(dry_run=False) == ()
    assert store.client is None


@asynchronous
async def test_opening_sets_up_what_is_new_and_warns_of_what_is_not(
    url: str, direct: Collection[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    direct.database.create_collection(direct.name)
    async with opened(store_at(url)) as store:
        assert "gone_at" in direct.index_information()
        await apply(store, add(1))
    direct.drop_index("gone_at")
    with caplog.at_level(logging.WARNING):
        async with opened(store_at(url)):
            assert "gone_at" not in direct.index_information()
    assert "run `plusone setup`" in caplog.text


@asynchronous
async def test_closing_and_opening_may_be_repeated(url: str) -> None:
    store = store_at(url)
    with pytest.raises(StoreRefused, match="not open"):
        await apply(store, add(1))
    await store.close()
    for _ in range(2):
        await store.open()
        await store.open()
        await store.check()
        await store.close()
        await store.close()


# What goes wrong.


async def fails(url: str, error: type[PlusoneError], text: str) -> None:
    """Opening it fails thus; nothing of it stays."""
    store = store_at(url)
    with pytest.raises(error, match=text) as raised:
        await store.open()
    assert type(raised.value) is error
    assert str(raised.value).startswith("MongoDB: ")
    assert "secret" not in str(raised.value)
    assert len(str(raised.value)) < 300
    assert store.client is None


@asynchronous
async def test_nobody_there(server: ServerProcess) -> None:
    await fails(f"mongodb://127.0.0.1:{free_port()}/plusone?connect_timeout=200", StoreUnavailable, "see that it runs")
    await fails("mongodb://host.invalid/plusone?connect_timeout=500", StoreUnavailable, "see the host in the store URL")
    await fails("mongodb+srv://host.invalid/plusone?connect_timeout=500", StoreRefused, "host.invalid")


@asynchronous
async def test_a_server_that_does_not_take_the_password(server: ServerProcess) -> None:
    """This server knows no users at all; a real one answers AuthenticationFailed, which the table has."""
    await fails(f"mongodb://me:secret@127.0.0.1:{server.port}/plusone", StoreRefused, "no such cmd|no such command")


@asynchronous
async def test_a_replica_set_of_another_name(server: ServerProcess) -> None:
    url = url_of(server, replica_set="others", connect_timeout=200)
    await fails(url, StoreUnavailable, "see replica_set in the store URL")


@asynchronous
async def test_a_server_that_hangs_up() -> None:
    """As MongoDB does with a client that is one too many."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as full:
        url = f"mongodb://127.0.0.1:{full.sockets[0].getsockname()[1]}/plusone?connect_timeout=200"
        await fails(url, StoreUnavailable, "fits the server, and that it has connections left")


@asynchronous
async def test_the_classic_routes_example_is_one_that_works(server: ServerProcess) -> None:
    classic = pytest.importorskip("plusone.service.classic")
    url = classic.CLASSIC_STORES["docdb"].replace("localhost:27017", f"127.0.0.1:{server.port}")
    async with opened(store_at(f"{url}?collection=classic")) as store:
        assert await apply(store, add(1)) == Answer("applied", 0, 0, False)


@asynchronous
async def test_a_server_that_goes_is_unavailable(url: str) -> None:
    """What is sent when it is known to be gone is definitely not applied."""
    with mongo_server() as server:
        async with opened(store_at(url_of(server, connect_timeout=200))) as store:
            await apply(store, add(1))
            server.kill()
            with pytest.raises(OutcomeUnknown):
                await apply(store, add(1, seq=2, acked=1))
            for question in (apply(store, add(1, seq=2, acked=1)), state(store), store.check()):
                with pytest.raises(StoreUnavailable):
                    await question


@asynchronous
async def test_a_cancelled_call_leaves_no_reply_behind(url: str) -> None:
    """Its connection is closed, so a later call does not read the reply that is still to come."""
    faults = Faults(schedule={2: "delay"}, delay_ms=200, matcher=is_update)
    async with Proxy(url, faults) as proxy, opened(store_at(proxy.url)) as store:
        await apply(store, add(1))
        under_way = asyncio.ensure_future(store.apply([add(2, seq=2, acked=1)]))
        while not proxy.counts["delay"]:
            assert await state(store) == (1, 1, True)
        under_way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await under_way
        while not proxy.counts["ghosts"]:
            assert (await state(store))[0] in (1, 3)
        assert await apply(store, add(2, seq=2, acked=1)) == Answer("duplicate", 1, 1, True)


@asynchronous
async def test_a_reply_that_is_lost_is_ambiguous(url: str) -> None:
    faults = Faults(schedule={2: "cut_after_request"}, matcher=is_update)
    async with Proxy(url, faults) as proxy, opened(store_at(proxy.url)) as store:
        await apply(store, add(1))
        with pytest.raises(OutcomeUnknown):
            await apply(store, add(2, seq=2, acked=1))
        assert await apply(store, add(2, seq=2, acked=1)) == Answer("duplicate", 1, 1, True)


@asynchronous
async def test_a_write_that_no_majority_has_is_not_acknowledged(url: str) -> None:
    """The server applied it and says writeConcernError: it may yet be rolled back."""
    async with short_of_members(url) as short, opened(store_at(short)) as store, opened(store_at(url)) as direct:
        [one, two] = await store.apply([add(5), add(5, key="default/other", lo=MAX, hi=MAX)])
        assert isinstance(one, OutcomeUnknown)
        assert "waiting for replication timed out" in str(one)
        assert two == Answer("missed", 0, 0, False)
        assert await apply(direct, add(5)) == Answer("duplicate", 0, 0, False)
        assert await state(direct) == (5, 1, True)


@asynccontextmanager
async def short_of_members(url: str) -> AsyncIterator[str]:
    """The URL by way of a relay that adds to the answer of each update what a replica set without a majority adds."""
    unmet = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
    target = urlsplit(url)

    async def message(reader: asyncio.StreamReader) -> bytes:
        header = await reader.readexactly(4)
        return header + await reader.readexactly(struct.unpack("<i", header)[0] - 4)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(target.hostname, target.port)
        try:
            while True:
                request = await message(reader)
                server_writer.write(request)
                reply = await message(server_reader)
                if is_update(request):
                    body = encode(decode(reply[21:]) | {"writeConcernError": unmet})
                    reply = struct.pack("<i", 21 + len(body)) + reply[4:21] + body
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            server_writer.close()
            writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        yield target._replace(netloc=f"127.0.0.1:{port}").geturl()


# TLS.


@asynchronous
async def test_tls_takes_the_certificate_that_is_trusted_and_named_so(url: str, certificate: tuple[Path, Path]) -> None:
    key, trusted = certificate
    with tls_relay(urlsplit(url).port or 0, key, trusted) as relay, relay.shown():
        rest = f"{relay.port}{urlsplit(url).path}?{urlsplit(url).query}&tls=yes&connect_timeout=1000"
        async with opened(store_at(f"mongodb://localhost:{rest}&ca_file={trusted}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        for other in (
            f"mongodb://127.0.0.1:{rest}&ca_file={trusted}",  # another name
            f"mongodb://localhost:{rest}",  # signed by nobody known
        ):
            refusal = await refused(other)
            assert refusal.startswith("StoreRefused MongoDB: ")
            assert "see that the server's name is that of its certificate, and ca_file" in refusal


@asynchronous
async def test_tls_is_what_the_server_speaks_or_advice_is_given(url: str, certificate: tuple[Path, Path]) -> None:
    parts = urlsplit(url)
    for scheme, tls in (("mongodb", "tls=yes"), ("documentdb", "connections=1")):
        refusal = await refused(f"{scheme}://{parts.netloc}/plusone?{tls}&connect_timeout=200")
        assert refusal.startswith("StoreUnavailable MongoDB: ")
        assert "tls: a server without TLS needs tls=no (documentdb: and mongodb+srv: mean yes)" in refusal
    key, trusted = certificate
    with tls_relay(parts.port or 0, key, trusted) as relay:
        refusal = await refused(f"mongodb://localhost:{relay.port}/plusone?connect_timeout=500")
        assert "it hung up; see that tls in the store URL fits the server" in refusal


async def refused(url: str) -> str:
    """How opening fails. In a process of its own: a failed handshake leaves its socket to the garbage collector."""
    script = (
        "import asyncio, sys; from tests.servers.mongo import store_at\n"
        "try: asyncio.run(store_at(sys.argv[1]).open())\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, url, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


def test_the_store_is_what_its_schemes_say() -> None:
    assert isinstance(store_at("documentdb://h/plusone"), MongoDBStore)
