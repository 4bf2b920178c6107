"""The schema and its tables, which only go forward: each script of `schema/` makes the next version.

What was dropped since is made again, for everybody is sent here who misses a table.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Any, Final

from plusone.errors import StoreRefused
from plusone.stores.postgresql.connections import Link, sql
from plusone.stores.postgresql.errors import not_sent
from plusone.stores.resources import migrations

_LOCK: Final = 0x706C75736F6E65  # "plusone"
_MAKES: Final = re.compile(r"^(?:CREATE|ALTER) (?:TABLE|INDEX) (?:IF NOT EXISTS )?(?:\{schema\}\.)?(\w+)", re.MULTILINE)


async def migrate(link: Link, schema: str, *, dry_run: bool) -> Sequence[str]:
    """Run the statements that this schema lacks, all in one transaction; those are the answer.

    Whoever does it at the same time waits, and then finds nothing to do. With `dry_run` nothing is changed.
    """
    try:
        if dry_run:
            return await _missing(link.driver, schema)
        if not await _missing(link.driver, schema):
            return ()
        async with link.driver.transaction(isolation="read_committed"):
            await link.driver.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            statements = await _missing(link.driver, schema)
            for statement in statements:
                await link.driver.execute(statement)
        return statements
    except Exception as error:
        # Idempotent as it is, it may be run again whatever came of it.
        raise not_sent(error) from error


async def _missing(driver: Any, schema: str) -> Sequence[str]:
    """What the scripts that have not run say, and before it what others made of what is not there any more."""
    has_schema, names = (await driver.fetch(sql("state", schema), schema))[0]
    version = await driver.fetchval(sql("version", schema)) if "schema_version" in names else 0
    scripts = migrations(__package__)
    if version > len(scripts):
        raise StoreRefused(
            f"PostgreSQL: the tables are of a newer plusone (version {version}, this one knows {len(scripts)});"
            " update plusone"
        )
    lost = [statement for script in scripts[:version] for statement in script if _is_lost(statement, names)]
    new = [statement for script in scripts[version:] for statement in script]
    statements = [statement.replace("{schema}", f'"{schema}"') for statement in (*lost, *new)]
    return statements if has_schema else [f'CREATE SCHEMA "{schema}"', *statements]


def _is_lost(statement: str, names: Container[str]) -> bool:
    """Whether it makes, or alters, a table or an index that is none of `names`."""
    found = _MAKES.search(statement)
    return found is not None and found[1] not in names
