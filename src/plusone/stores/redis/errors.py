"""redis-py's exceptions as ours: each definite (it was not applied) or ambiguous, with what to do about it.

Definite is what the server answers before it runs the script, and every failure to connect, since connecting is a step
of its own here: nothing has been sent by then. What is not listed is ambiguous.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Final, TypeAlias

from redis import exceptions as redis

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable

Verdict: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]

BY_CLASS: Final[Mapping[type[Exception], Verdict]] = {
    # The server said no before it ran anything, and may say yes later.
    redis.NoScriptError: StoreUnavailable,
    redis.OutOfMemoryError: StoreUnavailable,
    redis.ReadOnlyError: StoreUnavailable,
    redis.BusyLoadingError: StoreUnavailable,
    redis.MasterDownError: StoreUnavailable,
    redis.ClusterDownError: StoreUnavailable,
    redis.MovedError: StoreUnavailable,
    redis.AskError: StoreUnavailable,
    redis.TryAgainError: StoreUnavailable,
    redis.MaxConnectionsError: StoreUnavailable,
    # It will go on saying no until somebody changes a setting.
    redis.AuthenticationError: StoreRefused,
    redis.AuthenticationWrongNumberOfArgsError: StoreRefused,
    redis.AuthorizationError: StoreRefused,
    redis.NoPermissionError: StoreRefused,
    redis.ExternalAuthProviderError: StoreRefused,
    redis.ClusterCrossSlotError: StoreRefused,
    # The driver refused to send it.
    redis.DataError: StoreRefused,
    # The connection broke, or the answer cannot be read, or it may come from the middle of the script.
    redis.ConnectionError: OutcomeUnknown,
    redis.TimeoutError: OutcomeUnknown,
    redis.InvalidResponse: OutcomeUnknown,
    redis.ResponseError: OutcomeUnknown,
    redis.RedisError: OutcomeUnknown,
}

BY_CODE: Final[Mapping[str, Verdict]] = {
    "NOREPLICAS": StoreUnavailable,
    "MISCONF": StoreUnavailable,
    "BUSY": StoreUnavailable,
}
"""Error codes for which redis-py has no class: the first word of a plain `ResponseError`."""

WHAT_TO_DO: Final[Mapping[str, str]] = {
    # By the server's code:
    "NOAUTH": "put user and password into the store URL, as in redis://user:password@host; sentinels get them with "
    "sentinel_credentials=same",
    "WRONGPASS": "correct the user and the password in the store URL",
    "NOPERM": "grant the user the keys and the commands that docs/datastores.md lists",
    "READONLY": "it is a replica: name the primary in the store URL",
    "OOM": "raise the server's maxmemory, and leave its maxmemory-policy at noeviction",
    "LOADING": "the server is starting, and reads its data: it is asked again",
    "NOSCRIPT": "the server forgot the script, which is sent again",
    "CLUSTERDOWN": "see CLUSTER INFO and CLUSTER NODES for the nodes and slots that are missing",
    "MASTERDOWN": "the server is a replica, and its primary is away: name the primary in the store URL",
    "MOVED": "the cluster's nodes do not agree on who has the slot: see CLUSTER NODES on each",
    "ASK": "the cluster's nodes do not agree on who has the slot: see CLUSTER NODES on each",
    "TRYAGAIN": "a slot of the cluster is moving to another node: it is asked again",
    "CROSSSLOT": "the server is of a cluster: let the store URL begin with redis+cluster://",
    "NOREPLICAS": "connect more replicas, or lower the server's min-replicas-to-write",
    "MISCONF": "the server cannot write to its disk: see its log, and free some space",
    "BUSY": "another program's script runs too long: SCRIPT KILL on the server ends it",
    "DENIED": "give the server a password, and put it into the store URL",
    # By how the words begin that stand behind the code ERR:
    "max number of clients": "raise the server's maxclients, or lower connections in the store URL",
    "AUTH <password> called": "take the password out of the store URL, or set one on the server",
    "Client sent AUTH": "take the password out of the store URL, or set one on the server",
    "problem with LDAP": "see the server's log about its LDAP service",
    "DB index": "name a database that the server has in the store URL, as in /0",
    "unknown command": "let the server have the commands that docs/datastores.md lists, under their own names",
}
"""What stands behind the server's own words."""

