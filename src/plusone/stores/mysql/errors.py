"""asyncmy's exceptions as ours: each definite (it was not applied) or ambiguous.

All that a step writes is one transaction, sent in one packet. The server answers statement after statement and stops
at the first error, whereupon we close the connection, and the server rolls back: so what it says before COMMIT is
definite. At COMMIT only that is definite with which a server refuses a whole transaction.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from asyncmy import errors as driver

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable

Verdict: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]


def _all(codes: Iterable[int], before: Verdict, at_commit: Verdict) -> dict[int, tuple[Verdict, Verdict]]:
    return dict.fromkeys(codes, (before, at_commit))


TABLE: Final[Mapping[int, tuple[Verdict, Verdict]]] = {
    # The server's code: the error before COMMIT, and the error of COMMIT itself.
    # A conflict with other transactions. Clusters find some of them at COMMIT only: 1213 (Galera), 3101 (group
    # replication), and TiDB's write conflicts (8002, 8005, 9007), safe retries (8022) and changed schemas (8028).
    **_all((1213, 3101, 8002, 8005, 8022, 8028, 9007), StoreUnavailable, StoreUnavailable),
    # Locks: the wait was over (1205 undoes the statement only, so the rest must go too), their table is full, NOWAIT.
    **_all((1020, 1205, 1206, 1062, 3572), StoreUnavailable, OutcomeUnknown),
    # Read-only: a replica, or a primary that was demoted.
    **_all((1036, 1290, 1792, 1836, 3100), StoreUnavailable, OutcomeUnknown),
    # No room: connections (1040, 1203, 1226), memory, threads, disk, a blocked host, a node that is joining (1047).
    **_all((1040, 1203, 1226, 1037, 1038, 1041, 1135, 1021, 1114, 1129, 1047), StoreUnavailable, OutcomeUnknown),
    # A query that was ended: by KILL QUERY, by a time limit of the server's, by TiDB for its memory.
    **_all((1317, 1969, 3024, 8175), StoreUnavailable, OutcomeUnknown),
    # TiDB within its cluster: the placement driver or a TiKV is late, busy or away, locks or data are out of reach.
    **_all((8027, 9001, 9002, 9003, 9004, 9005, 9006, 9008), StoreUnavailable, OutcomeUnknown),
    # Credentials, accounts, rights, databases, TLS that is demanded.
    **_all((1044, 1045, 1046, 1049, 1102, 1130, 1141, 1142, 1143, 1227, 1251, 1370), StoreRefused, OutcomeUnknown),
    **_all((1698, 1820, 1862, 3118, 3159, 4151, 8121), StoreRefused, OutcomeUnknown),
    # The server takes no such statement, packet, value or transaction; 1665 is a binary log by statement.
    **_all((1054, 1060, 1064, 1071, 1101, 1146, 1153, 1193, 1231, 1235, 1305, 1665), StoreRefused, OutcomeUnknown),
    **_all((1048, 1264, 1292, 1364, 1366, 1406, 1690, 3140, 3141, 3143, 8004), StoreRefused, OutcomeUnknown),
}
"""Not listed, and so "maybe": lost connections, shutdowns (1053), killed connections (1927), network errors (1152 to
1161), which a proxy may report of a server that goes on, errors of storage engines, and the driver's own."""

MESSAGES_OF_1105: Final = ("pessimistic lock retry limit reached", "lock wait timeout", "deadlock")
"""What TiDB says under its code for everything else when transactions were in each other's way: definite before COMMIT,
as there is a lock that was not had."""

HINTS: Final[Mapping[int, str]] = {
    2003: "see that the server runs, and that host and port in the store URL are right",
    1040: "raise max_connections on the server, or lower connections in the store URL",
    1203: "raise max_user_connections on the server, or lower connections in the store URL",
    1226: "raise the user's limit on the server, or lower connections in the store URL",
    1045: "correct user and password in the store URL",
    1698: "correct user and password in the store URL",
    1044: "grant the user SELECT, INSERT, UPDATE and DELETE on the database, or name another one in the store URL",
    1142: "grant the user SELECT, INSERT, UPDATE and DELETE on the database, or, if tables are missing, run plusone"
    " setup as a user who may CREATE and INDEX there",
    1049: "create the database, or name another one in the store URL",
    1146: "run: plusone setup URL",
    1290: "let the store URL name the primary",
    1792: "let the store URL name the primary",
    1836: "let the store URL name the primary",
    3159: "write tls=yes in the store URL",
    1153: "raise max_allowed_packet on the server",
    1665: "set binlog_format to MIXED or ROW on the server",
}


def translate(error: Exception, title: str, *, committing: bool) -> PlusoneError:
    """What a transaction that had been sent came to; `committing`: everything before COMMIT had been answered."""
    before, at_commit = _verdicts(error)
    return _ours(at_commit if committing else before, error, title)


def without_effect(error: Exception, title: str) -> StoreUnavailable | StoreRefused:
    """What a failure to connect, or of what counts nothing, came to: it is definite."""
    tls = _tls_hint(error if isinstance(error, ssl.SSLError) else error.__cause__)
    refused = tls is not None or _verdicts(error)[0] is StoreRefused
    found = _ours(StoreRefused if refused else StoreUnavailable, error, title, hint=tls)
    assert isinstance(found, StoreUnavailable | StoreRefused)
    return found


def code_of(error: BaseException | None) -> int | None:
    """The server's or the driver's code; None where there is none."""
    if isinstance(error, driver.MySQLError) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return None


def _verdicts(error: Exception) -> tuple[Verdict, Verdict]:
    code = code_of(error)
    if code == 1105 and any(message in str(error).lower() for message in MESSAGES_OF_1105):
        return StoreUnavailable, OutcomeUnknown
    return (OutcomeUnknown, OutcomeUnknown) if code is None else TABLE.get(code, (OutcomeUnknown, OutcomeUnknown))


def _tls_hint(error: BaseException | None) -> str | None:
    """What to do about TLS, if it is that which failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the store URL's host must be a name in the server's certificate, and ca_file must trust its issuer"
    if isinstance(error, ssl.SSLError):
        return "the server speaks no TLS, or none that we do: switch it on there, or write tls=no in the store URL"
    return None


def _ours(verdict: Verdict, error: Exception, title: str, *, hint: str | None = None) -> PlusoneError:
    code = code_of(error)
    said = f"{title}: {error.args[1]} ({code})" if code and len(error.args) > 1 else f"{title}: {error!r}"
    hint = hint or HINTS.get(code or 0)
    ours = verdict(f"{said}; {hint}" if hint else said)
    ours.__cause__ = error
    return ours
