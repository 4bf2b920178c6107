"""plusone counts exactly once, on the database you already run."""

from plusone.counters import Counters, open  # noqa: A004
from plusone.errors import (
    AcknowledgedDataLost,
    BoundReached,
    Closed,
    ConfigurationError,
    Contended,
    CorruptRecord,
    InvalidRequest,
    NotCounted,
    NotSent,
    OutcomeUnknown,
    Overloaded,
    PlusoneError,
    PreconditionFailed,
    Rejected,
    StoreRefused,
    StoreUnavailable,
    TokenReused,
    UnsupportedByStore,
)
from plusone.types import Counter, Operation, Outcome, Page

__version__ = "0.1.0"

__all__ = [
    "AcknowledgedDataLost",
    "BoundReached",
    "Closed",
    "ConfigurationError",
    "Contended",
    "CorruptRecord",
    "Counter",
    "Counters",
    "InvalidRequest",
    "NotCounted",
    "NotSent",
    "Operation",
    "Outcome",
    "OutcomeUnknown",
    "Overloaded",
    "Page",
    "PlusoneError",
    "PreconditionFailed",
    "Rejected",
    "StoreRefused",
    "StoreUnavailable",
    "TokenReused",
    "UnsupportedByStore",
    "__version__",
    "open",
]
