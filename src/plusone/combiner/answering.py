"""How callers learn what became of their operations. Every operation that was accepted leaves through here, once."""

from __future__ import annotations

from asyncio import InvalidStateError
from collections.abc import Iterable
from typing import Final

from plusone.combiner import tokens
from plusone.combiner.batching import Batch, Entry, Lane
from plusone.errors import (
    Contended,
    CorruptRecord,
    NotSent,
    OutcomeUnknown,
    PlusoneError,
    StoreUnavailable,
    TokenReused,
)
from plusone.folding import Folded
from plusone.statistics import Statistics
from plusone.stores.protocol import TokenRecord
from plusone.types import Outcome

TOO_LATE: Final = "the deadline came before the operation could be sent; ask again, or give it more time"


def answer(batch: Batch, folded: Folded, statistics: Statistics) -> None:
    """Give every caller of the batch its outcomes."""
    lane = batch.lane
    lane.state = folded.end
    outcomes = folded.outcomes
    if batch.writes_tokens or len(batch.entries) != len(outcomes):
        start = 0
        for entry in batch.entries:
            size = entry[0].size
            _answer_entry(lane, entry, outcomes[start : start + size], statistics)
            start += size
        return
    statistics.operations_total += len(outcomes)
    statistics.operations_waiting -= len(outcomes)
    for (_, future, _), outcome in zip(batch.entries, outcomes, strict=True):
        try:
            future.set_result(outcome)
        except InvalidStateError:
            continue  # it left, or was told at its deadline; to ask each of them first costs more


def answer_known(batch: Batch, records: Iterable[TokenRecord], statistics: Statistics) -> None:
    """Answer those whose tokens are recorded; the others go before whoever waits, as a new batch."""
    lane = batch.lane
    by_token = {record.token: record for record in records}
    known: list[tuple[Entry, list[Outcome] | PlusoneError]] = []
    rest: list[Entry] = []
    for entry in batch.entries:
        group = entry[0]
        record = by_token.get(group.token) if group.token is not None else None
        if record is None:
            rest.append(entry)
            continue
        try:
            known.append((entry, tokens.recall(record, group)))
        except (TokenReused, CorruptRecord) as error:
            known.append((entry, error))
    lane.put_back(rest)
    for entry, result in known:
        if isinstance(result, PlusoneError):
            fail_entry(lane, entry, result, statistics)
        else:
            statistics.replays_total += len(result)
            _answer_entry(lane, entry, result, statistics)


def _answer_entry(lane: Lane, entry: Entry, outcomes: list[Outcome], statistics: Statistics) -> None:
    """Answer one entry, and those who asked with its token while it was under way."""
    group = entry[0]
    _settle(entry, outcomes, statistics)
    if group.token is None or lane.tokens is None:
        return
    again = [tokens.replayed(outcome) for outcome in outcomes]
    fingerprint = tokens.fingerprint(group.operations)
    for follower in lane.tokens.pop(group.token, ()):
        if tokens.fingerprint(follower[0].operations) == fingerprint:
            statistics.replays_total += len(again)
            _settle(follower, again, statistics)
        else:
            _refuse(follower, TokenReused(), statistics)


def fail(batch: Batch, error: PlusoneError, statistics: Statistics) -> None:
    """Tell every caller of the batch that it ended with `error`."""
    for entry in batch.entries:
        fail_entry(batch.lane, entry, error, statistics)


def fail_entry(lane: Lane, entry: Entry, error: PlusoneError, statistics: Statistics) -> None:
    """Tell one entry's caller; the first of those who followed its token takes its place."""
    # Each caller gets an exception of its own: a shared one would collect all their tracebacks.
    _refuse(entry, error.again(), statistics)
    token = entry[0].token
    followers = lane.tokens.pop(token, None) if token is not None and lane.tokens is not None else None
    if token is not None and lane.tokens is not None and followers:
        lane.tokens[token] = followers[1:]
        lane.put_back(followers[:1])


def verdict(batch: Batch) -> PlusoneError:
    """What the deadline finds: whether the batch may have been applied, and if not, what kept it."""
    cause = f": {batch.error}" if batch.error is not None else ""
    if batch.ambiguous or batch.in_air:
        return OutcomeUnknown(f"no answer came before the deadline{cause}; ask again with the same token")
    if batch.error is not None:
        return StoreUnavailable(f"the datastore did not take the operation before the deadline{cause}")
    if not batch.misses:
        return NotSent(TOO_LATE)
    return Contended("other writers changed the counter on every attempt before the deadline")


def expire_sent(batch: Batch, now: float, statistics: Statistics) -> None:
    """Tell those of a batch under way whose deadline has come; the batch goes on for the others."""
    for group, future, deadline in batch.entries:
        if deadline <= now and not future.done():
            error = verdict(batch)
            if isinstance(error, OutcomeUnknown):
                statistics.unknown_total += group.size
            future.set_exception(error)


def take_apart(batch: Batch, now: float, statistics: Statistics) -> bool:
    """If a deadline of a batch that definitely did not happen has come: tell those, and let the others wait anew."""
    expired = [entry for entry in batch.entries if entry[2] <= now]
    if not expired:
        return False
    batch.lane.put_back([entry for entry in batch.entries if entry[2] > now])
    for entry in expired:
        fail_entry(batch.lane, entry, verdict(batch), statistics)
    return True


def expire_waiting(lane: Lane, now: float, statistics: Statistics) -> None:
    """Tell those who wait on a lane and whose deadline has come; they are in no batch yet."""
    expired = [entry for entry in lane.waiting if entry[2] <= now]
    if expired:
        lane.waiting = [entry for entry in lane.waiting if entry[2] > now]
        for entry in expired:
            fail_entry(lane, entry, NotSent(TOO_LATE), statistics)
    for followers in (lane.tokens or {}).values():
        for follower in [entry for entry in followers if entry[2] <= now]:
            followers.remove(follower)
            # Whether the first with this token was applied is not known, and it is the same operation.
            error = OutcomeUnknown("the first call with this token was not answered before the deadline")
            _refuse(follower, error, statistics)


def _settle(entry: Entry, outcomes: list[Outcome], statistics: Statistics) -> None:
    _, future, _ = entry
    statistics.operations_total += len(outcomes)
    statistics.operations_waiting -= len(outcomes)
    if not future.done():
        future.set_result(outcomes[0] if len(outcomes) == 1 else outcomes)


def _refuse(entry: Entry, error: PlusoneError, statistics: Statistics) -> None:
    group, future, _ = entry
    statistics.operations_waiting -= group.size
    if not future.done():
        if isinstance(error, OutcomeUnknown):
            statistics.unknown_total += group.size
        future.set_exception(error)
