"""PyMongo's exceptions and the server's error codes as ours: each definite (it was not applied) or ambiguous.

Definite is what PyMongo says before it sends, what the server refuses before it writes, and whatever becomes of a
question, which changes nothing. What is not listed is ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import bson.errors as bson
import pymongo.errors as pymongo

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable

Verdict: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]

DRIVER_ERRORS: Final = (pymongo.PyMongoError, bson.BSONError)
"""Whatever PyMongo raises."""

BY_CLASS: Final[Mapping[type[Exception], Verdict]] = {
    # No server or no connection was there to send it to.
    pymongo.ServerSelectionTimeoutError: StoreUnavailable,
    pymongo.WaitQueueTimeoutError: StoreUnavailable,
    # The driver refused to send it.
    pymongo.ConfigurationError: StoreRefused,
    pymongo.InvalidURI: StoreRefused,
    pymongo.InvalidName: StoreRefused,
    pymongo.InvalidOperation: StoreRefused,
    pymongo.CollectionInvalid: StoreRefused,
    pymongo.DocumentTooLarge: StoreRefused,
    pymongo.EncryptionError: StoreRefused,
    pymongo.EncryptedCollectionError: StoreRefused,
    bson.InvalidDocument: StoreRefused,
    bson.InvalidStringData: StoreRefused,
    # The connection broke, or the server was on its way out, or the answer cannot be read.
    pymongo.PyMongoError: OutcomeUnknown,
    pymongo.ProtocolError: OutcomeUnknown,
    pymongo.ConnectionFailure: OutcomeUnknown,
    pymongo.AutoReconnect: OutcomeUnknown,
    pymongo.NetworkTimeout: OutcomeUnknown,
    pymongo.NotPrimaryError: OutcomeUnknown,
    pymongo._OperationCancelled: OutcomeUnknown,
    bson.BSONError: OutcomeUnknown,
    bson.InvalidBSON: OutcomeUnknown,
    bson.InvalidId: OutcomeUnknown,
    # The write is there, and may yet be rolled back.
    pymongo.WriteConcernError: OutcomeUnknown,
    pymongo.WTimeoutError: OutcomeUnknown,
    # What the code says, if it is below.
    pymongo.OperationFailure: OutcomeUnknown,
    pymongo.CursorNotFound: OutcomeUnknown,
    pymongo.ExecutionTimeout: OutcomeUnknown,
    pymongo.WriteError: OutcomeUnknown,
    pymongo.DuplicateKeyError: OutcomeUnknown,
    pymongo.BulkWriteError: OutcomeUnknown,
    pymongo.ClientBulkWriteException: OutcomeUnknown,
}

DUPLICATE_KEY: Final = 11000
"""Another writer created the record first: the guard was missed."""

BY_CODE: Final[Mapping[int, Verdict]] = {
    # The server undid what it had begun, or did not begin, and may do it later.
    24: StoreUnavailable,  # LockTimeout
    46: StoreUnavailable,  # LockBusy
    112: StoreUnavailable,  # WriteConflict
    14031: StoreUnavailable,  # OutOfDiskSpace
    16500: StoreUnavailable,  # too many requests
    # It will go on saying no until somebody changes a setting, a right or the document.
    2: StoreRefused,  # BadValue
    8: StoreRefused,  # UnknownError, which Atlas answers to a wrong password
    9: StoreRefused,  # FailedToParse
    11: StoreRefused,  # UserNotFound
    13: StoreRefused,  # Unauthorized
    14: StoreRefused,  # TypeMismatch
    18: StoreRefused,  # AuthenticationFailed
    20: StoreRefused,  # IllegalOperation
    26: StoreRefused,  # NamespaceNotFound
    31: StoreRefused,  # RoleNotFound
    59: StoreRefused,  # CommandNotFound
    66: StoreRefused,  # ImmutableField
    67: StoreRefused,  # CannotCreateIndex
    72: StoreRefused,  # InvalidOptions
    73: StoreRefused,  # InvalidNamespace
    85: StoreRefused,  # IndexOptionsConflict
    86: StoreRefused,  # IndexKeySpecsConflict
    121: StoreRefused,  # DocumentValidationFailure
    166: StoreRefused,  # CommandNotSupportedOnView
    301: StoreRefused,  # NotImplemented
    8000: StoreRefused,  # AtlasError
    10334: StoreRefused,  # BSONObjectTooLarge
    17280: StoreRefused,  # KeyTooLong
    17419: StoreRefused,  # the document would grow too large
}

_TRUST: Final = (
    "see that the server's name is that of its certificate, and ca_file (Amazon DocumentDB: its global-bundle.pem)"
)
_HUNG_UP: Final = "it hung up; see that tls in the store URL fits the server, and that it has connections left"
_SILENT: Final = (
    "see the host in the store URL, and tls: a server without TLS needs tls=no (documentdb: and mongodb+srv: mean yes)"
)
_CAUSES: Final = (
    ("certificate verify failed", StoreRefused, _TRUST),
    ("CERTIFICATE_VERIFY_FAILED", StoreRefused, _TRUST),
    ("Connect call failed", StoreUnavailable, "see that it runs, and the host and port in the store URL"),
    ("Name or service not known", StoreUnavailable, "see the host in the store URL"),
    ("No replica set members", StoreUnavailable, "see replica_set in the store URL, and that the set has a primary"),
    ("connection closed", StoreUnavailable, _HUNG_UP),
    ("Connection is closed", StoreUnavailable, _HUNG_UP),
    ("connection is already closed", StoreUnavailable, _HUNG_UP),
    ("SSL handshake failed", StoreUnavailable, _SILENT),
    ("No servers found yet", StoreUnavailable, _SILENT),
    (
        "timed out",
        StoreUnavailable,
        "it did not answer in time; see that it runs, and the host and tls in the store URL",
    ),
)
"""What a failure to find a server may come from, by what its text says; PyMongo has one class for all of them."""


def translate(error: Exception, *, wrote: bool) -> PlusoneError:
    """What a command came to; `wrote` says whether it, or one before it, was to change something."""
    verdict, advice = _verdict(error)
    if not wrote and verdict is OutcomeUnknown:
        # A question changes nothing, so whatever went wrong with it, nothing was counted.
        verdict = StoreUnavailable
    return verdict(f"MongoDB: {_text(error)}" + (f"; {advice}" if advice else ""))


def of_write_error(found: Mapping[str, Any]) -> StoreUnavailable | StoreRefused | OutcomeUnknown:
    """One statement's error, out of an answer's `writeErrors`: the others may have been applied."""
    verdict = BY_CODE.get(found.get("code", 0), OutcomeUnknown)
    return verdict(f"MongoDB: {found.get('errmsg', found)}")


def _verdict(error: Exception) -> tuple[Verdict, str]:
    if isinstance(error, pymongo.ServerSelectionTimeoutError):
        text = str(error)
        for part, verdict, advice in _CAUSES:
            if part in text:
                return verdict, advice
        return StoreUnavailable, (
            "see that the server runs, that its replica set has a primary, and that the members can be reached from"
            " here by the names that the set has for them"
        )
    if isinstance(error, pymongo.PyMongoError) and error.has_error_label("NoWritesPerformed"):
        return StoreUnavailable, ""
    if isinstance(error, pymongo.OperationFailure) and not isinstance(error, pymongo.WriteConcernError):
        if error.code in (11, 18, 8000):
            return StoreRefused, "see the user, its password and auth_source in the store URL"
        if error.code == 13:
            return StoreRefused, "give the user the role readWrite on the database"
        return BY_CODE.get(error.code or 0, OutcomeUnknown), ""
    return BY_CLASS.get(type(error), OutcomeUnknown), ""


def _text(error: Exception) -> str:
    """The error's own words, without the whole topology or the whole reply that PyMongo appends."""
    text = str(error)
    for tail in (", full error:", ", Topology Description:", " (configured timeouts:"):
        text = text.partition(tail)[0]
    return text or type(error).__name__