_ELSE: Final = "see the server's log"
_UNREACHED: Final = "see that the server runs, and that host and port in the store URL are right"
_NO_TLS: Final = (
    "see that the server runs and is reached, and that it speaks TLS: without TLS the store URL begins with redis"
)
_CLOSED: Final = (
    "see its log: it may have no room for another connection (raise its maxclients, or lower connections in the store "
    "URL), or demand TLS (let the store URL begin with rediss://)"
)


def translate(error: Exception) -> PlusoneError:
    """What an exchange that had been sent came to; one of our errors stays what it is."""
    if isinstance(error, PlusoneError):
        return error
    text = f"Redis: {_words(error)}; {_advice(error)}"
    if isinstance(error, redis.ResponseError) and "on @user_script" in str(error):
        # Out of the running script, which keeps what it wrote before. Only the memory check is made before any write.
        return StoreUnavailable(text) if isinstance(error, redis.OutOfMemoryError) else OutcomeUnknown(text)
    return _verdict(error)(text)


def while_connecting(error: Exception, *, tls: bool) -> StoreUnavailable | StoreRefused:
    """What a failure before anything was sent came to: it is definite."""
    if isinstance(error, TimeoutError | redis.TimeoutError):
        return no_answer(tls=tls)
    text = f"Redis: {_words(error)}; {_advice_on_connecting(error)}"
    untrusted = isinstance(error.__context__, ssl.SSLCertVerificationError)
    refused = _verdict(error) is StoreRefused or type(error) is redis.ResponseError
    return StoreRefused(text) if untrusted or refused else StoreUnavailable(text)


def no_answer(*, tls: bool) -> StoreUnavailable:
    """What it is when nothing was sent, or nothing that changes anything, and time is over."""
    return StoreUnavailable(f"Redis: no answer in time; {_NO_TLS if tls else _UNREACHED}")


def of_question(error: Exception) -> StoreUnavailable | StoreRefused:
    """What the failure of a command that changes nothing came to: it is definite."""
    found = translate(error)
    if isinstance(found, StoreUnavailable | StoreRefused):
        return found
    return (StoreRefused if isinstance(error, redis.ResponseError) else StoreUnavailable)(str(found))


def _verdict(error: Exception) -> Verdict:
    if type(error) is redis.ResponseError:
        return BY_CODE.get(_code(error), OutcomeUnknown)
    return BY_CLASS.get(type(error), OutcomeUnknown)


def _code(error: Exception) -> str:
    """The server's code, which redis-py takes off the words where it knows it; something else where there is none."""
    return getattr(error, "status_code", None) or str(error).partition(" ")[0]


def _words(error: Exception) -> str:
    said = str(error).rstrip(".")
    if not said:
        return "no answer in time" if isinstance(error, TimeoutError) else repr(error)
    code = _code(error)
    return f"{said} ({code})" if code in WHAT_TO_DO and not said.startswith(code) else said


def _advice(error: Exception) -> str:
    if isinstance(error, TimeoutError | redis.TimeoutError):
        return _UNREACHED
    said = str(error).removeprefix("ERR ")
    for begins, what_to_do in WHAT_TO_DO.items():
        if " " in begins and said.startswith(begins):
            return what_to_do
    return WHAT_TO_DO.get(_code(error), _ELSE)


def _advice_on_connecting(error: Exception) -> str:
    reason = error.__context__
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "name the host as its certificate does, or set ca_file in the store URL to whom to trust"
    if isinstance(reason, ssl.SSLError):
        return _NO_TLS
    if isinstance(reason, socket.gaierror):
        return "the host's name cannot be resolved: correct the store URL"
    if isinstance(reason, OSError) and "connecting to" in str(error):
        return _UNREACHED
    if isinstance(error, redis.InvalidResponse):
        return "see that host and port in the store URL are those of a Redis server"
    advice = _advice(error)
    broken = advice is _ELSE and isinstance(error, redis.ConnectionError | OSError)
    return _CLOSED if broken else advice
