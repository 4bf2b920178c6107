"""Merges the operations that wait on the same counter into one batch, and sees each batch to its end.

A counter in use has a lane. While one of its batches is under way, later operations wait in the lane and become the
next batch: batching grows with load by itself, and no timer delays anyone. Lanes that are ready together leave in one
call to the store. The rules of sessions, misses, closings and gaps are those of docs/protocol.md.

This is the only place that sends anything again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from plusone import tokens
from plusone.batching import Batch, Entry, Lane, Waiter, form, guess
from plusone.clock import Clock
from plusone.errors import (
    AcknowledgedDataLost,
    Closed,
    Contended,
    NotSent,
    OutcomeUnknown,
    Overloaded,
    PlusoneError,
    StoreUnavailable,
    TokenReused,
)
from plusone.folding import Folded, Group, fold
from plusone.statistics import Gap, Limits, Statistics
from plusone.stores.protocol import Answer, Record, Store, TokenRecord
from plusone.types import Outcome, utc

T = TypeVar("T")

ACKED_REMEMBERED_SECONDS: Final = 120.0
GAP_SHOWN_SECONDS: Final = 300.0
GAPS_SHOWN: Final = 100
BACKOFF_FIRST_SECONDS: Final = 0.02
BACKOFF_LONGEST_SECONDS: Final = 1.0
LANES_LOOKED_AT: Final = 512
MISSES_AT_ONCE: Final = 3
"""So many misses in a row are answered at once; then writers that keep one another from winning are spread."""

_TOO_LATE: Final = "the deadline came before the operation could be sent; ask again, or give it more time"
_log = logging.getLogger("plusone.combiner")


class Combiner:
    """One writer: everything that this process sends to one store goes through it, on one event loop."""

    def __init__(self, store: Store, limits: Limits, clock: Clock) -> None:
        self.lanes: dict[str, Lane] = {}
        self._store = store
        self._limits = limits
        self._clock = clock
        self._monotonic = clock.monotonic
        self._waiting_max = limits.waiting_max
        self._capabilities = store.capabilities
        self._deadline_offset = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._create_future: Callable[[], Waiter]
        self._ready: deque[Lane] = deque()
        self._resend: deque[Batch] = deque()
        self._parked: dict[asyncio.TimerHandle, list[Batch]] = {}
        self._flights: dict[int, tuple[list[Batch], asyncio.Task[None]]] = {}
        self._flight_number = 0
        self._flush_scheduled = False
        self._watch: asyncio.TimerHandle | None = None
        self._watch_interval = max(limits.timeout / 50, 0.005)
        self._closed = False
        self._drained: asyncio.Event | None = None
        self._writer = ""
        self._writer_pid = 0
        self._seq = 0
        self._statistics = Statistics()
        self._gaps: deque[tuple[float, Gap]] = deque(maxlen=GAPS_SHOWN)
        self._idle_lanes: list[Lane] = []
        self._idle_lanes_at = float("-inf")

    # What the façade calls.

    def lane(self, key: str) -> Lane:
        """The lane of a counter that `lanes` does not have yet."""
        lane = self.lanes[key] = Lane(key)
        return lane

    def submit(self, lane: Lane, group: Group) -> Waiter:
        """Let a group of operations on one counter go with its next batch; raises `Overloaded` or `Closed` at once."""
        if self._watch is None or self._closed:
            self._wake()
        statistics = self._statistics
        waiting = statistics.operations_waiting + len(group.operations)
        if waiting > self._waiting_max:
            raise Overloaded(f"{statistics.operations_waiting} operations are waiting; slow down, or raise waiting_max")
        statistics.operations_waiting = waiting
        future = self._create_future()
        entry = (group, future, self._monotonic() + self._deadline_offset)
        if group.bare:
            lane.waiting.append(entry)
        elif not lane.enqueue(entry):
            return future
        if not lane.busy:
            lane.busy = True
            self._ready.append(lane)
            self._schedule()
        return future

    async def read(self, keys: Sequence[str], *, strong: bool) -> list[Record]:
        """Read records, in as few calls as the store's largest allows."""
        size = self._capabilities.batches_per_call
        records: list[Record] = []
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            records += await self.ask(lambda part=part: self._store.read(part, strong=strong))  # type: ignore[misc]
        return records

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the store something that changes nothing, again after a failure, until the deadline."""
        if self._closed:
            raise Closed("the counters were closed")
        deadline = self._clock.elapsed() + self._limits.timeout
        failures = 0
        while True:
            left = deadline - self._clock.elapsed()
            try:
                async with asyncio.timeout(min(self._limits.attempt_timeout, left)):
                    return await question()
            except TimeoutError:
                error: PlusoneError = OutcomeUnknown("the datastore did not answer in time")
            except (StoreUnavailable, OutcomeUnknown) as failure:
                error = failure
            failures += 1
            delay = self._backoff(failures)
            if self._clock.elapsed() + delay >= deadline:
                raise StoreUnavailable(f"the datastore could not be read until the deadline: {error}") from error
            await asyncio.sleep(delay)

    async def check(self) -> None:
        """Ask the store once whether it can serve."""
        try:
            async with asyncio.timeout(self._limits.attempt_timeout):
                await self._store.check()
        except TimeoutError:
            raise StoreUnavailable("the datastore did not answer in time") from None
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error

    def statistics(self) -> Statistics:
        """A copy of the numbers as they are now."""
        now = self._clock.elapsed()
        recent = tuple(gap for at, gap in self._gaps if now - at <= GAP_SHOWN_SECONDS)
        return msgspec.structs.replace(self._statistics, calls_in_flight=len(self._flights), recent_gaps=recent)

    async def close(self) -> None:
        """Refuse new operations, and wait until every accepted one is answered, by its deadline at the latest."""
        self._closed = True
        if self._statistics.operations_waiting or self._flights:
            self._drained = asyncio.Event()
            await self._drained.wait()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # From waiting operations to calls under way.

    def _wake(self) -> None:
        """The first operation after idleness: see which loop and which time it is, and watch the deadlines."""
        if self._closed:
            raise Closed("the counters were closed; open them again")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._statistics.operations_waiting:
                raise Closed("these counters belong to another event loop; open them in this one")
            self._loop = loop
            self._create_future = loop.create_future
        self._now()
        self._watch = loop.call_later(self._watch_interval, self._tick)

    def _now(self) -> float:
        now = self._clock.elapsed()
        self._deadline_offset = self._clock.skew + self._limits.timeout
        return now

    def _schedule(self) -> None:
        # By call_soon, behind the callers that were just answered: what they ask for next is in the next batch.
        if not self._flush_scheduled and self._loop is not None:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what is ready, while the store may take another call."""
        self._flush_scheduled = False
        loop = self._loop
        assert loop is not None
        self._check_writer()
        while (self._resend or self._ready) and len(self._flights) < self._capabilities.calls_in_flight:
            now = self._now()
            flight: list[Batch] = []
            room = self._capabilities.batches_per_call
            while self._resend and len(flight) < room:
                batch = self._resend.popleft()
                if batch.deadline > now:
                    flight.append(batch)
                else:
                    self._fail(batch, self._verdict(batch))
            if self._ready and len(flight) < room:
                at_ms = self._clock.wall_ms()
                at = utc(at_ms)
                while self._ready and len(flight) < room:
                    fresh = self._freeze(self._ready.popleft(), now, at_ms, at)
                    if fresh is not None:
                        flight.append(fresh)
            if flight:
                self._flight_number += 1
                task = loop.create_task(self._fly(self._flight_number, flight))
                self._flights[self._flight_number] = (flight, task)
            self._forget_idle_lanes(now)
        self._finish_if_drained()

    def _freeze(self, lane: Lane, now: float, at_ms: int, at: datetime) -> Batch | None:
        """Make the lane's next batch of those who still wait; None if nobody does."""
        entries, gone = lane.take(now, self._capabilities.tokens_per_batch)
        for entry in gone:
            self._fail_entry(lane, entry, NotSent(_TOO_LATE))
        if not entries:
            self._release(lane)
            return None
        batch = form(lane, entries, at_ms, at)
        self._seq += 1
        if lane.acked and now - lane.acked_at > ACKED_REMEMBERED_SECONDS:
            lane.acked = 0
        guard, start = guess(batch, self._capabilities)
        batch.ask(guard, start, self._writer, self._seq, self._capabilities.pins_tokens)
        return batch

    def _check_writer(self) -> None:
        """A process that was forked is a writer of its own."""
        pid = os.getpid()
        if pid != self._writer_pid:
            self._writer = self._clock.writer_id()
            self._writer_pid = pid
            self._seq = 0
            for lane in self.lanes.values():
                lane.acked = 0

    # From calls under way to answers.

    async def _fly(self, number: int, flight: list[Batch]) -> None:
        """One call to the store, and what follows from its answers."""
        self._statistics.attempts_total += len(flight)
        for batch in flight:
            batch.in_air = True
        try:
            answers = await self._call(flight)
        except asyncio.CancelledError:
            self._abort()
            raise
        finally:
            del self._flights[number]
        failed: list[Batch] = []
        now = self._clock.elapsed()
        for batch, answer in zip(flight, answers, strict=True):
            batch.in_air = False
            if isinstance(answer, PlusoneError):
                self._failed(batch, answer, failed)
            elif answer.status in ("applied", "duplicate"):
                self._applied(batch, answer, now)
            elif answer.status == "missed":
                self._missed(batch, answer, failed)
            elif answer.status == "gap":
                self._gap(batch, answer.last)
            else:
                # Only a later seq of this writer makes one stale, and a counter has one batch under way.
                self._fail(batch, OutcomeUnknown("the datastore answered a batch under way as outdated"))
        if failed:
            self._park(failed)
        self._schedule()

    async def _call(self, flight: list[Batch]) -> Sequence[Answer | PlusoneError]:
        error: PlusoneError
        try:
            async with asyncio.timeout(self._limits.attempt_timeout):
                answers = await self._store.apply([batch.request for batch in flight if batch.request is not None])
            if len(answers) == len(flight):
                return answers
            error = OutcomeUnknown(f"the store gave {len(answers)} answers to {len(flight)} batches")
        except PlusoneError as failure:
            error = failure
        except TimeoutError:
            error = OutcomeUnknown("the datastore did not answer in time")
        except Exception as failure:
            _log.exception("the store raised what is none of our errors; taken as ambiguous")
            error = OutcomeUnknown(f"{type(failure).__name__}: {failure}")
        return [error] * len(flight)

    def _applied(self, batch: Batch, answer: Answer, now: float) -> None:
        lane = batch.lane
        assert batch.request is not None
        lane.acked = batch.request.seq
        lane.acked_at = now
        if batch.parting is not None and (answer.status == "applied" or answer.value is None):
            batch.parting()
            return
        if answer.value is None:
            self._fail(batch, OutcomeUnknown("the datastore answered without the value before"))
            return
        self._statistics.batches_total += 1
        self._answer(batch, fold(answer.value, answer.revision, answer.exists, batch.operations, batch.at))

    def _missed(self, batch: Batch, answer: Answer, failed: list[Batch]) -> None:
        self._statistics.missed_total += 1
        if answer.tokens:
            self._part(batch, lambda: self._answer_known(batch, answer.tokens))
            return
        if answer.value is None:
            self._fail(batch, OutcomeUnknown("the datastore answered without the value"))
            return
        state = (answer.value, answer.revision, answer.exists)
        batch.lane.state = state
        folded = fold(*state, batch.operations, batch.at)
        if folded.guard.applied == 0 and not batch.writes_tokens:
            self._part(batch, lambda: self._answer(batch, folded))
            return
        request = batch.request
        assert request is not None
        batch.ask(folded.guard, state, request.writer, request.seq, self._capabilities.pins_tokens)
        batch.misses += 1
        batch.error = None
        if batch.misses > MISSES_AT_ONCE:
            failed.append(batch)
        else:
            self._resend.append(batch)

    def _part(self, batch: Batch, parting: Callable[[], None]) -> None:
        """End the batch without applying it; if an attempt may yet be applied, close its seq first."""
        if not batch.ambiguous:
            parting()
            return
        batch.close(parting)
        self._resend.append(batch)

    def _gap(self, batch: Batch, last: int) -> None:
        """The store lost what it had acknowledged: say so, and go on from what is left, or stop."""
        lane, request = batch.lane, batch.request
        assert request is not None
        gap = Gap(lane.key, request.acked, last, self._clock.wall_ms())
        self._gaps.append((self._clock.elapsed(), gap))
        self._statistics.gaps_total += 1
        message = (
            f"the datastore lost acknowledged operations on {lane.key!r}: it had acknowledged batch {request.acked}"
            f" of this writer, and the last that it has is {last}"
        )
        _log.error(message)
        if self._limits.on_gap == "stop":
            lane.acked_at = float("inf")  # never forgotten: every later operation finds the gap too
            self._fail(batch, AcknowledgedDataLost(message))
            return
        lane.acked = last
        lane.state = None
        batch.request = msgspec.structs.replace(request, acked=last)
        self._resend.append(batch)

    def _failed(self, batch: Batch, error: PlusoneError, failed: list[Batch]) -> None:
        """Note a failed attempt; `failed` gets the batch if it is to be sent again after a while."""
        batch.error = error
        batch.failures += 1
        if error.applied == "maybe":
            batch.ambiguous = True
            self._statistics.ambiguous_total += 1
        else:
            self._statistics.failures_total += 1
            if not batch.ambiguous and not isinstance(error, StoreUnavailable):
                self._fail(batch, error)
                return
        failed.append(batch)

    def _park(self, batches: list[Batch]) -> None:
        """Send these again after a while: one delay for all, for they failed together."""
        assert self._loop is not None
        delay = self._backoff(max(max(batch.failures, batch.misses - MISSES_AT_ONCE) for batch in batches))

        def unpark() -> None:
            self._resend.extend(self._parked.pop(handle, ()))
            self._schedule()

        handle = self._loop.call_later(delay, unpark)
        self._parked[handle] = batches

    def _backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures: exponential, with full jitter.

        Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        longest = min(BACKOFF_LONGEST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures - 1, 10))
        return self._clock.random.uniform(0, longest)

    # The ends.

    def _answer(self, batch: Batch, folded: Folded) -> None:
        """Give every caller of the batch its outcomes."""
        lane = batch.lane
        lane.state = (folded.value, folded.revision, folded.exists)
        outcomes = folded.outcomes
        self._statistics.operations_total += len(outcomes)
        self._statistics.operations_waiting -= len(outcomes)
        if len(batch.entries) == len(outcomes) and not batch.writes_tokens:
            for (_, future, _), outcome in zip(batch.entries, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)
        else:
            start = 0
            for entry in batch.entries:
                size = len(entry[0].operations)
                self._answer_entry(lane, entry, outcomes[start : start + size])
                start += size
        self._release(lane)

    def _answer_entry(self, lane: Lane, entry: Entry, outcomes: list[Outcome]) -> None:
        """Answer one entry, and those who asked with the same token later."""
        group, future, _ = entry
        if not future.done():
            future.set_result(outcomes[0] if len(group.operations) == 1 else outcomes)
        if group.token is None or lane.tokens is None:
            return
        again = [tokens.replayed(outcome) for outcome in outcomes]
        for follower in lane.tokens.pop(group.token, ()):
            followed, waiter, _ = follower
            self._statistics.operations_waiting -= len(followed.operations)
            if waiter.done():
                continue
            if tokens.fingerprint(followed.operations) != tokens.fingerprint(group.operations):
                waiter.set_exception(TokenReused())
            else:
                self._statistics.operations_total += len(again)
                self._statistics.replays_total += len(again)
                waiter.set_result(again[0] if len(again) == 1 else again)

    def _answer_known(self, batch: Batch, records: Iterable[TokenRecord]) -> None:
        """Answer those whose tokens are recorded; the others are a new batch, before whoever waits."""
        lane = batch.lane
        by_token = {record.token: record for record in records}
        rest: list[Entry] = []
        for entry in batch.entries:
            group = entry[0]
            record = by_token.get(group.token) if group.token is not None else None
            if record is None:
                rest.append(entry)
                continue
            try:
                outcomes = tokens.recall(record, group)
            except TokenReused as error:
                self._fail_entry(lane, entry, error)
                continue
            self._statistics.operations_waiting -= len(outcomes)
            self._statistics.operations_total += len(outcomes)
            self._statistics.replays_total += len(outcomes)
            self._answer_entry(lane, entry, outcomes)
        lane.put_back(rest)
        self._release(lane)

    def _verdict(self, batch: Batch) -> PlusoneError:
        cause = f": {batch.error}" if batch.error is not None else ""
        if batch.ambiguous or batch.in_air:
            return OutcomeUnknown(f"no answer came before the deadline{cause}; ask again with the same token")
        if batch.error is not None:
            return StoreUnavailable(f"the datastore did not take the operation before the deadline{cause}")
        return Contended("other writers changed the counter on every attempt before the deadline")

    def _fail(self, batch: Batch, error: PlusoneError) -> None:
        for entry in batch.entries:
            self._fail_entry(batch.lane, entry, error)
        self._release(batch.lane)

    def _fail_entry(self, lane: Lane, entry: Entry, error: PlusoneError) -> None:
        """Tell one entry's caller; the first who followed its token takes its place."""
        group, future, _ = entry
        self._statistics.operations_waiting -= len(group.operations)
        if not future.done():
            if isinstance(error, OutcomeUnknown):
                self._statistics.unknown_total += len(group.operations)
            # Each caller gets an exception of its own: a shared one would collect all their tracebacks.
            future.set_exception(error.again())
        if group.token is not None and lane.tokens is not None:
            followers = lane.tokens.pop(group.token, None)
            if followers:
                lane.tokens[group.token] = followers[1:]
                lane.put_back(followers[:1])

    def _release(self, lane: Lane) -> None:
        """The lane's batch has ended: let it be ready for the next, or idle."""
        if lane.waiting:
            self._ready.append(lane)
            self._schedule()
        else:
            lane.busy = False
            if not lane.tokens:
                lane.tokens = None

    # Deadlines, idleness, the end.

    def _tick(self) -> None:
        """See whose deadline has come. It runs only while something waits."""
        assert self._loop is not None
        now = self._now()
        batches = [batch for flight, _ in self._flights.values() for batch in flight]
        batches += self._resend
        for handle, parked in self._parked.items():
            for batch in parked:
                if batch.deadline <= now:
                    self._fail(batch, self._verdict(batch))
            self._parked[handle] = [batch for batch in parked if batch.deadline > now]
            batches += self._parked[handle]
        for batch in batches:
            self._expire_sent(batch, now)
            self._expire_waiting(batch.lane, now)
        for lane in list(self._ready):
            self._expire_waiting(lane, now)
        self._watch = None
        if self._statistics.operations_waiting or self._flights:
            self._watch = self._loop.call_later(self._watch_interval, self._tick)
        self._finish_if_drained()

    def _expire_sent(self, batch: Batch, now: float) -> None:
        """Answer those whose deadline has come; the batch goes on for the others."""
        for group, future, deadline in batch.entries:
            if deadline <= now and not future.done():
                error = self._verdict(batch)
                if isinstance(error, OutcomeUnknown):
                    self._statistics.unknown_total += len(group.operations)
                future.set_exception(error)

    def _expire_waiting(self, lane: Lane, now: float) -> None:
        expired = [entry for entry in lane.waiting if entry[2] <= now]
        if expired:
            lane.waiting = [entry for entry in lane.waiting if entry[2] > now]
            for entry in expired:
                self._fail_entry(lane, entry, NotSent(_TOO_LATE))
        for followers in (lane.tokens or {}).values():
            # Whether the first with this token was applied is not known, and it is the same operation.
            for follower in [entry for entry in followers if entry[2] <= now]:
                followers.remove(follower)
                group, future, _ = follower
                self._statistics.operations_waiting -= len(group.operations)
                if not future.done():
                    self._statistics.unknown_total += len(group.operations)
                    future.set_exception(OutcomeUnknown("the first call with this token was not answered in time"))

    def _forget_idle_lanes(self, now: float) -> None:
        """Let go of counters that were not used for long: a few at a time, so that nobody waits for it."""
        if not self._idle_lanes:
            if now < self._idle_lanes_at:
                return
            self._idle_lanes_at = now + ACKED_REMEMBERED_SECONDS
            self._idle_lanes = list(self.lanes.values())
        for lane in self._idle_lanes[-LANES_LOOKED_AT:]:
            if not lane.busy and now - lane.acked_at > ACKED_REMEMBERED_SECONDS:
                del self.lanes[lane.key]
        del self._idle_lanes[-LANES_LOOKED_AT:]

    def _finish_if_drained(self) -> None:
        if self._drained is not None and not self._statistics.operations_waiting and not self._flights:
            self._drained.set()

    def _abort(self) -> None:
        """The event loop is ending: tell every caller what is known, and send nothing more."""
        self._closed = True
        batches = [batch for flight, _ in self._flights.values() for batch in flight]
        batches += self._resend
        batches += [batch for parked in self._parked.values() for batch in parked]
        self._resend.clear()
        self._parked.clear()
        for batch in batches:
            self._fail(batch, self._verdict(batch))
        for lane in self.lanes.values():
            for entry in lane.waiting:
                self._fail_entry(lane, entry, NotSent("the event loop ended before the operation could be sent"))
            lane.waiting.clear()
        self._ready.clear()
