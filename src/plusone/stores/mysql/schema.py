"""The tables: what of them is there, and the scripts that make the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from plusone.errors import StoreRefused
from plusone.stores.mysql.connections import Connections
from plusone.stores.mysql.errors import code_of
from plusone.stores.mysql.statements import sql
from plusone.stores.resources import migrations

_VERSION: Final = sql("version.sql")
_NO_SUCH_TABLE: Final = 1146
_NOTE: Final = re.compile(r"--.*$", re.MULTILINE)


async def missing(server: Connections, title: str) -> Sequence[str]:
    """The statements that the database has not seen. Raises `StoreRefused` for one of a newer plusone."""
    try:
        [[[version]]] = await server.exchange([_VERSION])
    except StoreRefused as error:
        if code_of(error.__cause__) != _NO_SUCH_TABLE:
            raise
        version = 0
    scripts = migrations(__package__)
    if version > len(scripts):
        raise StoreRefused(
            f"{title}: the tables were made by a newer plusone (version {version}, this one knows {len(scripts)});"
            " update plusone"
        )
    return [statement for script in scripts[version:] for statement in script]


async def make(server: Connections, steps: Sequence[str]) -> None:
    """Run them. Each is without effect where another process was faster."""
    for step in steps:
        await server.exchange([_NOTE.sub("", step)])
