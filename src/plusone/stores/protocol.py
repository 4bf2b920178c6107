"""What a datastore has to do, and the words it is asked in. The rules are in docs/protocol.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from plusone.errors import PlusoneError

Status: TypeAlias = Literal["applied", "duplicate", "stale", "gap", "missed"]


class TokenWrite(msgspec.Struct, frozen=True, gc=False):
    """A token to record in the same atomic step as the batch, whether the batch's operations count or not."""

    token: str
    data: str
    """The combiner's own notes, printable ASCII of less than 300 characters. A store keeps them as they are."""
    before: tuple[int, int, bool] | None = None
    """Value, revision and existence before the batch, where the step cannot copy them itself (`pins_tokens`)."""


class TokenRecord(msgspec.Struct, frozen=True, gc=False):
    """A recorded token: the notes, and the counter's state before the batch that recorded it."""

    token: str
    data: str
    value: int
    revision: int
    exists: bool


class GuardedAdd(msgspec.Struct, frozen=True, gc=False):
    """One batch of one counter, as the one primitive that each datastore implements."""

    key: str
    """`account/name`."""
    writer: str
    seq: int
    acked: int
    """The writer's last seq on this counter that it saw answered; 0 when it does not remember."""
    total: int
    """What is added to the value (to 0, if `restart`, or if the record is dead)."""
    applied: int
    """By how much the revision rises. With 0 only the session and the tokens are written."""
    lo: int
    hi: int
    """The value must lie in `[lo, hi]`; a dead record's value is 0. Never sent with lo > hi."""
    restart: bool = False
    """Count from 0 instead of the value: a set, or a delete."""
    delete: bool = False
    """Leave the record dead, with value 0. Only with `restart`, and total 0."""
    closing: bool = False
    """Write nothing but a session without a value before, which shuts the seq out."""
    revision: int | None = None
    """The exact revision that the record must have."""
    alive: bool | None = None
    """True: the record must be alive; False: it must be dead; None: either will do."""
    ttl_ms: int | None = None
    """If the record is dead and comes to life: milliseconds from the step's own `now`; None means for ever."""
    tokens: tuple[TokenWrite, ...] = ()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the step did. The state is the one before (applied, duplicate) or the present one (missed)."""

    status: Status
    value: int | None = None
    """None in a duplicate of a closing, which has no value before; and where a missed token leaves the state out."""
    revision: int = 0
    exists: bool = False
    last: int = 0
    """With "gap": the last seq of this writer that the store has."""
    tokens: tuple[TokenRecord, ...] = ()
    """With "missed": those of the tokens that are recorded already and have not expired."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A counter's record as it was read. A dead one has value 0, `exists` false, and its revision."""

    value: int
    revision: int
    exists: bool
    updated_ms: int | None
    """Milliseconds since 1970 of the last change; None where there is no record."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a store promises, as data: the guarantee table and `plusone stores` are made from it, tests hold it."""

    title: str
    """The datastore's name, as people write it."""
    schemes: tuple[str, ...]
    durable: str
    """What an acknowledged operation survives, in a few words."""
    linearizable: bool
    """Whether every answer is true of one moment between call and answer, in one order for all.

    Of a store whose URL names one server this is said of that server; of a store that finds a new primary by itself,
    failovers included.
    """
    survives_failover: str
    """What becomes of acknowledged operations when the datastore fails over."""
    failover_keeps: bool = False
    """Whether that is: all of them are kept, whatever the settings. The lab holds a failover to it."""
    eventual_reads: bool
    """Whether `consistency="eventual"` may be answered by a replica."""
    lists: bool
    ttl_clock: Literal["datastore", "writer"]
    """Whose clock decides that a counter has expired."""
    token_retention: str
    """What may end a token before its retention, in a few words."""
    tokens_per_counter: int | None = None
    """Where unexpired tokens are bounded; a full counter refuses new ones."""
    tokens_per_batch: int = 1_000
    pins_tokens: bool = False
    """Whether the combiner must pin a batch with tokens to the exact state (the step cannot copy it)."""
    sessions_kept_minutes: int = 5
    """No younger session is pruned."""
    sessions_kept: int = 32
    """So many sessions stay however old they are."""
    batches_per_call: int = 256
    """How many counters one call of `apply` takes at most."""
    name_bytes: int = 255
    """The longest name that it keeps apart from all others."""
    calls_in_flight: int = 2
    """How many calls of `apply` are worth having under way at once."""
    tested_on: str = ""
    """The server and version that the tests ran."""


class Store(Protocol):
    """A datastore behind plusone. Six methods; what only some can do is a protocol of its own.

    Every error that leaves a store is one of `plusone.errors`: `StoreUnavailable` (definitely not applied, worth
    another try), `StoreRefused` and `CorruptRecord` (definitely not applied, no use to repeat), and `OutcomeUnknown`
    for whatever is not known to be one of these. A store never repeats a step by itself.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        """Create or migrate what the datastore needs, and say so: each step as its own language puts it.

        With `dry_run` nothing is changed: the steps are those that would be. Idempotent, and safe while others count;
        what is there already is no step. Needs no `open`, and leaves nothing connected. Raises what `apply` would.
        """
        ...

    async def open(self) -> None:
        """Connect, and do what `setup` would where that is safe; where it is not, and is needed, say to run it.

        Idempotent.
        """
        ...

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        """Apply each, in one round trip where that can be; keys are distinct. An error raised holds for them all.

        May be cancelled at any point; whatever was under way is then ambiguous, and the store stays usable.
        """
        ...

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        """Read each; `strong` sees every operation acknowledged before the call."""
        ...

    async def check(self) -> None:
        """Ask the datastore whether it can serve; raises what `apply` would. For readiness."""
        ...

    async def close(self) -> None:
        """Give up what `open` took. Idempotent."""
        ...


class Lists(Protocol):
    """A store that can list, which `Capabilities.lists` says."""

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """Living records whose key begins with `prefix`, at most `limit`, and the token of the next page (or None).

        Every counter that lives throughout the listing is on one of its pages. The order is the store's own, no key is
        twice on a page, and a page may be short or empty before the last. A token that is not one of its own raises
        `InvalidRequest("page_token", …)`.
        """
        ...
