"""The façade: what an application calls. It validates, names the account, and hands on to the combiner."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableSequence, Sequence
from types import TracebackType
from typing import Final, Literal, cast

from plusone.clock import Clock
from plusone.combiner import Combiner
from plusone.combiner.batching import Lane, Waiter
from plusone.combiner.reading import Reader
from plusone.errors import Closed, InvalidRequest, PlusoneError, UnsupportedByStore
from plusone.folding import group
from plusone.statistics import Limits, Statistics
from plusone.stores.protocol import Capabilities, Lists, Record, Store
from plusone.stores.registry import make_store
from plusone.types import (
    PAGE_LIMIT_MAX,
    Consistency,
    Counter,
    Operation,
    Outcome,
    Page,
    check_account,
    check_name,
    check_token,
    utc,
)

_BARE_ADDS: Final = {by: group((Operation.add(by),)) for by in (1, -1)}
_DAY_SECONDS: Final = 86_400


def open(  # noqa: A001 - `plusone.open(url)` is how it reads
    url: str,
    *,
    account: str = "default",
    timeout: float = 10.0,
    waiting_max: int = 100_000,
    on_gap: Literal["continue", "stop"] = "continue",
    token_retention: float = _DAY_SECONDS,
) -> Counters:
    """The counters in the datastore that `url` names, to be used in `async with`.

    `timeout` is each operation's deadline in seconds (60 at most), over all its attempts. More than `waiting_max`
    waiting operations are refused with `Overloaded`. When the datastore turns out to have lost acknowledged
    operations, `on_gap` says whether counting goes on from what is left or raises `AcknowledgedDataLost`. A token is
    remembered for `token_retention` seconds at least. Raises `ConfigurationError`.
    """
    limits = Limits(timeout=timeout, waiting_max=waiting_max, on_gap=on_gap, token_retention=token_retention)
    clock = Clock()
    store = make_store(url, clock=clock, token_retention_ms=round(limits.token_retention * 1000))
    return Counters(store, account=account, limits=limits, clock=clock)


class Counters:
    """Named counters in one datastore. Every call is atomic, and applied exactly once however often it is sent.

    Names are 1 to 255 bytes of UTF-8 without control characters, compared byte by byte; an absent counter is 0. Calls
    raise `InvalidRequest` for what no counter could take, a `NotCounted` error when the operation definitely did not
    happen, and `OutcomeUnknown` when it may have (the same call with the same token then finds out). They belong to the
    event loop that first uses them; for threads there is `plusone.blocking`.
    """

    def __init__(
        self, store: Store, *, account: str = "default", limits: Limits | None = None, clock: Clock | None = None
    ) -> None:
        check_account(account)
        self._prefix = account + "/"
        self._store = store
        limits = limits or Limits()
        clock = clock or Clock()
        self._combiner = Combiner(store, limits, clock, self._prefix)
        self._reader = Reader(store, limits, clock)
        self._submit = self._combiner.submit
        self._lanes = self._combiner.lanes

    async def __aenter__(self) -> Counters:
        self._check_open()
        await self._store.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse new operations, wait for those under way until their deadlines, and let go of the datastore."""
        try:
            await self._combiner.close()
        finally:
            await self._store.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the datastore behind these counters promises."""
        return self._store.capabilities

    @property
    def statistics(self) -> Statistics:
        """What the combiner did so far: for metrics and readiness."""
        return self._combiner.statistics()

    async def check(self) -> None:
        """Ask the datastore whether it can serve; raises `StoreUnavailable` or `StoreRefused` when it cannot."""
        self._check_open()
        await self._reader.check()

    async def increment(
        self,
        name: str,
        by: int = 1,
        *,
        ceiling: int | None = None,
        floor: int | None = None,
        token: str | None = None,
        if_revision: int | None = None,
        if_absent: bool = False,
        ttl: float | None = None,
    ) -> Outcome:
        """Add `by`. A rise that would pass `ceiling`, or a fall that would pass `floor`, is rejected.

        `token` makes the call safe to repeat. `if_revision` demands that the counter exists at that revision,
        `if_absent` that it does not exist. `ttl` (seconds) ends its life, if this call begins it.
        """
        if (
            ceiling is None
            and floor is None
            and token is None
            and if_revision is None
            and not if_absent
            and ttl is None
            and type(by) is int
        ):
            adding = _BARE_ADDS.get(by) or group((Operation.add(by),))
        else:
            operation = Operation.add(
                by,
                ceiling=ceiling,
                floor=floor,
                token=token,
                if_revision=if_revision,
                if_absent=if_absent,
                ttl=ttl,
            )
            adding = group((operation,), token)
        try:
            lane = self._lanes[name]
        except (KeyError, TypeError):
            lane = self._new_lane(name)
        try:
            outcome: Outcome = await self._submit(lane, adding)
        except asyncio.CancelledError:
            self._combiner.leave(lane)
            raise
        return outcome

    add = increment

    async def decrement(
        self,
        name: str,
        by: int = 1,
        *,
        ceiling: int | None = None,
        floor: int | None = None,
        token: str | None = None,
        if_revision: int | None = None,
        if_absent: bool = False,
        ttl: float | None = None,
    ) -> Outcome:
        """Subtract `by`; everything else is as for `increment`."""
        if type(by) is not int or by < -(2**63) + 1:
            raise InvalidRequest("by", "must be an integer from -2^63 + 1 to 2^63 - 1 to be subtracted")
        return await self.increment(
            name,
            -by,
            ceiling=ceiling,
            floor=floor,
            token=token,
            if_revision=if_revision,
            if_absent=if_absent,
            ttl=ttl,
        )

    async def set(
        self,
        name: str,
        value: int,
        *,
        token: str | None = None,
        if_revision: int | None = None,
        if_absent: bool = False,
        ttl: float | None = None,
    ) -> Outcome:
        """Make the counter `value`, whatever it was."""
        operation = Operation.set(value, token=token, if_revision=if_revision, if_absent=if_absent, ttl=ttl)
        return await self.perform(name, operation)

    async def reset(self, name: str, *, token: str | None = None, if_revision: int | None = None) -> Outcome:
        """Make the counter 0. Unlike a deleted one it goes on existing."""
        return await self.perform(name, Operation.set(0, token=token, if_revision=if_revision))

    async def delete(self, name: str, *, token: str | None = None, if_revision: int | None = None) -> Outcome:
        """Delete the counter; applied also when it did not exist, unless `if_revision` asks for a revision."""
        return await self.perform(name, Operation.delete(token=token, if_revision=if_revision))

    async def perform(self, name: str, operation: Operation) -> Outcome:
        """Apply one operation: what the other methods do with their arguments."""
        lane = self._lane(name)
        try:
            outcome: Outcome = await self._submit(lane, group((operation,), operation.token))
        except asyncio.CancelledError:
            self._combiner.leave(lane)
            raise
        return outcome

    async def get(self, name: str, *, consistency: Consistency = "strong") -> Counter:
        """Read the counter. "eventual" may be answered by a replica, where the datastore has one."""
        return (await self.get_many([name], consistency=consistency))[0]

    async def get_many(self, names: Sequence[str], *, consistency: Consistency = "strong") -> list[Counter]:
        """Read many, in the order of `names`; each is true of a moment, not all of the same one."""
        if consistency not in ("strong", "eventual"):
            raise InvalidRequest("consistency", 'must be "strong" or "eventual"')
        self._check_open()
        keys = [self._key(name) for name in names]
        records = await self._reader.read(keys, strong=consistency == "strong")
        return [_counter(name, record) for name, record in zip(names, records, strict=True)]

    async def apply(
        self, operations: Iterable[tuple[str, Operation]], *, token: str | None = None
    ) -> list[Outcome | PlusoneError]:
        """Apply many at once: (name, operation) pairs; the results in their order, an error where one failed alone.

        Operations on the same counter keep their order; between counters there is neither order nor atomicity. With
        `token`, what touches one counter is remembered, and goes, as a whole in the place of its first; an operation's
        own token takes it out of that.

        They all have one deadline, `timeout`. Many counters on a slow datastore may take longer: those that could
        not be sent in time are `NotSent`, definitely not counted; ask again for them.
        """
        if token is not None:
            check_token(token)
        pairs = list(operations)
        results: list[Outcome | PlusoneError] = [_UNANSWERED] * len(pairs)
        together: dict[tuple[Lane, str | None, int], list[int]] = {}
        for index, (name, operation) in enumerate(pairs):
            try:
                lane = self._lane(name)
            except InvalidRequest as error:
                results[index] = error
                continue
            # Only a token in common asks for a common fate; any other operation is a group of its own.
            alone = index if token is None or operation.token is not None else -1
            together.setdefault((lane, operation.token or token, alone), []).append(index)

        waiting: list[tuple[list[int], Waiter]] = []
        for (lane, group_token, _), indices in together.items():
            try:
                future = self._submit(lane, group(tuple(pairs[index][1] for index in indices), group_token))
            except PlusoneError as error:
                _spread(results, indices, [error] * len(indices))
            else:
                waiting.append((indices, future))
        try:
            if waiting:
                await asyncio.wait([future for _, future in waiting])
        except asyncio.CancelledError:
            for _, future in waiting:
                future.cancel()
            for lane, _, _ in together:
                self._combiner.leave(lane)
            raise
        for indices, future in waiting:
            failure = future.exception()
            if failure is None:
                result = future.result()
                _spread(results, indices, result if isinstance(result, list) else [result])
            elif isinstance(failure, PlusoneError):
                _spread(results, indices, [failure] * len(indices))
            else:
                raise failure
        return results

    def _lane(self, name: str) -> Lane:
        try:
            return self._lanes[name]
        except (KeyError, TypeError):
            return self._new_lane(name)

    def _new_lane(self, name: str) -> Lane:
        """A lane for a counter that the combiner does not know; names are checked here, once."""
        check_name(name)
        self._check_open()
        return self._lanes.make(name)

    def _check_open(self) -> None:
        if self._combiner.closed:
            raise Closed("the counters were closed; open them again")

    def _key(self, name: str) -> str:
        check_name(name)
        return self._prefix + name

    # Last, for behind it `list` means this method.

    async def list(self, prefix: str = "", limit: int = 100, page_token: str | None = None) -> Page:
        """A page of the counters whose names begin with `prefix`, at most `limit` (1 to 1,000).

        A counter that exists throughout is on one of the pages; a page may be short, or empty, before the last.
        Raises `UnsupportedByStore` where the datastore cannot list.
        """
        self._check_open()
        if not self.capabilities.lists:
            raise UnsupportedByStore("list", self.capabilities.title)
        if type(limit) is not int or not 1 <= limit <= PAGE_LIMIT_MAX:
            raise InvalidRequest("limit", f"must be an integer from 1 to {PAGE_LIMIT_MAX}")
        if prefix != "":
            check_name_prefix(prefix)
        store = cast("Lists", self._store)
        found, following = await self._reader.ask(lambda: store.list(self._prefix + prefix, limit, page_token))
        return Page([_counter(key.removeprefix(self._prefix), record) for key, record in found], following)


_UNANSWERED: Final = PlusoneError("not answered")


def _spread(
    results: MutableSequence[Outcome | PlusoneError], indices: Sequence[int], found: Sequence[Outcome | PlusoneError]
) -> None:
    for index, result in zip(indices, found, strict=True):
        results[index] = result


def check_name_prefix(prefix: str) -> None:
    """Raise `InvalidRequest` unless some name could begin with `prefix`."""
    try:
        check_name(prefix)
    except InvalidRequest as error:
        raise InvalidRequest("prefix", error.problem) from None


def _counter(name: str, record: Record) -> Counter:
    updated = None if record.updated_ms is None else utc(record.updated_ms)
    return Counter(name, record.value, record.revision, record.exists, updated)
