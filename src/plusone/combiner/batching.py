"""What one counter's operations need on their way to the store: who waits, what travels together, what is asked.

Plain data and functions of it; the combiner moves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec

from plusone.combiner import tokens
from plusone.errors import PlusoneError
from plusone.folding import Folded, Group, Guard, State, fold, fold_repeated, optimistic, repeated
from plusone.stores.protocol import Capabilities, GuardedAdd, TokenWrite
from plusone.types import MAX, MIN, Operation

Waiter: TypeAlias = "asyncio.Future[Any]"
"""Gets the `Outcome` of a group of one operation, or the list of those of a larger one."""
Entry: TypeAlias = tuple[Group, Waiter, float]
"""A group that waits, who waits for it, and until when (by `Clock.elapsed`)."""

OPERATIONS_PER_BATCH: Final = 4_096
ACKED_REMEMBERED_SECONDS: Final = 120.0
NEVER_FORGOTTEN: Final = float("inf")
LANES_REMEMBERED: Final = 250_000
"""Of more counters the idle ones are forgotten at once: it costs the notice of a gap, never a count."""
LANES_PER_CALL: Final = 32
LANES_PER_BATCH: Final = 4
"""So many idle lanes are looked at with each call that leaves, and with each of its batches: more than can be made."""
_NOWHERE: Final[State] = (0, 0, False)


class Lane:
    """What is known of one counter, and who waits on it."""

    __slots__ = ("acked", "acked_at", "bare", "busy", "key", "name", "state", "tokens", "waiting")

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        """The store's: `account/name`."""
        self.waiting: list[Entry] = []
        self.bare = True
        """Whether all who wait are bare adds and none has left, so that they can be taken without looking at each."""
        self.busy = False
        """Ready to leave, or with a batch under way."""
        self.acked = 0
        self.acked_at = 0.0
        self.state: State | None = None
        """As the last answer left it. Good for guesses only: others write too."""
        self.tokens: dict[str, list[Entry]] | None = None
        """For each token that waits or is under way, those who asked with it later: they wait for the first."""

    def enqueue(self, entry: Entry) -> bool:
        """Let a group wait for the next batch; False if its token is under way, and it waits for that first."""
        group = entry[0]
        if group.token is not None:
            if self.tokens is None:
                self.tokens = {}
            followers = self.tokens.get(group.token)
            if followers is not None:
                followers.append(entry)
                return False
            self.tokens[group.token] = []
        self.bare = self.bare and group.bare
        self.waiting.append(entry)
        return True

    def put_back(self, entries: list[Entry]) -> None:
        """Let these go before all who wait."""
        self.waiting[:0] = entries
        self.bare = False

    def take(self, now: float, tokens_max: int) -> tuple[list[Entry], list[Entry]]:
        """The entries of the next batch, and those in front of or among them who wait no more."""
        waiting = self.waiting
        if self.bare and waiting and waiting[0][2] > now and len(waiting) <= OPERATIONS_PER_BATCH:
            # Who came first has the earliest deadline, for all have as long.
            self.waiting = []
            return waiting, []
        entries: list[Entry] = []
        gone: list[Entry] = []
        size = weight = tokens_taken = 0
        for entry in waiting:
            group, future, deadline = entry
            if future.done() or deadline <= now:
                gone.append(entry)
                continue
            weight += group.weight
            tokens_taken += group.token is not None
            if entries and (
                not group.joins or weight > MAX or size >= OPERATIONS_PER_BATCH or tokens_taken > tokens_max
            ):
                break
            size += group.size
            entries.append(entry)
        del waiting[: len(entries) + len(gone)]
        self.bare = not waiting
        return entries, gone


