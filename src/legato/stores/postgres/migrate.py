"""Making the schema, and bringing an older one up to date, while other processes may do the same."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from typing import Any

from legato.errors import ConfigError, StoreCorrupt, StoreNewer
from legato.stores.postgres.address import Where
from legato.stores.postgres.links import Connection
from legato.stores.postgres.schema import MIGRATIONS, PROGRAM, TABLES

log: logging.Logger = logging.getLogger("legato.store")


async def migrate(connection: Connection, where: Where, *, create: bool) -> None:
    """Brings the schema to the newest version. Idempotent, also with others at the same time.

    Raises:
        ConfigError: There is none, and it is not to be created.
        StoreNewer, StoreCorrupt: As Store.open says.
        Exception: The driver's.
    """
    version = await _version(connection, where)
    if not version and not create:
        raise ConfigError(
            f"there is no store in {where.name}, schema {where.schema!r}: name it with --store, as the bot's "
            "LEGATO_STORE has it"
        )
    if version < len(MIGRATIONS):
        async with connection.transaction():
            # One process at a time; the others see a finished schema when they get the lock.
            await connection.fetch(
                "SELECT pg_advisory_xact_lock($1, $2)", _LOCK, _number(where.schema)
            )
            await _migrate(connection, where)
    for setting, value in await connection.fetch(
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes')"
    ):
        if value == "off":
            log.warning(
                "%s runs with %s = off: a crash of its machine loses or damages what was acknowledged",
                where.name,
                setting,
            )


_LOCK = zlib.crc32(b"legato: migration") - 2**31


def _number(schema: str) -> int:
    return zlib.crc32(schema.encode()) - 2**31


async def _migrate(connection: Connection, where: Where) -> None:
    version = await _version(connection, where)
    partitions = where.partitions
    if version:
        ((partitions,),) = await connection.fetch(f"SELECT partitions FROM {where.schema}.meta")
    elif not await connection.fetch("SELECT FROM pg_namespace WHERE nspname = $1", where.schema):
        await connection.execute(f"CREATE SCHEMA {where.schema}")
    for step in MIGRATIONS[version:]:
        for statement in step(where.schema, partitions):
            await connection.execute(statement)
    if version:
        await connection.execute(f"UPDATE {where.schema}.meta SET version = {len(MIGRATIONS)}")
    else:
        await connection.execute(
            f"INSERT INTO {where.schema}.meta VALUES ('{PROGRAM}', {len(MIGRATIONS)}, {partitions})"
        )


async def _version(connection: Connection, where: Where) -> int:
    """The schema's version, 0 if there is none; refuses what is not ours."""
    there = await connection.fetch(
        "SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND relname = ANY ($2)",
        where.schema,
        list(TABLES),
    )
    if not there:
        return 0
    found: Sequence[Any] = ()
    if any(name == "meta" for (name,) in there) and len(there) == len(TABLES):
        columns = f"SELECT attname::text FROM pg_attribute WHERE attrelid = '{where.schema}.meta'::regclass"
        if {"program", "version"} <= {name for (name,) in await connection.fetch(columns)}:
            found = await connection.fetch(f"SELECT program, version FROM {where.schema}.meta")
    if len(found) != 1 or found[0][0] != PROGRAM:
        raise StoreCorrupt(
            f"{where.name}: the schema {where.schema!r} holds tables of another program, or is damaged. "
            "Nothing was changed in it. Name another one in LEGATO_STORE, as in ?schema=my_bot"
        )
    version: int = found[0][1]
    if version > len(MIGRATIONS):
        raise StoreNewer(
            f"{where.name} was written by a newer Legato (schema {version}; this one knows "
            f"{len(MIGRATIONS)}). Upgrade: pip install -U legato. Nothing was changed in it."
        )
    return version
