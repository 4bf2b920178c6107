"""The protocol with one rule switched off each time: what the model test has to catch.

A rule of the store is broken in the store. A rule of the combiner is broken on the wire, in the clock or in a constant:
so that a mutant says what a wrong combiner would do, and does not depend on how ours is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from plusone.clock import Clock
from plusone.errors import PlusoneError
from plusone.stores import memory
from plusone.stores.protocol import Answer, GuardedAdd
from plusone.types import MAX, MIN
from tests.model.network import Link, RecordingStore
from tests.model.simulation import Made
from tests.model.virtual import Loop


class Mutant(msgspec.Struct, frozen=True):
    rule: str
    """The words of docs/protocol.md that no longer hold."""
    profile: str
    schedules: int
    """So many are enough to catch it."""
    made: Made = Made()
    constants: dict[str, Any] = msgspec.field(default_factory=dict)
    """Attributes of modules that it changes, by dotted name."""


def _requests(change: Callable[[GuardedAdd], GuardedAdd]) -> Made:
    """A store that does not see a part of the request."""

    class Store(RecordingStore):
        def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
            return super()._step(change(request), now_ms)

    return Made(store=Store)


class DuplicatesCount(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        counter = self._counters.get(request.key)
        session = counter.sessions.get(request.writer) if counter is not None else None
        if counter is not None and session is not None and session.seq == request.seq:
            del counter.sessions[request.writer]
        return super()._step(replace(request, acked=0), now_ms)


class StaleCounts(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        counter = self._counters.get(request.key)
        session = counter.sessions.get(request.writer) if counter is not None else None
        if counter is not None and session is not None and session.seq > request.seq:
            del counter.sessions[request.writer]
            return super()._step(replace(request, acked=0), now_ms)
        return super()._step(request, now_ms)


class TokensForgotten(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        counter = self._counters.get(request.key)
        for token in request.tokens:
            if counter is not None:
                counter.tokens.pop(token.token, None)
        return super()._step(request, now_ms)


class TokensLater(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        answer = super()._step(request, now_ms)
        if request.tokens and isinstance(answer, Answer) and answer.status == "applied":
            counter = self._counters[request.key]
            taken = {token.token: counter.tokens.pop(token.token) for token in request.tokens}
            self._world.after(1.0, counter.tokens.update, taken)
        return answer


class TokensExpireEarly(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        answer = super()._step(request, now_ms)
        if request.tokens and isinstance(answer, Answer) and answer.status == "applied":
            for token in request.tokens:
                self._counters[request.key].tokens[token.token].until_ms = now_ms + 1000
        return answer


class RemovalDropsTokens(RecordingStore):
    def _remove_dead(self, now_ms: int) -> None:
        for counter in self._counters.values():
            if not counter.alive(now_ms) and counter.written_ms <= now_ms - memory.DEAD_KEPT_MS:
                counter.tokens.clear()
        super()._remove_dead(now_ms)


class ClosingsAreBatches(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        answer = super()._step(request, now_ms)
        if request.closing and isinstance(answer, Answer) and answer.status == "applied":
            self._counters[request.key].sessions[request.writer].value = answer.value
        return answer


class NoSessionWithoutOperations(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        answer = super()._step(request, now_ms)
        if request.applied == 0 and isinstance(answer, Answer) and answer.status == "applied":
            self._counters[request.key].sessions.pop(request.writer)
        return answer


class RemovalIgnoresSessions(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        counter = self._counters.get(request.key)
        written_ms = counter.written_ms if counter is not None else 0
        answer = super()._step(request, now_ms)
        if request.applied == 0 and request.key in self._counters:
            self._counters[request.key].written_ms = written_ms
        return answer


class DeleteResetsRevision(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        answer = super()._step(request, now_ms)
        if request.delete and isinstance(answer, Answer) and answer.status == "applied":
            self._counters[request.key].revision = 0
        return answer


class DeadCountsOn(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        counter = self._counters.get(request.key)
        left = counter.value if counter is not None and not counter.alive(now_ms) else 0
        answer = super()._step(request, now_ms)
        if counter is not None and request.applied and isinstance(answer, Answer) and answer.status == "applied":
            counter.value += 0 if request.restart else left
        return answer


class LaterTtlCounts(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        answer = super()._step(request, now_ms)
        if request.ttl_ms is not None and isinstance(answer, Answer) and answer.status == "applied":
            self._counters[request.key].expires_ms = now_ms + request.ttl_ms
        return answer


class AnswersStateAfter(RecordingStore):
    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        answer = super()._step(request, now_ms)
        if isinstance(answer, Answer) and answer.status in ("applied", "duplicate") and answer.value is not None:
            return replace(answer, value=self.state(request.key).value)
        return answer


class MissedAnswersEarlierState(RecordingStore):
    _earlier: ClassVar[dict[str, tuple[int, int, bool]]] = {}

    def deliver(self, request: GuardedAdd) -> Answer | PlusoneError:
        earlier = self._earlier.get(request.key, (0, 0, False))
        self._earlier[request.key] = self.state(request.key)
        answer = super().deliver(request)
        if isinstance(answer, Answer) and answer.status == "missed" and not answer.tokens:
            return replace(answer, value=earlier[0], revision=earlier[1], exists=earlier[2])
        return answer


class SeqReused(Link):
    """The batch after one that was never answered gets its seq."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._seqs: dict[tuple[str, int], int] = {}
        self._unanswered: dict[str, int] = {}

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        sent = []
        for request in batch:
            key = request.key
            seq = self._seqs.setdefault((key, request.seq), self._unanswered.get(key, request.seq))
            self._unanswered[key] = seq
            sent.append(replace(request, seq=seq, acked=self._seqs.get((key, request.acked), request.acked)))
        answers = await super().apply(sent)
        for request, answer in zip(sent, answers, strict=True):
            if isinstance(answer, Answer):
                self._unanswered.pop(request.key, None)
        return answers


