"""What the server says of itself: its settings that are worth a warning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from plusone.stores.mysql.connections import Connections
from plusone.stores.mysql.statements import sql

_SERVER: Final = sql("server.sql")

_log = logging.getLogger("plusone.stores.mysql")


async def ask(server: Connections) -> Mapping[str, str]:
    """Its variables of `server.sql`, by their names in small letters."""
    [rows] = await server.exchange([_SERVER])
    return {name.lower(): str(value) for name, value in rows}


def warn_of_durability(variables: Mapping[str, str]) -> None:
    """Log what the server acknowledges before it is on its disk."""
    if is_tidb(variables):
        return  # it has none of InnoDB's settings, but their names
    flush = variables.get("innodb_flush_log_at_trx_commit", "1")
    if flush != "1":
        _log.warning(
            "innodb_flush_log_at_trx_commit is %s: the server acknowledges what a crash may take; set it to 1", flush
        )
    sync = variables.get("sync_binlog", "1")
    if variables.get("log_bin") == "ON" and sync != "1":
        # What is not in the binary log is rolled back at the next start, though InnoDB has it.
        _log.warning(
            "sync_binlog is %s, and there is a binary log: the server acknowledges what a loss of power may take; set"
            " it to 1",
            sync,
        )


def is_tidb(variables: Mapping[str, str]) -> bool:
    """Its version may be made to say anything, and then the comment says what it is."""
    return "tidb" in f"{variables.get('version')} {variables.get('version_comment')}".lower()
