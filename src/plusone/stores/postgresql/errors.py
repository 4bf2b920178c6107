"""From PostgreSQL's SQLSTATEs and asyncpg's exceptions to our errors: the one table.

A statement that the server answers with an error was rolled back: definite, with the exceptions listed. What breaks
without an answer is ambiguous, and so is everything that is not listed.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Final, TypeAlias

import asyncpg
from asyncpg.exceptions._base import DataError as DriversDataError

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable

Verdict: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]

BY_SQLSTATE: Final[Mapping[str, Verdict]] = {
    # A class of two characters, and codes that are other than their class. Worth another try:
    "25": StoreUnavailable,  # 25006: read-only, as a standby is; 25P03: the server ended a transaction that stood still
    "26": StoreUnavailable,  # a prepared statement is not there: a pooler gave us another connection
    "40": StoreUnavailable,  # serialization failure, deadlock
    "42P05": StoreUnavailable,  # a prepared statement is there already: as 26000
    "53": StoreUnavailable,  # disk full, out of memory, too many connections
    "55": StoreUnavailable,  # lock not available
    "57": StoreUnavailable,  # statement timeout, cannot connect now
    "58": StoreUnavailable,  # an error of the operating system
    "23505": StoreUnavailable,
    # It will go on saying no until somebody changes something:
    "0A": StoreRefused,
    "0L": StoreRefused,
    "0P": StoreRefused,
    "22": StoreRefused,
    "23": StoreRefused,
    "28": StoreRefused,
    "3D": StoreRefused,
    "3F": StoreRefused,
    "42": StoreRefused,
    "54": StoreRefused,
    "F0": StoreRefused,
    "P0": StoreRefused,
    # Said by the server, or by asyncpg in its place, of what may have been committed:
    "08": OutcomeUnknown,
    "40003": OutcomeUnknown,
    "57P01": OutcomeUnknown,
    "57P02": OutcomeUnknown,
    "57P05": OutcomeUnknown,
}

BY_CLASS: Final[Mapping[type[Exception], Verdict]] = {
    # The server refuses a plan that it made before the schema changed; a new connection makes a new one.
    asyncpg.InvalidCachedStatementError: StoreUnavailable,
    # asyncpg cannot put it into words, and sends nothing.
    DriversDataError: StoreRefused,
    # Whether it was sent, or what came of it, is not known.
    asyncpg.InterfaceError: OutcomeUnknown,
    asyncpg.InternalClientError: OutcomeUnknown,
    OSError: OutcomeUnknown,
    TimeoutError: OutcomeUnknown,
}

WHAT_TO_DO: Final[Mapping[str, str]] = {
    "25006": "it is a standby, or set to read-only: name the primary",
    "26000": "behind a pooler that does not keep prepared statements, set statement_cache_size=0 in the store URL",
    "42P05": "behind a pooler that does not keep prepared statements, set statement_cache_size=0 in the store URL",
    "28000": "correct the user, the database or sslmode in the store URL, or the server's pg_hba.conf",
    "28P01": "correct the user and the password in the store URL",
    "3D000": "create the database, or correct the store URL",
    "3F000": "run plusone setup with the store URL",
    "42P01": "run plusone setup with the store URL",
    "42703": "run plusone setup with the store URL",
    "42501": "run plusone setup as a user who may, or grant this one what docs/datastores.md says",
    "53100": "the server's disk is full: free some space",
    "53300": "the server has no connection left: raise its max_connections, or lower connections in the store URL",
}
"""What stands behind the server's own words."""

_UNREACHED: Final = "see that the server runs, and that host and port in the store URL are right"

_GOES_ON: Final = frozenset({"40001", "40P01", "55P03", "22003", "22P02", "57014"})
"""After these the connection is as good as before."""


def translate(error: Exception) -> PlusoneError:
    """What a statement that was sent came to."""
    if isinstance(error, PlusoneError):
        return error
    return _ours(_verdict(error), error)


def not_sent(error: Exception, *, host: str | None = None) -> PlusoneError:
    """What connecting (to `host`), preparing or asking came to: whatever it is, nothing was changed by it."""
    ours = translate(error)
    if isinstance(error, socket.gaierror):
        name = "the host's name" if host is None else f"the host's name {host!r}"
        ours = StoreUnavailable(
            f"PostgreSQL: {name} cannot be resolved ({error}); correct the store URL, in which a password's special"
            " characters are percent-encoded"
        )
        ours.__cause__ = error
    elif isinstance(ours, OutcomeUnknown):
        if _is_untrusted(error) or _speaks_no_tls(error):
            return _ours(StoreRefused, error)
        unreached = host is not None and isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
        return _ours(StoreUnavailable, error, _UNREACHED if unreached else None)
    return ours


def leaves_connection_usable(error: BaseException) -> bool:
    """Whether the server refused one statement only, and the connection serves as before."""
    return isinstance(error.__cause__, asyncpg.PostgresError) and error.__cause__.sqlstate in _GOES_ON


def is_data_error(error: PlusoneError) -> bool:
    """Whether the server stumbled over a value of one of the rows."""
    cause = error.__cause__
    return isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith("22")


def _verdict(error: Exception) -> Verdict:
    for kind in type(error).__mro__:
        if kind in BY_CLASS:
            return BY_CLASS[kind]
        if vars(kind).get("sqlstate") is not None:
            break
    sqlstate = getattr(error, "sqlstate", None) or ""
    return BY_SQLSTATE.get(sqlstate, BY_SQLSTATE.get(sqlstate[:2], OutcomeUnknown))


def _ours(verdict: Verdict, error: Exception, what_to_do: str | None = None) -> PlusoneError:
    ours = verdict(f"PostgreSQL: {_words(error)}{f'; {what_to_do}' if what_to_do else ''}")
    ours.__cause__ = error
    return ours


def _words(error: Exception) -> str:
    sqlstate = getattr(error, "sqlstate", None) or ""
    said = str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args else str(error)
    if _is_untrusted(error):
        said = f"{said}; name the host as its certificate does, or set sslrootcert in the store URL to whom to trust"
    elif _speaks_no_tls(error):
        said = f"{said}; switch TLS on at the server (ssl=on), or write sslmode=prefer in the store URL to go without"
    elif isinstance(error, TimeoutError):
        said = said or "no answer in time"
    what_to_do = WHAT_TO_DO.get(sqlstate)
    return f"{said} ({sqlstate}); {what_to_do}" if what_to_do else f"{said} ({sqlstate or type(error).__name__})"


def _is_untrusted(error: Exception) -> bool:
    """Whether the server's certificate, or its name in there, was not taken."""
    return isinstance(error, ssl.SSLCertVerificationError)


def _speaks_no_tls(error: Exception) -> bool:
    """Whether the server answered that it has no TLS, and without it we are not to connect."""
    return isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error)
