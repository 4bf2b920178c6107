"""redis-py's exceptions as ours: each definite (it was not applied) or ambiguous.

Definite is what the server answers before it runs the script, and every failure to connect, since connecting is a step
of its own here: nothing has been sent by then. What is not listed is ambiguous.
"""

from __future__ import annotations

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


def translate(error: Exception) -> PlusoneError:
    """What an exchange that had been sent came to; one of our errors stays what it is."""
    if isinstance(error, PlusoneError):
        return error
    text = f"Redis: {error}" if str(error) else "Redis: no answer in time"
    if isinstance(error, redis.ResponseError) and "on @user_script" in str(error):
        # Out of the running script, which keeps what it wrote before. Only the memory check is made before any write.
        return StoreUnavailable(text) if isinstance(error, redis.OutOfMemoryError) else OutcomeUnknown(text)
    return _verdict(error)(text)


def while_connecting(error: Exception) -> StoreUnavailable | StoreRefused:
    """What a failure before anything was sent came to: it is definite."""
    text = f"Redis: {error}" if str(error) else "Redis: no answer in time"
    untrusted = isinstance(error.__context__, ssl.SSLCertVerificationError)
    refused = _verdict(error) is StoreRefused or type(error) is redis.ResponseError
    return StoreRefused(text) if untrusted or refused else StoreUnavailable(text)


def of_question(error: Exception) -> StoreUnavailable | StoreRefused:
    """What the failure of a command that changes nothing came to: it is definite."""
    found = translate(error)
    if isinstance(found, StoreUnavailable | StoreRefused):
        return found
    return (StoreRefused if isinstance(error, redis.ResponseError) else StoreUnavailable)(str(found))


def _verdict(error: Exception) -> Verdict:
    if type(error) is redis.ResponseError:
        return BY_CODE.get(str(error).partition(" ")[0], OutcomeUnknown)
    return BY_CLASS.get(type(error), OutcomeUnknown)
