"""Counters in MongoDB or Amazon DocumentDB: a document each, written only as it was when its step was decided.

The writer's clock decides what has expired. A call is one update of many documents, decided on what the store knows of
them from its own writes; where that is nothing, or another writer was faster, the documents are read first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from bson.int64 import Int64
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.asynchronous.collection import AsyncCollection

from plusone.clock import Clock
from plusone.errors import CorruptRecord, OutcomeUnknown, PlusoneError, StoreRefused
from plusone.stores import paging
from plusone.stores.mongodb.documents import WITHOUT_TOKENS, Document, Write, absent, decide, parse
from plusone.stores.mongodb.errors import DRIVER_ERRORS, DUPLICATE_KEY, of_write_error, translate
from plusone.stores.mongodb.settings import Settings
from plusone.stores.mongodb.templates import Statement, indexes
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.recent import Recent
from plusone.stores.registry import StoreURL

ATTEMPTS: Final = 3
"""So often a step is decided anew within a call when other writers were faster; each before wrote nothing."""
_REMEMBERED_DOCUMENTS: Final = 8_192
_REMEMBERED_BYTES: Final = 8 * 1024 * 1024
TOKENS_PER_UPDATE: Final = 10_000
"""More new tokens than these make two updates of a call: a message to the server may have 48 MB."""

_LIST: Final = Statement("list.json")
_RECORD: Final = {"value": 1, "revision": 1, "expires": 1, "updated": 1, "stamp": 1}

_ABSENT: Final = Record(0, 0, False, None)

_log = logging.getLogger("plusone.mongodb")


class MongoDBStore:
    """`mongodb://[user:password@]host:port,host:port/database`, `documentdb://…` and `mongodb+srv://…`.

    Parameters, all of them optional: `collection` ("counters"); `replica_set`; `auth_source`; `tls` (yes or no; no for
    mongodb) and `ca_file`, whom it trusts instead of the system's own; `secondaries` (yes: they answer eventual reads);
    `connect_timeout` (ms, 2,000), also to find a primary; `connections` (32) is how many there may be at once.
    """

    CAPABILITIES = Capabilities(
        title="MongoDB, Amazon DocumentDB",
        schemes=("mongodb", "mongodb+srv", "documentdb"),
        durable="the loss of a minority: acknowledged by a majority, journalled",
        linearizable=False,
        survives_failover="all of them; a primary that was cut off may answer strong reads from before, for seconds",
        failover_keeps=True,
        eventual_reads=False,
        lists=True,
        ttl_clock="writer",
        token_retention="kept for the retention; a full counter refuses new ones",
        tokens_per_counter=4_000,
        tokens_per_batch=1_000,
        sessions_kept_minutes=60,
        tested_on="mongo-java-server 1.47 (H2); MongoDB and DocumentDB themselves were not run",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> MongoDBStore:
        return cls(Settings.from_url(url), clock=clock, token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, clock: Clock, token_retention_ms: int) -> None:
        self.capabilities = msgspec.structs.replace(self.CAPABILITIES, eventual_reads=settings.secondaries)
        self._settings = settings
        self._clock = clock
        self._token_retention_ms = token_retention_ms
        self.client: AsyncMongoClient[dict[str, Any]] | None = None
        self._counters: AsyncCollection[dict[str, Any]]
        self._eventual: AsyncCollection[dict[str, Any]]
        self._recent = Recent[Document](_REMEMBERED_DOCUMENTS, _REMEMBERED_BYTES, _size_of)

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        """Create the index by which the server removes what is long dead."""
        client = self._settings.client()
        try:
            counters = self._settings.counters(client)
            _, lacking = await _lacking(counters)
            if not lacking:
                return ()
            command = {"createIndexes": counters.name, "indexes": lacking}
            if not dry_run:
                await counters.database.command(command)
            return (json.dumps(command),)
        except DRIVER_ERRORS as error:
            raise translate(error, wrote=False) from error
        finally:
            await client.close()

    async def open(self) -> None:
        """Does what `setup` would where nothing was counted yet; of counters without their index it warns."""
        if self.client is not None:
            return
        client = self._settings.client()
        try:
            counters = self._settings.counters(client)
            exists, lacking = await _lacking(counters)
            if lacking and (not exists or await counters.find_one({}, {"_id": 1}) is None):
                await counters.database.command({"createIndexes": counters.name, "indexes": lacking})
            elif lacking:
                _log.warning("%s has no index gone_at, so dead counters stay: run `plusone setup`", counters.full_name)
        except DRIVER_ERRORS as error:
            await client.close()
            raise translate(error, wrote=False) from error
        except BaseException:
            # Nobody closes what never was open.
            await client.close()
            raise
        self.client, self._counters, self._eventual = client, counters, counters
        if self._settings.secondaries:
            self._eventual = counters.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED)

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        counters = self._open_counters()
        work = {request.key: request for request in batch}
        answers: dict[str, Answer | PlusoneError] = {}
        writes = self._decide_remembered(work)
        unread = [key for key in work if key not in writes]
        lost: dict[str, Write] = {}
        for attempt in range(ATTEMPTS + 1):
            if unread:
                try:
                    documents = await self._load(counters, [work[key] for key in unread])
                except DRIVER_ERRORS as error:
                    failure = translate(error, wrote=False)
                    if attempt:
                        # However surely this question was not answered: of what was written before it, some may count.
                        failure = OutcomeUnknown(str(failure))
                    answers |= dict.fromkeys(unread, failure)
                else:
                    asked = {key: work[key] for key in unread}
                    writes |= self._decide_read(asked, documents, lost, answers, last=attempt == ATTEMPTS)
            lost = {}
            for some in _updates(writes):
                lost |= await self._write(counters, some, answers)
            writes, unread = {}, list(lost)
        return [answers[key] for key in work]

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        self._open_counters()
        counters = self._counters if strong else self._eventual
        try:
            found = await _find(counters, set(keys), _RECORD)
        except DRIVER_ERRORS as error:
            raise translate(error, wrote=False) from error
        now_ms = self._clock.wall_ms()
        records: dict[str, Record] = {}
        for each in found:
            document = parse(each)
            if isinstance(document, CorruptRecord):
                raise document
            records[document.key] = document.record(now_ms)
        return [records.get(key, _ABSENT) for key in keys]

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """In the order of the datastore's keys. A page token holds the last key."""
        counters = self._open_counters()
        after = "" if page_token is None else paging.decode_key(page_token, prefix)
        now_ms = self._clock.wall_ms()
        asked = _LIST.fill({"from": prefix, "after": after, "end": paging.above(prefix), "now": Int64(now_ms)})
        try:
            cursor = counters.find(asked, _RECORD, sort=[("_id", 1)], limit=limit + 1, batch_size=limit + 1)
            found = await cursor.to_list()
        except DRIVER_ERRORS as error:
            raise translate(error, wrote=False) from error
        page: list[tuple[str, Record]] = []
        for each in found[:limit]:
            document = parse(each)
            if isinstance(document, CorruptRecord):
                _log.warning("left out of a listing: %s", document)
            elif document.key.startswith(prefix):
                page.append((document.key, document.record(now_ms)))
        return page, paging.encode_key(found[limit - 1]["_id"]) if len(found) > limit else None

    async def check(self) -> None:
        """Whether there is a primary that answers."""
        counters = self._open_counters()
        try:
            await counters.database.command("ping", read_preference=ReadPreference.PRIMARY)
        except DRIVER_ERRORS as error:
            raise translate(error, wrote=False) from error

    async def close(self) -> None:
        client, self.client = self.client, None
        self._recent.clear()
        if client is not None:
            await client.close()

    def _decide_remembered(self, work: Mapping[str, GuardedAdd]) -> dict[str, Write]:
        """The writes for those counters that are remembered. To refuse takes a document that was read for it."""
        now_ms = self._clock.wall_ms()
        writes: dict[str, Write] = {}
        for key, request in work.items():
            # Taken out: it is good for one write, and whoever does not come back from that leaves nothing behind.
            document = self._recent.forget(key)
            if document is not None:
                decided = decide(document, request, now_ms, self._token_retention_ms)
                if isinstance(decided, Write):
                    writes[key] = decided
        return writes

    async def _load(
        self, counters: AsyncCollection[dict[str, Any]], requests: Sequence[GuardedAdd]
    ) -> dict[str, Document | CorruptRecord]:
        """The documents as they are, with their tokens where a request has some."""
        documents: dict[str, Document | CorruptRecord] = {}
        bare = {request.key for request in requests if not request.tokens}
        rest = {request.key for request in requests} - bare
        for each in await _find(counters, bare, WITHOUT_TOKENS) + await _find(counters, rest, None):
            documents[each["_id"]] = parse(each)
        return documents

    def _decide_read(
        self,
        work: Mapping[str, GuardedAdd],
        documents: Mapping[str, Document | CorruptRecord],
        lost: Mapping[str, Write],
        answers: dict[str, Answer | PlusoneError],
        *,
        last: bool,
    ) -> dict[str, Write]:
        """Answer what these documents decide, `lost` being what was just written in vain, or not; the rest to write."""
        now_ms = self._clock.wall_ms()
        writes: dict[str, Write] = {}
        for key, request in work.items():
            document = documents.get(key) or absent(key)
            if isinstance(document, CorruptRecord):
                answers[key] = document
                continue
            if key in lost and document.stamp == lost[key].after.stamp:
                self._applied(lost[key], answers)
                continue
            decided = decide(document, request, now_ms, self._token_retention_ms)
            assert decided is not None, "the tokens were read"
            if isinstance(decided, Write) and not last:
                writes[key] = decided
                continue
            # Other writers were faster each time: the present state is as good an answer as the guard's own miss.
            answers[key] = _missed(decided.answer) if isinstance(decided, Write) else decided
            document.tokens = None
            self._remember(document)
        return writes

    async def _write(
        self,
        counters: AsyncCollection[dict[str, Any]],
        writes: Mapping[str, Write],
        answers: dict[str, Answer | PlusoneError],
    ) -> dict[str, Write]:
        """Send these in one update, and answer those of which it says what became; the others, to be read again."""
        command = {
            "update": counters.name,
            "updates": [write.statement for write in writes.values()],
            "ordered": False,
            "writeConcern": counters.write_concern.document,
        }
        try:
            reply = await counters.database.command(command)
        except DRIVER_ERRORS as error:
            answers |= dict.fromkeys(writes, translate(error, wrote=True))
            return {}
        sent = list(writes)
        open_: dict[str, Write] = dict(writes)
        lost: dict[str, Write] = {}
        for failure in reply.get("writeErrors", ()):
            key = sent[failure["index"]]
            write = open_.pop(key)
            if failure.get("code") == DUPLICATE_KEY:
                lost[key] = write
            else:
                answers[key] = of_write_error(failure)
        unmet = reply.get("writeConcernError")
        if unmet is not None:
            # Applied, and perhaps rolled back yet: to be asked again until a majority has it.
            answers |= dict.fromkeys(open_, OutcomeUnknown(f"MongoDB: {unmet.get('errmsg', unmet)}"))
        elif reply["n"] == len(open_):
            for write in open_.values():
                self._applied(write, answers)
        else:
            lost |= open_
        return lost

    def _applied(self, write: Write, answers: dict[str, Answer | PlusoneError]) -> None:
        answers[write.request.key] = write.answer
        self._remember(write.after)

    def _remember(self, document: Document) -> None:
        if document.stamp:
            self._recent.put(document.key, document)

    def _open_counters(self) -> AsyncCollection[dict[str, Any]]:
        if self.client is None:
            raise StoreRefused("the MongoDB store is not open")
        return self._counters