class Lanes(dict[str, Lane]):
    """The lanes in use, by the counters' names; the idle ones among them are forgotten after a while."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix
        self._looked_at: list[Lane] = []
        self._look_again_at = float("-inf")

    def make(self, name: str) -> Lane:
        """The lane of a counter that has none yet."""
        lane = self[name] = Lane(name, self._prefix + name)
        return lane

    def forget_idle(self, now: float, batches: int) -> None:
        """Let go of counters that were not used for long, a few with each call of so many batches."""
        at_most = LANES_PER_CALL + LANES_PER_BATCH * batches
        crowded = len(self) > LANES_REMEMBERED
        if not self._looked_at:
            if now < self._look_again_at and not crowded:
                return
            self._look_again_at = now + ACKED_REMEMBERED_SECONDS
            self._looked_at = list(reversed(self.values()))
        for lane in self._looked_at[-at_most:]:
            if lane.busy or lane.acked_at == NEVER_FORGOTTEN:
                continue
            if crowded or now - lane.acked_at > ACKED_REMEMBERED_SECONDS:
                del self[lane.name]
        del self._looked_at[-at_most:]


class Batch(msgspec.Struct, eq=False):
    """Operations of one counter under one seq, until they are answered or given up."""

    lane: Lane
    entries: list[Entry]
    operations: tuple[Operation, ...] | list[Operation]
    deadline: float
    at: datetime
    writes_tokens: bool
    uniform: bool = False
    """Whether it is one and the same bare add, again and again."""
    request: GuardedAdd | None = None
    in_air: bool = False
    ambiguous: bool = False
    """Whether some attempt may have been applied without our knowing."""
    failures: int = 0
    misses: int = 0
    error: PlusoneError | None = None
    """Why the last attempt failed."""
    parting: Callable[[], None] | None = None
    """While the seq is being closed: what to do once the batch is known to be shut out."""

    def fold(self, value: int, revision: int, exists: bool) -> Folded:
        """The batch folded from a state."""
        if self.uniform:
            folded = fold_repeated(value, revision, exists, self.operations[0], len(self.operations), self.at)
            if folded is not None:
                return folded
        return fold(value, revision, exists, self.operations, self.at)

    def ask(self, guard: Guard, start: State, writer: str, seq: int, pins_tokens: bool) -> None:
        """Make the request that applies the batch under `guard`; `start` is a state that the guard admits."""
        lane = self.lane
        lo, hi, revision, alive = guard.lo, guard.hi, guard.revision, guard.alive
        writes: tuple[TokenWrite, ...] = ()
        if self.writes_tokens:
            writes = self._token_writes(start, start if pins_tokens else None)
            if pins_tokens:
                # The value too: after a loss the same revision may come again with another one.
                value, revision, alive = start
                lo = hi = value
        self.request = GuardedAdd(
            lane.key,
            writer,
            seq,
            lane.acked,
            guard.total,
            guard.applied,
            lo,
            hi,
            guard.restart,
            guard.delete,
            False,
            revision,
            alive,
            guard.ttl_ms,
            writes,
        )

    def close(self, parting: Callable[[], None]) -> None:
        """Make the request that shuts the batch's seq out; `parting` is what to do then."""
        request = self.request
        assert request is not None
        self.parting = parting
        self.request = GuardedAdd(request.key, request.writer, request.seq, request.acked, 0, 0, MIN, MAX, closing=True)

    def _token_writes(self, start: State, before: State | None) -> tuple[TokenWrite, ...]:
        """What the batch's tokens are to remember, by a fold from a state that its guard admits."""
        folded = self.fold(*start)
        behind_set = False
        writes: list[TokenWrite] = []
        first = 0
        for group, _, _ in self.entries:
            if group.token is not None:
                notes = tokens.notes(group, folded.outcomes[first], start[0], start[1], behind_set)
                writes.append(TokenWrite(group.token, notes, before))
            behind_set = behind_set or (first == 0 and folded.restart)
            first += group.size
        return tuple(writes)


class Flight:
    """One call to the store."""

    __slots__ = ("batches", "overdue", "task", "until")

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.until = float("inf")
        """When it takes too long; a call that has not begun yet cannot."""
        self.overdue = False
        self.task: asyncio.Task[None]


def form(lane: Lane, entries: list[Entry], at: datetime) -> Batch:
    """The batch of these entries."""
    group, _, deadline = entries[0]
    if len(entries) == 1:
        return Batch(lane, entries, group.operations, deadline, at, group.token is not None)
    if group.bare and all(entry[0] is group for entry in entries):
        operations = [group.operations[0]] * len(entries)
        return Batch(lane, entries, operations, entries[-1][2], at, False, uniform=True)
    return Batch(
        lane,
        entries,
        [operation for entry in entries for operation in entry[0].operations],
        max(entry[2] for entry in entries),
        at,
        any(entry[0].token is not None for entry in entries),
    )


def guess(batch: Batch, capabilities: Capabilities) -> tuple[Guard, State]:
    """The first guard to try, and a state that it admits.

    It is that every operation is accepted, or else the pattern that the last known state gives.
    """
    state = batch.lane.state
    guard: Guard | None = None
    if not (batch.writes_tokens and capabilities.pins_tokens):
        guard = batch.entries[0][0].guard
        if guard is not None and batch.uniform:
            guard = repeated(guard, len(batch.entries))
        elif len(batch.entries) > 1:
            guard = optimistic(batch.operations)
    if guard is None:
        start = state or _NOWHERE
        return batch.fold(*start), start
    if state is not None:
        if admits(guard, state):
            return guard, state
        known = batch.fold(*state)
        # To reject them all takes a fresh answer to go by: the optimistic guard gets one, at no write.
        if known.applied:
            return known, state
    return guard, (max(guard.lo, min(0, guard.hi)), guard.revision or 0, guard.alive is True)


def admits(guard: Guard, state: State) -> bool:
    """Whether the guard lets its batch be applied to this state."""
    value, revision, exists = state
    return (
        guard.lo <= value <= guard.hi
        and (guard.revision is None or guard.revision == revision)
        and (guard.alive is None or guard.alive == exists)
    )