class NewSeqOnResend(Link):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._seq = 0

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        changed = []
        for request in batch:
            self._seq += 1
            changed.append(replace(request, seq=self._seq, acked=0))
        return await super().apply(changed)


class NoClosing(Link):
    """A batch that ends without being applied is not shut out; `after_tokens` says which ends are meant."""

    after_tokens: ClassVar[bool] = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._known: set[tuple[str, int]] = set()
        self._unsent: set[tuple[str, int]] = set()
        self._acked: dict[str, int] = {}

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        skipped = {
            request.key
            for request in batch
            if request.closing and ((request.key, request.seq) in self._known) == self.after_tokens
        }
        self._unsent.update((request.key, request.seq) for request in batch if request.key in skipped)
        sent = [self._remember(request) for request in batch if request.key not in skipped]
        answered = iter(await super().apply(sent) if sent else [])
        answers = [Answer("applied", 0) if request.key in skipped else next(answered) for request in batch]
        for request, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Answer) and answer.tokens:
                self._known.add((request.key, request.seq))
            elif (
                isinstance(answer, Answer) and answer.status in ("applied", "duplicate") and request.key not in skipped
            ):
                self._acked[request.key] = request.seq
        return answers

    def _remember(self, request: GuardedAdd) -> GuardedAdd:
        """What was answered last, instead of the closing that was never sent."""
        if (request.key, request.acked) in self._unsent:
            return replace(request, acked=self._acked.get(request.key, 0))
        return request


class NoClosingAfterTokens(NoClosing):
    after_tokens = True