async def _find(
    counters: AsyncCollection[dict[str, Any]], keys: Collection[str], projection: dict[str, int] | None
) -> list[dict[str, Any]]:
    if not keys:
        return []
    # All of them in the first answer, as far as its 16 MB take them.
    return await counters.find({"_id": {"$in": list(keys)}}, projection, batch_size=len(keys) + 1).to_list()


async def _lacking(counters: AsyncCollection[dict[str, Any]]) -> tuple[bool, list[dict[str, Any]]]:
    """Whether there is such a collection, and which of its indexes there are not.

    Raises `StoreRefused` for one that would take different names for the same.
    """
    async with await counters.database.list_collections(filter={"name": counters.name}) as collections:
        found = await collections.to_list()
    if not found:
        return False, indexes()
    if found[0].get("options", {}).get("collation"):
        raise StoreRefused(
            f"MongoDB: {counters.full_name} has a collation, which would merge names; choose another collection"
        )
    there = await counters.index_information()
    return True, [index for index in indexes() if index["name"] not in there]


def _updates(writes: Mapping[str, Write]) -> Iterator[Mapping[str, Write]]:
    """The writes in parts that an update takes: all of them, unless there are very many tokens among them."""
    part: dict[str, Write] = {}
    tokens = 0
    for key, write in writes.items():
        size = write.after.token_count if write.request.tokens else 0
        if part and tokens + size > TOKENS_PER_UPDATE:
            yield part
            part, tokens = {}, 0
        part[key] = write
        tokens += size
    if part:
        yield part


def _size_of(document: Document) -> int:
    """About how many bytes a document takes that has no tokens."""
    return 400 + 300 * len(document.sessions)


def _missed(state: Answer) -> Answer:
    return Answer("missed", state.value, state.revision, state.exists)
