"""Merges the operations that wait on the same counter into one batch, and sees each batch to its end.

A counter in use has a lane. While one of its batches is under way, later operations wait in the lane and become the
next batch: batching grows with load by itself, and no timer delays anyone. Lanes that are ready together leave in one
call to the store. The rules of sessions, misses, closings and gaps are those of docs/protocol.md.

This is the only place that sends a batch again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from plusone.clock import Clock
from plusone.combiner import answering
from plusone.combiner.batching import (
    ACKED_REMEMBERED_SECONDS,
    NEVER_FORGOTTEN,
    Batch,
    Flight,
    Lane,
    Lanes,
    Waiter,
    form,
    guess,
)
from plusone.errors import (
    AcknowledgedDataLost,
    Closed,
    NotSent,
    OutcomeUnknown,
    Overloaded,
    PlusoneError,
    StoreUnavailable,
)
from plusone.folding import Folded, Group
from plusone.statistics import Gap, Limits, Statistics
from plusone.stores.protocol import Answer, Store, TokenRecord
from plusone.types import utc

GAP_SHOWN_SECONDS: Final = 300.0
GAPS_SHOWN: Final = 100
SHARED_AT_LEAST: Final = 64
"""Fewer batches are not worth a call of their own."""
MISSES_AT_ONCE: Final = 3
"""So many misses in a row are answered at once; then writers that keep one another from winning are spread."""

_log = logging.getLogger("plusone.combiner")


class Combiner:
    """One writer: everything that this process sends to one store goes through it, on one event loop."""

    def __init__(self, store: Store, limits: Limits, clock: Clock, prefix: str) -> None:
        self.lanes = Lanes(prefix)
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
        self._flights: dict[Flight, None] = {}
        self._flush_scheduled = False
        self._watch: asyncio.TimerHandle | None = None
        self._watch_interval = max(min(limits.timeout, limits.attempt_timeout) / 20, 0.005)
        self._awake = False
        """Whether deadlines are being watched, and new operations may come."""
        self.closed = False
        self._drained: asyncio.Event | None = None
        self._writer = ""
        self._writer_identity = (0, 0.0)
        self._seq = 0
        self._statistics = Statistics()
        self._gaps: deque[tuple[float, Gap]] = deque(maxlen=GAPS_SHOWN)

    # What the façade calls.

    def submit(self, lane: Lane, group: Group) -> Waiter:
        """Let a group of operations on one counter go with its next batch; raises `Overloaded` or `Closed` at once.

        Who stops waiting has to say so by `leave`.
        """
        try:
            if not (self._awake and (lane.busy or asyncio.get_running_loop() is self._loop)):
                self._wake()
        except RuntimeError as error:  # no loop runs here, or it is the one of a process that we were forked from
            raise Closed("these counters were opened in another process or thread; open them in this one") from error
        statistics = self._statistics
        waiting = statistics.operations_waiting + group.size
        if waiting > self._waiting_max:
            if not lane.busy:
                self.lanes.pop(lane.name, None)  # names that are refused must not fill the memory either
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

    def leave(self, lane: Lane) -> None:
        """A caller of this lane was cancelled: what it asked for is left out, unless it is under way already."""
        lane.bare = False

    def statistics(self) -> Statistics:
        """A copy of the numbers as they are now."""
        now = self._clock.elapsed()
        recent = tuple(gap for at, gap in self._gaps if now - at <= GAP_SHOWN_SECONDS)
        return msgspec.structs.replace(self._statistics, calls_in_flight=len(self._flights), recent_gaps=recent)

    async def close(self) -> None:
        """Refuse new operations, and wait until every accepted one is answered, by its deadline at the latest."""
        self.closed = True
        self._awake = False
        if self._statistics.operations_waiting or self._flights:
            self._drained = self._drained or asyncio.Event()
            try:
                async with asyncio.timeout(self._limits.timeout + 2 * self._limits.attempt_timeout):
                    await self._drained.wait()
            except TimeoutError:
                _log.error("operations were still under way after their deadlines; closing without them")
                self._abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # From waiting operations to calls under way.

    def _wake(self) -> None:
        """The first operation after idleness: see which loop and which time it is, and watch the deadlines."""
        if self.closed:
            raise Closed("the counters were closed; open them again")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._create_future = loop.create_future
        elif self._loop is not loop:
            raise Closed("these counters belong to another event loop; open them in this one")
        self._now()
        if self._watch is None:
            self._watch = loop.call_later(self._watch_interval, self._tick)
        self._awake = True

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
        while (self._resend or self._ready) and len(self._flights) < self._capabilities.calls_in_flight:
            now = self._now()
            self._check_writer()
            batches: list[Batch] = []
            # Shared among the calls that may go now: the store works on one while the other is being made.
            share = (len(self._resend) + len(self._ready)) // (self._capabilities.calls_in_flight - len(self._flights))
            room = min(self._capabilities.batches_per_call, max(share, SHARED_AT_LEAST))
            while self._resend and len(batches) < room:
                batch = self._resend.popleft()
                if batch.deadline > now:
                    batches.append(batch)
                else:
                    self._fail(batch, answering.verdict(batch))
            if self._ready and len(batches) < room:
                at = utc(self._clock.wall_ms())
                while self._ready and len(batches) < room:
                    fresh = self._freeze(self._ready.popleft(), now, at)
                    if fresh is not None:
                        batches.append(fresh)
            if batches:
                flight = Flight(batches)
                self._flights[flight] = None
                flight.task = loop.create_task(self._fly(flight))
                self.lanes.forget_idle(now, len(batches))
        self._finish_if_drained()

    def _freeze(self, lane: Lane, now: float, at: datetime) -> Batch | None:
        """Make the lane's next batch of those who still wait; None if nobody does."""
        entries, gone = lane.take(now, self._capabilities.tokens_per_batch)
        for entry in gone:
            answering.fail_entry(lane, entry, NotSent(answering.TOO_LATE), self._statistics)
        if not entries:
            self._release(lane)
            return None
        batch = form(lane, entries, at)
        self._seq += 1
        if lane.acked and now - lane.acked_at > ACKED_REMEMBERED_SECONDS:
            lane.acked = 0
        guard, start = guess(batch, self._capabilities)
        batch.ask(guard, start, self._writer, self._seq, self._capabilities.pins_tokens)
        return batch

    def _check_writer(self) -> None:
        """A forked process is a writer of its own, and so is a machine that was restored from a snapshot.

        The one shows by its process id, the other by time that the monotonic clock did not see pass.
        """
        identity = (os.getpid(), self._clock.skew)
        if identity != self._writer_identity:
            self._writer = self._clock.writer_id()
            self._writer_identity = identity
            self._seq = 0
            for lane in self.lanes.values():
                lane.acked = 0

    # From calls under way to answers.

    async def _fly(self, flight: Flight) -> None:
        """One call to the store, and what follows from its answers."""
        now = self._now()
        flight.until = now + self._limits.attempt_timeout
        batches = flight.batches
        late = [batch for batch in batches if batch.deadline <= now]
        if late:  # the process was frozen since the batches were made ready
            batches = flight.batches = [batch for batch in batches if batch.deadline > now]
            for batch in late:
                self._fail(batch, answering.verdict(batch))
        self._statistics.attempts_total += len(batches)
        for batch in batches:
            batch.in_air = True
        try:
            answers = await self._call(flight) if batches else []
        except asyncio.CancelledError:
            self._abort()
            raise
        finally:
            self._flights.pop(flight, None)
        if batches and not flight.batches:
            return  # the end came meanwhile, and answered them all
        failed: list[Batch] = []
        for batch, answer in zip(batches, answers, strict=True):
            batch.in_air = False
            try:
                self._take(batch, answer, failed)
            except Exception:
                # Whatever is wrong with one answer must not keep the callers of all others waiting for ever.
                _log.exception("an answer could not be used; its callers are told that the outcome is unknown")
                self._fail(batch, OutcomeUnknown("plusone could not use the datastore's answer; its log says why"))
        if failed:
            self._park(failed)
        self._schedule()

    def _take(self, batch: Batch, answer: Answer | PlusoneError, failed: list[Batch]) -> None:
        """What follows from one answer; `failed` gets the batch if it is to be sent again after a while."""
        if isinstance(answer, PlusoneError):
            self._failed(batch, answer, failed)
        elif answer.status in ("applied", "duplicate"):
            self._applied(batch, answer)
        elif answer.status == "missed":
            self._missed(batch, answer, failed)
        elif answer.status == "gap":
            self._gap(batch, answer.last, failed)
        else:
            # Only a later seq of this writer makes one stale, and a counter has one batch under way.
            self._fail(batch, OutcomeUnknown("the datastore answered a batch under way as outdated"))

    async def _call(self, flight: Flight) -> Sequence[Answer | PlusoneError]:
        error: PlusoneError
        try:
            answers = await self._store.apply([batch.request for batch in flight.batches if batch.request is not None])
            if len(answers) == len(flight.batches):
                return answers
            error = OutcomeUnknown(f"the store gave {len(answers)} answers to {len(flight.batches)} batches")
        except PlusoneError as failure:
            error = failure
        except asyncio.CancelledError:
            # Ours, because the call took too long; the driver's own; or the end of the event loop.
            if flight.overdue:
                flight.task.uncancel()
            if flight.task.cancelling():
                raise
            error = OutcomeUnknown("the datastore did not answer in time")
        except Exception as failure:
            _log.exception("the store raised what is none of our errors; taken as ambiguous")
            error = OutcomeUnknown(f"{type(failure).__name__}: {failure}")
        return [error] * len(flight.batches)

    def _applied(self, batch: Batch, answer: Answer) -> None:
        lane = batch.lane
        assert batch.request is not None
        if batch.request.writer == self._writer:
            lane.acked = batch.request.seq
        # Not the time of the answer: a process that was frozen may read it long after the session was written.
        lane.acked_at = batch.deadline - self._limits.timeout
        if batch.parting is not None and (answer.status == "applied" or answer.value is None):
            batch.parting()
            return
        if answer.value is None:
            self._fail(batch, OutcomeUnknown("the datastore answered without the value before"))
            return
        self._statistics.batches_total += 1
        folded = batch.fold(answer.value, answer.revision, answer.exists)
        answering.answer(batch, folded, self._statistics)
        self._release(lane)

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
        folded = batch.fold(*state)
        if folded.applied == 0 and not batch.writes_tokens:
            self._part(batch, lambda: self._answer(batch, folded))
            return
        request = batch.request
        assert request is not None
        batch.ask(folded, state, request.writer, request.seq, self._capabilities.pins_tokens)
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

    def _gap(self, batch: Batch, last: int, failed: list[Batch]) -> None:
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
            lane.acked_at = NEVER_FORGOTTEN  # every later operation finds the gap too
            self._fail(batch, OutcomeUnknown(message) if batch.ambiguous else AcknowledgedDataLost(message))
            return
        lane.acked = last
        lane.state = None
        batch.request = msgspec.structs.replace(request, acked=last)
        batch.error = StoreUnavailable(message)
        batch.failures += 1
        if batch.failures == 1:
            self._resend.append(batch)
        else:
            failed.append(batch)

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
        delay = self._clock.backoff(max(max(batch.failures, batch.misses - MISSES_AT_ONCE) for batch in batches))

        def unpark() -> None:
            self._resend.extend(self._parked.pop(handle, ()))
            self._schedule()

        handle = self._loop.call_later(delay, unpark)
        self._parked[handle] = batches

    # The ends.

    def _answer(self, batch: Batch, folded: Folded) -> None:
        answering.answer(batch, folded, self._statistics)
        self._release(batch.lane)

    def _answer_known(self, batch: Batch, records: Iterable[TokenRecord]) -> None:
        answering.answer_known(batch, records, self._statistics)
        self._release(batch.lane)

    def _fail(self, batch: Batch, error: PlusoneError) -> None:
        answering.fail(batch, error, self._statistics)
        self._release(batch.lane)

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
        """See whose deadline has come, and which call takes too long. It runs only while something waits."""
        assert self._loop is not None
        now = self._now()
        for flight in self._flights:
            if flight.until <= now and not flight.overdue:
                flight.overdue = True
                flight.task.cancel()
        under_way = [batch for flight in self._flights for batch in flight.batches]
        for batch in under_way:
            answering.expire_sent(batch, now, self._statistics)
        self._resend = deque(batch for batch in self._resend if not self._expire_unsent(batch, now))
        for handle, parked in self._parked.items():
            self._parked[handle] = [batch for batch in parked if not self._expire_unsent(batch, now)]
            under_way += self._parked[handle]
        for batch in (*under_way, *self._resend):
            answering.expire_waiting(batch.lane, now, self._statistics)
        for lane in list(self._ready):
            answering.expire_waiting(lane, now, self._statistics)
        if self._statistics.operations_waiting or self._flights:
            self._watch = self._loop.call_later(self._watch_interval, self._tick)
        else:
            self._watch = None
            self._awake = False
        self._finish_if_drained()

    def _expire_unsent(self, batch: Batch, now: float) -> bool:
        """See to the deadlines of a batch between two attempts; True if that was the batch's end."""
        if batch.deadline <= now:
            self._fail(batch, answering.verdict(batch))
            return True
        if batch.ambiguous:
            answering.expire_sent(batch, now, self._statistics)
            return False
        # Nothing of it can be applied any more, so that may be said; whoever has time left goes with a new batch.
        if not answering.take_apart(batch, now, self._statistics):
            return False
        self._release(batch.lane)
        return True

    def _finish_if_drained(self) -> None:
        if self._drained is not None and not self._statistics.operations_waiting and not self._flights:
            self._drained.set()

    def _abort(self) -> None:
        """The event loop is ending: tell every caller what is known, and send nothing more."""
        self.closed = True
        self._awake = False
        batches = [batch for flight in self._flights for batch in flight.batches]
        batches += self._resend
        batches += [batch for parked in self._parked.values() for batch in parked]
        for flight in self._flights:
            flight.batches = []
            if flight.task is not asyncio.current_task():
                flight.task.cancel()
        self._resend.clear()
        self._parked.clear()
        for batch in batches:
            self._fail(batch, answering.verdict(batch))
        unsent = NotSent("the event loop ended before the operation could be sent")
        for lane in self.lanes.values():
            while lane.waiting:  # one that fails may let another take its place
                answering.fail_entry(lane, lane.waiting.pop(), unsent, self._statistics)
        self._ready.clear()
