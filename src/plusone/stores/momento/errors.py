"""gRPC's statuses as ours: each definite (it was not applied) or ambiguous.

Definite is what Momento answers before it touches the item, and every failure while connecting, which is a step of its
own here: nothing has been sent by then. What is not listed is ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores import grpc_failures

Verdict: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]

BY_STATUS: Final[Mapping[grpc.StatusCode, Verdict]] = {
    # A limit of the account's or the cache's: it may be admitted later.
    grpc.StatusCode.RESOURCE_EXHAUSTED: StoreUnavailable,
    # It will go on saying no until somebody changes a setting.
    grpc.StatusCode.INVALID_ARGUMENT: StoreRefused,
    grpc.StatusCode.UNAUTHENTICATED: StoreRefused,
    grpc.StatusCode.PERMISSION_DENIED: StoreRefused,
    grpc.StatusCode.NOT_FOUND: StoreRefused,
    grpc.StatusCode.FAILED_PRECONDITION: StoreRefused,
    # The connection broke, or nobody knows how far it came, or Momento has no business to answer that.
    grpc.StatusCode.UNAVAILABLE: OutcomeUnknown,
    grpc.StatusCode.DEADLINE_EXCEEDED: OutcomeUnknown,
    grpc.StatusCode.CANCELLED: OutcomeUnknown,
    grpc.StatusCode.INTERNAL: OutcomeUnknown,
    grpc.StatusCode.UNKNOWN: OutcomeUnknown,
    grpc.StatusCode.ABORTED: OutcomeUnknown,
    grpc.StatusCode.DATA_LOSS: OutcomeUnknown,
    grpc.StatusCode.ALREADY_EXISTS: OutcomeUnknown,
    grpc.StatusCode.OUT_OF_RANGE: OutcomeUnknown,
    grpc.StatusCode.UNIMPLEMENTED: OutcomeUnknown,
}

TOO_LARGE: Final = frozenset({"item_size_limit_exceeded", "element_size_limit_exceeded", "request_size_limit_exceeded"})
"""Of the limits that Momento names in the metadata `err` beside RESOURCE_EXHAUSTED, those that no patience helps."""

UNTRUSTED: Final = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
"""What gRPC's text for a connection that TLS refused has in it; its status is that of a server that is away."""

ADVICE: Final[Mapping[grpc.StatusCode, str]] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: "raise the cache's limits, or count less often",
    grpc.StatusCode.UNAUTHENTICATED: "check the API key in the environment variable {key_from}",
    grpc.StatusCode.PERMISSION_DENIED: "give the API key in {key_from} the right to read and write this cache",
    grpc.StatusCode.NOT_FOUND: "run `plusone setup` to create the cache",
}

_PLACE: Final = "endpoint in the store URL, or the one in the API key"


def translate(error: Exception, key_from: str) -> PlusoneError:
    """What a call that had been sent came to; `key_from` is the environment variable of the API key."""
    return _verdict(error)(_text(error, key_from))


def while_connecting(error: Exception, key_from: str) -> StoreUnavailable | StoreRefused:
    """What a failure before anything was sent came to, or that of a question that changes nothing: it is definite."""
    text = _text(error, key_from)
    if any(sign in text for sign in UNTRUSTED):
        return StoreRefused(f"{text}; check ca_file, and that the endpoint is the name in the certificate")
    if _verdict(error) is StoreRefused:
        return StoreRefused(text)
    if _status(error) is grpc.StatusCode.UNIMPLEMENTED:
        return StoreRefused(f"{text}; check the endpoint: what answers there is not Momento")
    return StoreUnavailable(text)


def _verdict(error: Exception) -> Verdict:
    status = _status(error)
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and _limit(error) in TOO_LARGE:
        return StoreRefused
    return OutcomeUnknown if status is None else BY_STATUS.get(status, OutcomeUnknown)


def _status(error: Exception) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.aio.AioRpcError) else None


def _limit(error: Any) -> str:
    return str(dict(error.trailing_metadata() or ()).get("err", ""))


def _text(error: Exception, key_from: str) -> str:
    if not isinstance(error, grpc.aio.AioRpcError):
        return f"Momento: {type(error).__name__}: {error}"
    status = error.code()
    limit = f" ({_limit(error)})" if status is grpc.StatusCode.RESOURCE_EXHAUSTED and _limit(error) else ""
    advice = ADVICE.get(status, "").format(key_from=key_from) or grpc_failures.advice(error.details() or "", _PLACE)
    return f"Momento: {status.name}: {error.details()}{limit}" + (f"; {advice}" if advice else "")
