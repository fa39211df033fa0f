"""The address of the store: what of it is ours, what goes to the driver, and what may be shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from legato.errors import ConfigError

EXAMPLE = "postgresql://bot:secret@db.example.com/bots?sslmode=verify-full"
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,39}")
MOST_PARTITIONS = 64


class Where(Struct, frozen=True):
    """An address taken apart.

    Attributes:
        dsn: For the driver; holds the password. Never to be shown.
        name: For people: hosts and database, without user and password.
        schema: The PostgreSQL schema that the tables are in: one for each app of a database.
        pool: Connections at most.
        pgbouncer: Whether a pooler stands between, which gives each transaction another connection:
            then no statement is kept prepared, and no setting is made for a connection.
        partitions: Into how many parts the large tables are made, 0 = they are whole. Matters only
            when they are created.
        timeout_s: How long one statement may take before the connection is given up.
        several: Whether there are several hosts, of which the one that takes writes is meant.
    """

    dsn: str
    name: str
    schema: str = "legato"
    pool: int = 4
    pgbouncer: bool = False
    partitions: int = 0
    timeout_s: float = 15.0
    several: bool = False


def where_is(url: str) -> Where:
    """Takes the address of a PostgreSQL store apart.

    Raises:
        ConfigError: It is none. The text holds no password.
    """
    try:
        parts = urlsplit(url)
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise ConfigError(
            f"LEGATO_STORE is no address of a PostgreSQL database: write {EXAMPLE}"
        ) from None
    if parts.scheme not in ("postgres", "postgresql"):
        raise ConfigError(f"LEGATO_STORE is no address of a PostgreSQL database: write {EXAMPLE}")
    if ("@" not in parts.netloc and "@" in f"{parts.path}{parts.query}") or parts.fragment:
        # What is taken for host or path is a piece of the password, so none of it may be shown.
        raise ConfigError(
            "LEGATO_STORE: special characters of user and password must be written as / %2F, ? %3F, # %23, "
            f"@ %40, as in {EXAMPLE.replace('secret', 'se%2Fcret')}"
        )
    schema = query.pop("schema", "legato")
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise ConfigError(
            f"LEGATO_STORE: schema={schema!r:.60} cannot be a schema of ours: up to 40 of a-z, 0-9 and _"
        )
    pool = _number(query, "pool", 4, 1, 100)
    partitions = _number(query, "partitions", 0, 0, MOST_PARTITIONS)
    if partitions & (partitions - 1):
        raise ConfigError("LEGATO_STORE: partitions= is a power of two, up to 64")
    timeout_s = _number(query, "timeout", 15, 1, 600)
    pgbouncer = _number(query, "pgbouncer", 0, 0, 1)
    hosts = parts.netloc.rpartition("@")[2] or query.get("host", "") or "the local server"
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), ""))
    return Where(
        dsn=dsn,
        name=f"PostgreSQL at {hosts}{parts.path}",
        schema=schema,
        pool=pool,
        pgbouncer=bool(pgbouncer),
        partitions=partitions,
        timeout_s=timeout_s,
        several="," in hosts,
    )


def _number(query: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.pop(name, str(default))
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ConfigError(
            f"LEGATO_STORE: {name}={text!r:.40} must be a whole number from {least} to {most}"
        )
    return int(text)
