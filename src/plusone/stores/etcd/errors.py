"""etcd's and gRPC's errors as ours: each definite (it was not applied) or ambiguous.

Everything of gRPC is one exception with a code and a text. etcd's own texts are known by heart (rpctypes/error.go of
3.4 to 3.6) and say more than their codes: `UNAVAILABLE` is both a member that refused and one that fell silent.
Definite is what is said before a request is proposed to the members, or by the one step of all members that refuses to
execute it; and every failure to connect, since connecting is a step of its own here. What is not listed is ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from grpc import StatusCode
from grpc.aio import AioRpcError

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores import grpc_failures

Verdict: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]

NO_SPACE: Final = "etcdserver: mvcc: database space exceeded"
LEASE_NOT_FOUND: Final = "etcdserver: requested lease not found"
AUTH_NOT_ENABLED: Final = "etcdserver: authentication is not enabled"

BY_TEXT: Final[Mapping[str, Verdict]] = {
    # Said by the member before it proposes anything, or by all members instead of executing it: it may go well later.
    "etcdserver: too many requests": StoreUnavailable,
    "etcdserver: no leader": StoreUnavailable,
    "etcdserver: not capable": StoreUnavailable,
    "etcdserver: rpc not supported for learner": StoreUnavailable,
    "etcdserver: invalid auth token": StoreUnavailable,
    "etcdserver: revision of auth store is old": StoreUnavailable,
    LEASE_NOT_FOUND: StoreUnavailable,
    # It will go on saying no until somebody changes a setting.
    "etcdserver: request is too large": StoreRefused,
    "etcdserver: too many operations in txn request": StoreRefused,
    "etcdserver: duplicate key given in txn request": StoreRefused,
    "etcdserver: key is not provided": StoreRefused,
    "etcdserver: key not found": StoreRefused,
    "etcdserver: value is provided": StoreRefused,
    "etcdserver: lease is provided": StoreRefused,
    "etcdserver: permission denied": StoreRefused,
    "etcdserver: user name is empty": StoreRefused,
    "etcdserver: user name not found": StoreRefused,
    "etcdserver: authentication failed, invalid user ID or password": StoreRefused,
    "etcdserver: corrupt cluster": StoreRefused,
    AUTH_NOT_ENABLED: StoreRefused,
    # Said while the request may be on its way through the members.
    "etcdserver: server stopped": OutcomeUnknown,
    "etcdserver: leader changed": OutcomeUnknown,
    "etcdserver: request timed out": OutcomeUnknown,
    "etcdserver: request timed out, possibly due to previous leader failure": OutcomeUnknown,
    "etcdserver: request timed out, possibly due to connection lost": OutcomeUnknown,
    "etcdserver: request timed out, waiting for the applied index took too long": OutcomeUnknown,
    # The request that oversteps the quota while others grow the database is executed, and answered with this too.
    NO_SPACE: OutcomeUnknown,
}

BY_CODE: Final[Mapping[StatusCode, Verdict]] = {
    # Of a text that is not etcd's own. Only that there is no such method says that nothing was done.
    StatusCode.UNIMPLEMENTED: StoreRefused,
    **dict.fromkeys(set(StatusCode) - {StatusCode.UNIMPLEMENTED}, OutcomeUnknown),
}

ADVICE: Final[Mapping[str, str]] = {
    NO_SPACE: "compact and defragment, or raise --quota-backend-bytes; then etcdctl alarm disarm",
    "etcdserver: request is too large": "give the server --max-request-bytes of at least 1572864, which is its default",
    "etcdserver: too many operations in txn request": "give the server --max-txn-ops of 128, which is its default",
    "etcdserver: permission denied": "grant the user's role readwrite on the prefix of the store URL",
    "etcdserver: user name is empty": "the server asks who you are; put user:password into the store URL",
    "etcdserver: authentication failed, invalid user ID or password": "correct user and password in the store URL",
    "etcdserver: corrupt cluster": "its members differ; see etcdctl alarm list and etcd's recovery guide",
}

_UNTRUSTED: Final = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "in peer certificate")
_REFUSED_ON_CONNECTING: Final = (StatusCode.UNIMPLEMENTED, StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)


def translate(error: AioRpcError) -> PlusoneError:
    """What a request that had been sent came to."""
    text = error.details() or error.code().name
    return _verdict(error)(_said(text))


def while_connecting(error: AioRpcError, endpoint: str) -> StoreUnavailable | StoreRefused:
    """What a failure before anything was sent came to: it is definite."""
    text = error.details() or error.code().name
    if any(sign in text for sign in _UNTRUSTED):
        return StoreRefused(
            f"etcd, {endpoint}: its certificate is not trusted, or is for another name; see ca_file: {text}"
        )
    if error.code() in _REFUSED_ON_CONNECTING or BY_TEXT.get(text) is StoreRefused:
        return StoreRefused(_said(text, endpoint))
    return StoreUnavailable(_said(text, endpoint))


def is_out_of_space(error: PlusoneError) -> bool:
    """Whether this is the database's being full, which leaves it to a read what became of the request."""
    return _cause(error) == NO_SPACE


def is_lease_lost(error: PlusoneError) -> bool:
    return _cause(error) == LEASE_NOT_FOUND


def out_of_space() -> StoreUnavailable:
    """For what was found not to be written."""
    return StoreUnavailable(_said(NO_SPACE))


def _cause(error: PlusoneError) -> str | None:
    return error.__cause__.details() if isinstance(error.__cause__, AioRpcError) else None


def _verdict(error: AioRpcError) -> Verdict:
    return BY_TEXT.get(error.details() or "") or BY_CODE.get(error.code(), OutcomeUnknown)


def _said(text: str, endpoint: str | None = None) -> str:
    advice = ADVICE.get(text) or grpc_failures.advice(text, "the host and port in the store URL")
    return f"etcd{f', {endpoint}' if endpoint else ''}: {text.removeprefix('etcdserver: ')}" + (
        f"; {advice}" if advice else ""
    )
