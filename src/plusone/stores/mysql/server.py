"""What the server says of itself: whether it is one that the store URL's scheme is for, and what is worth a warning."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Mapping
from typing import Final

from plusone.errors import StoreRefused
from plusone.stores.mysql.connections import Connections
from plusone.stores.mysql.statements import sql

_SERVER: Final = sql("server.sql")
_OLDEST: Final = {"MySQL": (8, 0), "MariaDB": (10, 5)}
"""MariaDB has INSERT … RETURNING from 10.5 on. Of TiDB every version that is maintained will do."""
_BEFORE_MARIADBS: Final = "5.5.5-"
"""With this old versions of MariaDB, and some proxies, begin theirs, for the sake of replicas of MySQL."""

_log = logging.getLogger("plusone.stores.mysql")


async def ask(server: Connections) -> Mapping[str, str]:
    """Its variables of `server.sql`, by their names in small letters."""
    [rows] = await server.exchange([_SERVER])
    return {name.lower(): str(value) for name, value in rows}


def check(variables: Mapping[str, str], title: str, kinds: Container[str]) -> None:
    """Raise `StoreRefused` for a server that is none of `kinds`, which needs another scheme, or is too old."""
    kind, version = _kind(variables), variables.get("version", "")
    if kind not in kinds:
        raise StoreRefused(f"{title}: the server is {kind} ({version}); let the store URL begin with {kind.lower()}://")
    found = re.match(r"(\d+)\.(\d+)", version.removeprefix(_BEFORE_MARIADBS))
    if found and (int(found[1]), int(found[2])) < (oldest := _OLDEST.get(kind, (0, 0))):
        raise StoreRefused(
            f"{title}: the server is {kind} {version}; plusone needs {'.'.join(map(str, oldest))} or later"
        )


def warn_of_durability(variables: Mapping[str, str], title: str) -> None:
    """Log what the server acknowledges before it is on its disk."""
    if _kind(variables) == "TiDB":
        return  # it has none of InnoDB's settings, but their names
    flush = variables.get("innodb_flush_log_at_trx_commit", "1")
    if flush != "1":
        _log.warning(
            "%s: innodb_flush_log_at_trx_commit is %s: the server acknowledges what a crash may take; set it to 1",
            title,
            flush,
        )
    sync = variables.get("sync_binlog", "1")
    if variables.get("log_bin") == "ON" and sync != "1":
        # What is not in the binary log is rolled back at the next start, though InnoDB has it.
        _log.warning(
            "%s: sync_binlog is %s, and there is a binary log: the server acknowledges what a loss of power may take;"
            " set it to 1",
            title,
            sync,
        )


def _kind(variables: Mapping[str, str]) -> str:
    """Its version may be made to say anything, and then the comment says what it is."""
    said = f"{variables.get('version')} {variables.get('version_comment')}".lower()
    return "TiDB" if "tidb" in said else "MariaDB" if "mariadb" in said else "MySQL"
