"""One counter's batch on its way through a call: decided in Python, applied by a transaction that compares.

A nested transaction compares the counter's value with the bytes that the decision was made on (or that there is none),
and each token with what is known of it; then it puts the new ones, else it ranges what is there. Values are compared
and not revisions: after a restore from a backup etcd gives the same revisions to other values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aetcd import rpc

from plusone.errors import CorruptRecord, PlusoneError
from plusone.stores.etcd import records
from plusone.stores.protocol import Answer, GuardedAdd, TokenRecord
from plusone.stores.record import step, token_records

_EQUAL: Final = rpc.Compare.CompareResult.Value("EQUAL")
_GREATER: Final = rpc.Compare.CompareResult.Value("GREATER")
_VERSION: Final = rpc.Compare.CompareTarget.Value("VERSION")
_MOD: Final = rpc.Compare.CompareTarget.Value("MOD")
_VALUE: Final = rpc.Compare.CompareTarget.Value("VALUE")


class Attempt:
    """What is known of the counter, what is to be done about it, and in the end the answer."""

    __slots__ = ("_applied", "_ranges", "_tokens", "answer", "fresh", "key", "known", "request", "seen", "write")

    def __init__(self, request: GuardedAdd, prefix: bytes, seen: bytes | None) -> None:
        self.request = request
        self.key = records.counters(prefix, request.key)
        self.seen = seen
        """The counter's value in etcd as far as we know; None: there is none."""
        self.fresh = False
        """Whether that, and what is known of the tokens, was read by this call. Only then may it reject."""
        self.known: list[TokenRecord] = []
        """Those of the tokens that are recorded."""
        self.write: bytes | None = None
        """The counter's new value, if it is to be put; else the next operation is a read."""
        self.answer: Answer | PlusoneError | None = None
        self._tokens = {records.tokens(prefix, request.key, token.token): 0 for token in request.tokens}
        """The tokens' keys, with the revision at which an expired one stands there; 0: none does."""
        self._applied: Answer | None = None
        self._ranges: list[Any] | None = None

    @property
    def operations(self) -> int:
        """As etcd counts them: the longest of what is compared, put, and ranged."""
        return 1 + len(self._tokens)

    @property
    def size(self) -> int:
        """About how many bytes the operation has."""
        size = 200 + 3 * len(self.key) + len(self.seen or b"") + len(self.write or b"")
        return size + sum(3 * len(key) + 600 for key in self._tokens)

    def decide(self, now_ms: int) -> None:
        """Take the step on what is known: the answer, if it was read by this call, or what to put, or to read."""
        answer, write = self.step(now_ms)
        self.write, self._applied = None, None
        if write is not None and isinstance(answer, Answer):
            self.write, self._applied = write, answer
        elif self.fresh:
            self.answer = answer

    def step(self, now_ms: int) -> tuple[Answer | PlusoneError, bytes | None]:
        """The protocol's step on what is known, and the new value if it applies."""
        try:
            row = records.decode(self.request.key, self.seen)
        except CorruptRecord as error:
            return error, None
        answer = step(row, self.request, now_ms, self.known)
        if isinstance(answer, Answer) and answer.status == "applied":
            return answer, records.encode(row)
        return answer, None

    def operation(self, lease: int, until_ms: int) -> Any:
        """The nested transaction for what was decided; tokens are put with that lease."""
        if self._ranges is None:
            self._ranges = [_range(key) for key in (self.key, *self._tokens)]
        if self.write is None:
            return rpc.RequestOp(request_txn=rpc.TxnRequest(success=self._ranges))
        compares = [_compare(self.key, self.seen)]
        puts = [_put(self.key, self.write, 0)]
        if self._tokens:
            assert self._applied is not None
            compares += [
                rpc.Compare(result=_EQUAL, target=_MOD, key=key, mod_revision=revision)
                for key, revision in self._tokens.items()
            ]
            recorded = token_records(self.request, self._applied)
            puts += [
                _put(key, records.encode_token(record, until_ms), lease)
                for key, record in zip(self._tokens, recorded, strict=True)
            ]
        return rpc.RequestOp(request_txn=rpc.TxnRequest(compare=compares, success=puts, failure=self._ranges))

    def take(self, response: Any, now_ms: int) -> None:
        """What became of the operation: applied, or what was read instead."""
        if self.write is not None and response.succeeded:
            self.seen, self.answer = self.write, self._applied
            return
        counter, *tokens = (answer.response_range.kvs for answer in response.responses)
        self.read(counter[0].value if counter else None)
        for (key, token), found in zip(list(zip(self._tokens, self.request.tokens, strict=True)), tokens, strict=True):
            self._tokens[key] = found[0].mod_revision if found else 0
            if found:
                try:
                    record = records.decode_token(self.request.key, token.token, found[0].value, now_ms)
                except CorruptRecord as error:
                    self.answer = error
                    return
                if record is not None:
                    self.known.append(record)

    def read(self, value: bytes | None) -> None:
        """The counter's value as this call read it."""
        self.seen = value
        self.known = []
        self.fresh = True


def transaction(operations: Sequence[Any], prefix: bytes) -> Any:
    """The transaction of these operations.

    Its own comparison always holds. It has the user's rights checked, which etcd (3.4) forgets to do for whatever
    stands in nested transactions alone.
    """
    return rpc.TxnRequest(
        compare=[rpc.Compare(result=_GREATER, target=_VERSION, key=records.counters(prefix), version=-1)],
        success=operations,
    )


def _compare(key: bytes, value: bytes | None) -> Any:
    if value is None:
        return rpc.Compare(result=_EQUAL, target=_VERSION, key=key, version=0)
    return rpc.Compare(result=_EQUAL, target=_VALUE, key=key, value=value)


def _put(key: bytes, value: bytes, lease: int) -> Any:
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))


def _range(key: bytes) -> Any:
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key))
