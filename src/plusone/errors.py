"""Every error that plusone raises, and whether the operation may have happened.

    PlusoneError
    ├── InvalidRequest           a field of the request is not acceptable
    │   └── TokenReused          the token was used for another operation
    ├── Rejected                 the counter said no (raised by `Outcome.raise_for_rejection` only)
    │   ├── BoundReached         by a floor, a ceiling or the end of 64 bits
    │   └── PreconditionFailed   by `if_revision` or `if_absent`
    ├── NotCounted               it definitely did not happen
    │   ├── NotSent              the deadline came before the operation could be sent
    │   ├── Overloaded           too many operations are waiting
    │   ├── Contended            other writers won until the deadline
    │   ├── Closed               the counters were closed
    │   ├── StoreUnavailable     the datastore could not be reached, or said to come back later
    │   ├── StoreRefused         the datastore will not do it, however often it is asked
    │   ├── CorruptRecord        the datastore holds something under this name that is no counter
    │   ├── UnsupportedByStore   this datastore cannot do that
    │   └── AcknowledgedDataLost the datastore lost what it had acknowledged, and `on_gap` is "stop"
    ├── OutcomeUnknown           it may have happened; the same token asks again safely
    └── ConfigurationError       a setting or a store URL is wrong

`applied` is "no" when the operation definitely did not happen, "maybe" when it may have. `code` is stable, names the
error in problem documents and in `--json` output, and `http_status` is what the service answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

if TYPE_CHECKING:
    from plusone.types import Outcome


class PlusoneError(Exception):
    """The base of all errors of this package."""

    code: ClassVar[str] = "error"
    applied: ClassVar[Literal["no", "maybe"]] = "no"
    http_status: ClassVar[int] = 500

    def again(self) -> Self:
        """The same error as an exception of its own, for one more caller who is to be told."""
        copy = self.__class__.__new__(self.__class__, *self.args)
        copy.__dict__.update(self.__dict__)
        copy.__cause__ = self.__cause__
        return copy


class InvalidRequest(PlusoneError, ValueError):
    """A field of the request is not acceptable; nothing was sent. Correct the field that `field` names."""

    code = "invalid-request"
    http_status = 422

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class TokenReused(InvalidRequest):
    """The token was used for another operation on this counter. Take a new token for a new operation."""

    code = "token-reused"

    def __init__(self) -> None:
        super().__init__("token", "was used for another operation on this counter; take a new one for a new operation")


class Rejected(PlusoneError):
    """The counter said no. `outcome` has its present value and revision, and the reason."""

    code = "rejected"
    http_status = 409

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"rejected by {outcome.reason}: the counter is {outcome.value} at revision {outcome.revision}")
        self.outcome = outcome


class BoundReached(Rejected):
    """The operation would have crossed its floor, its ceiling or the end of 64 bits. Ask for less, or raise it."""

    code = "bound-reached"


class PreconditionFailed(Rejected):
    """`if_revision` or `if_absent` did not hold. Read the counter and decide again."""

    code = "precondition-failed"
    http_status = 412


class NotCounted(PlusoneError):
    """The operation definitely did not happen. It may be asked for again, with or without a token."""

    code = "not-counted"
    http_status = 503


class NotSent(NotCounted):
    """The deadline came before the operation could be sent. Ask again, or give it more time (`timeout`)."""

    code = "not-sent"


class Overloaded(NotCounted):
    """Too many operations are waiting. Slow down, spread over more processes, or raise `waiting_max`."""

    code = "overloaded"


class Contended(NotCounted):
    """Other writers changed the counter on every attempt until the deadline. Ask again after a moment."""

    code = "contended"


class Closed(NotCounted):
    """The counters were closed. Open them again."""

    code = "closed"


class StoreUnavailable(NotCounted):
    """The datastore could not be reached or asked for patience until the deadline. See that it runs, then ask again."""

    code = "store-unavailable"


class StoreRefused(NotCounted):
    """The datastore will not do this however often it is asked: credentials, rights, settings. Correct them."""

    code = "store-refused"


class CorruptRecord(NotCounted):
    """The datastore holds something under this name that is no counter of ours. Move it away, or use another prefix."""

    code = "corrupt-record"
    http_status = 500


class UnsupportedByStore(NotCounted):
    """This datastore lacks the capability that the call needs. `plusone stores` shows which have it."""

    code = "unsupported-by-store"
    http_status = 501

    def __init__(self, capability: str, store: str) -> None:
        super().__init__(f"{store} has no {capability}; `plusone stores` shows which datastores have it")
        self.capability = capability


class AcknowledgedDataLost(NotCounted):
    """The datastore lost operations that it had acknowledged, and `on_gap = "stop"`. Find out why, then open again."""

    code = "acknowledged-data-lost"


class OutcomeUnknown(PlusoneError):
    """The operation may or may not have happened. Ask again with the same token; without one, read the counter."""

    code = "outcome-unknown"
    applied = "maybe"
    http_status = 504


class ConfigurationError(PlusoneError, ValueError):
    """A setting or a store URL is wrong; the message names it and says what is allowed."""

    code = "configuration"