class Unpinned(Link):
    """The combiner does not know that the store cannot copy the state into a token's record."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.capabilities = replace(self.capabilities, pins_tokens=False)


class _MonotonicOnly(Clock):
    def elapsed(self) -> float:
        return self.monotonic()


class _OneWriter(Clock):
    def writer_id(self) -> str:
        return "the-same-for-all"


def _monotonic_only(loop: Loop, seed: int, wall_offset: float) -> Clock:
    return _MonotonicOnly(loop.time, lambda: loop.world.wall() + wall_offset, seed)


def _one_writer(loop: Loop, seed: int, wall_offset: float) -> Clock:
    return _OneWriter(loop.time, lambda: loop.world.wall() + wall_offset, seed)


MUTANTS = {
    "guard ignored": Mutant("value outside `[lo, hi]`", "crowd", 20, _requests(lambda r: replace(r, lo=MIN, hi=MAX))),
    "revision ignored": Mutant("another revision", "lives", 50, _requests(lambda r: replace(r, revision=None))),
    "liveness ignored": Mutant(
        "dead or alive where it must not be", "lives", 50, _requests(lambda r: replace(r, alive=None))
    ),
    "restart ignored": Mutant(
        "count from 0 instead of the value", "storm", 20, _requests(lambda r: replace(r, restart=False))
    ),
    "acked ignored": Mutant(
        "| | `last < acked` | **gap**, with `last` |", "failovers", 100, _requests(lambda r: replace(r, acked=0))
    ),
    "duplicates count": Mutant(
        "| session | `last = seq` | **duplicate**, with the stored value, revision and existence before |",
        "storm",
        20,
        Made(store=DuplicatesCount),
    ),
    "stale counts": Mutant(
        "| | `last > seq` | **stale** (a ghost; nobody waits for it) |", "ghosts", 50, Made(store=StaleCounts)
    ),
    "tokens forgotten": Mutant("one of them is recorded and not expired", "tokens", 20, Made(store=TokensForgotten)),
    "tokens written later": Mutant("session and token records written", "tokens", 50, Made(store=TokensLater)),
    "tokens expire early": Mutant("Unexpired tokens are never dropped", "tokens", 50, Made(store=TokensExpireEarly)),
    "removal drops tokens": Mutant(
        "not while they hold unexpired tokens", "lives", 500, Made(store=RemovalDropsTokens)
    ),
    "closings are batches": Mutant(
        "A duplicate without one is the closing's own", "edges", 200, Made(store=ClosingsAreBatches)
    ),
    "no session without operations": Mutant(
        "With `applied = 0` (and for a closing) only session and tokens are written",
        "ghosts",
        200,
        Made(store=NoSessionWithoutOperations),
    ),
    "removal ignores sessions": Mutant(
        "after their last write of any kind (a session's counts)", "removal", 2000, Made(store=RemovalIgnoresSessions)
    ),
    "dead records removed early": Mutant(
        "an hour after their last write", "removal", 200, constants={"plusone.stores.memory.DEAD_KEPT_MS": 0}
    ),
    "sessions pruned early": Mutant(
        "Stores keep sessions for at least 5 minutes",
        "ghosts",
        200,
        constants={"plusone.stores.memory.SESSION_KEPT_MS": 0, "plusone.stores.memory.SESSIONS_KEPT": 1},
    ),
    "delete resets the revision": Mutant(
        "Its revision and sessions go on", "lives", 50, Made(store=DeleteResetsRevision)
    ),
    "the dead count on": Mutant("A dead counter counts from 0", "lives", 50, Made(store=DeadCountsOn)),
    "later ttl counts": Mutant("later ttls are ignored", "lives", 50, Made(store=LaterTtlCounts)),
    "answers the state after": Mutant(
        "**applied**, with value, revision, existence before", "storm", 20, Made(store=AnswersStateAfter)
    ),
    "missed answers an earlier state": Mutant(
        "A miss may be answered from a strong read made after the step, never before it",
        "crowd",
        50,
        Made(store=MissedAnswersEarlierState),
    ),
    "seq reused after an unknown outcome": Mutant("other operations never get it", "ghosts", 50, Made(link=SeqReused)),
    "a new seq on a resend": Mutant("A batch keeps its `seq` through resends", "storm", 20, Made(link=NewSeqOnResend)),
    "rejections without closing": Mutant("else close the seq first", "edges", 500, Made(link=NoClosing)),
    "known tokens without closing": Mutant(
        "If an attempt was ambiguous, close the old seq first", "expiry", 500, Made(link=NoClosingAfterTokens)
    ),
    "tokens not pinned": Mutant("the combiner pins such a batch to the exact", "tokens", 50, Made(link=Unpinned)),
    "acked never forgotten": Mutant(
        "It forgets 2 minutes after that batch was asked for",
        "freezes",
        500,
        constants={"plusone.combiner.combiner.ACKED_REMEMBERED_SECONDS": float("inf")},
    ),
    "token for other operations": Mutant(
        "A difference is `TokenReused`",
        "tokens",
        50,
        constants={"plusone.combiner.tokens.fingerprint": lambda operations: ""},
    ),
    "deadlines ignore the wall clock": Mutant(
        "use the larger of monotonic and wall-clock advance", "suspensions", 2000, Made(clock=_monotonic_only)
    ),
    "one id for two writers": Mutant("never stored, never reused", "crashes", 20, Made(clock=_one_writer)),
}
