"""The tables: what of them is there, and the scripts that make the rest."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Final

from plusone.errors import PlusoneError, StoreRefused
from plusone.stores.mysql.connections import Connections
from plusone.stores.mysql.errors import code_of
from plusone.stores.mysql.statements import sql
from plusone.stores.resources import migrations

_VERSION: Final = sql("version.sql")
_NAMES: Final = sql("names.sql")
_INDEX_IS_THERE: Final = 1061
_NOTE: Final = re.compile(r"--.*$", re.MULTILINE)
_TABLE: Final = re.compile(r"^(?:CREATE|ALTER) TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_INDEX: Final = re.compile(r"^ *KEY (\w+) (\(.+\))", re.MULTILINE)


async def missing(server: Connections, title: str) -> Sequence[str]:
    """The statements that the database lacks: for tables and indexes that are not there, and those it has not seen.

    Raises `StoreRefused` for a database of a newer plusone.
    """
    [rows] = await server.exchange([_NAMES])
    names = {name for [name] in rows}
    version = 0
    if "plusone_schema" in names:
        [[[version]]] = await server.exchange([_VERSION])
    scripts = migrations(__package__)
    if version > len(scripts):
        raise StoreRefused(
            f"{title}: the tables were made by a newer plusone (version {version}, this one knows {len(scripts)});"
            " update plusone"
        )
    lost = [step for script in scripts[:version] for statement in script for step in _lost(statement, names)]
    return [*lost, *(statement for script in scripts[version:] for statement in script)]


async def make(server: Connections, steps: Sequence[str]) -> None:
    """Run them. Each is without effect where another process was faster."""
    for step in steps:
        try:
            await server.exchange([_NOTE.sub("", step)])
        except PlusoneError as error:
            # MySQL has no CREATE INDEX IF NOT EXISTS.
            if code_of(error.__cause__) != _INDEX_IS_THERE:
                raise


def _lost(statement: str, names: Container[str]) -> Sequence[str]:
    """The statement, if its table is none of `names`; else what makes those of its indexes that are none of them."""
    table = _TABLE.search(statement)
    if table is None:
        return ()
    if table[1] not in names:
        return (statement,)
    indexes = _INDEX.findall(statement)
    return [f"CREATE INDEX {name} ON {table[1]} {columns}" for name, columns in indexes if name not in names]
