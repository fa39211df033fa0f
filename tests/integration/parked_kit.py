"""Very many parked conversations in a Postgres store within seconds; and what its statements read.

One conversation is parked by a real Runtime. Its rows are then copied with another chat, bot and time in
them, so each copy is what the Runtime would have written for that chat, and goes on like any other.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import asyncpg

from legato.model.shards import slot_of_key
from legato.stores.postgres.address import Where, where_is
from legato.stores.postgres.links import connect

TABLES = ("conversation", "journal", "inbox")
"""Where a parked conversation has rows."""
PAGE = 20_000
"""Conversations in one COPY."""


class Copy(NamedTuple):
    """What is different in one copy. All are texts of the same length as the seed's.

    Attributes:
        chat: The chat's id; the user's, the update's and the message's contain or equal it.
        at_ms, wake_ms: When it was parked; when its deadline is.
        bot: The bot's id.
    """

    chat: int
    at_ms: int
    wake_ms: int
    bot: str = "bot"


class Seed:
    """The rows of one parked conversation.

    Args:
        of: What they have where a copy has its own.
        rows: Of each of TABLES.
    """

    def __init__(self, of: Copy, rows: dict[str, list[Any]]) -> None:
        self._of = of
        own = b"|".join(_text(part) for part in (of.at_ms, of.wake_ms, of.chat))
        pattern = re.compile(b'(%b|(?<=[:"])%b(?=[:"]))' % (own, of.bot.encode()))
        self.columns: dict[str, list[str]] = {name: list(rows[name][0].keys()) for name in TABLES}
        self._rows = {
            name: [[_pieces(pattern, value) for value in row.values()] for row in rows[name]]
            for name in TABLES
        }
        (row,) = rows["conversation"]
        self.key: str = row["key"].decode()
        self._number: int = row["number"]
        self._slot: int = row["slot"]

    def key_of(self, copy: Copy) -> str:
        """The key of a copy."""
        return self.key.replace(f":{self._of.bot}:", f":{copy.bot}:").replace(
            str(self._of.chat), str(copy.chat)
        )

    def rows(self, table: str, copy: Copy, number: int) -> Iterator[list[Any]]:
        """The rows of a copy, whose `number` nobody else has."""
        of = self._of
        new: dict[object, Any] = {
            _text(of.chat): _text(copy.chat),
            _text(of.at_ms): _text(copy.at_ms),
            _text(of.wake_ms): _text(copy.wake_ms),
            of.bot.encode(): copy.bot.encode(),
            of.at_ms: copy.at_ms,
            of.wake_ms: copy.wake_ms,
        }
        slot = slot_of_key(self.key_of(copy))
        own = {"number": number, "conversation": number, "slot": slot}
        for row in self._rows[table]:
            yield [
                own[name]
                if name in own
                else b"".join([new.get(piece) or piece for piece in value])
                if isinstance(value, list)
                else new.get(value, value)
                for name, value in zip(self.columns[table], row, strict=True)
            ]


def _text(number: int) -> bytes:
    return str(number).encode()


def _pieces(pattern: re.Pattern[bytes], value: Any) -> Any:
    return pattern.split(value) if isinstance(value, bytes) else value


async def seed(url: str, of: Copy) -> Seed:
    """Takes the only conversation of a store as the seed.

    Args:
        url: Of the store.
        of: What stands in it where a copy has its own.
    """
    where = where_is(url)
    schema = where.schema
    connection = await asyncpg.connect(where.dsn)
    try:
        rows = {name: await connection.fetch(f"SELECT * FROM {schema}.{name}") for name in TABLES}
    finally:
        await connection.close()
    return Seed(of, rows)


async def multiply(url: str, seed: Seed, copies: Iterable[Copy]) -> None:
    """Adds copies to the store, and has the planner's statistics renewed, as autovacuum does."""
    where = where_is(url)
    schema = where.schema
    connection = await asyncpg.connect(where.dsn)
    try:
        sequence = f"{schema}.conversation_number"
        left = iter(copies)
        while page := list(islice(left, PAGE)):
            first = await connection.fetchval(f"SELECT nextval('{sequence}')") + 1
            for table in TABLES:
                await connection.copy_records_to_table(
                    table,
                    schema_name=schema,
                    columns=seed.columns[table],
                    records=(
                        row
                        for number, copy in enumerate(page, first)
                        for row in seed.rows(table, copy, number)
                    ),
                )
            await connection.execute(f"SELECT setval('{sequence}', {first + len(page)})")
        await connection.execute(f"ANALYZE {', '.join(f'{schema}.{name}' for name in TABLES)}")
    finally:
        await connection.close()


# -- what statements read -----------------------------------------------------------------------------


class Reading(NamedTuple):
    """What was read by the statements since the last look.

    Attributes:
        buffers: Pages of tables and indexes, however often each.
        scanned: Tables of TABLES (or parts of them) that were read from one end to the other.
        statements: How often the client sent each kind of statement.
    """

    buffers: int
    scanned: set[str]
    statements: Counter[str]


class Watched:
    """Makes connections (for `PostgresStore(_connect=...)`) whose server tells the plan of whatever it
    ran, the statements inside of functions included, and what that read.
    """

    SETTINGS = (
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; "
        "SET auto_explain.log_buffers = on; SET auto_explain.log_nested_statements = on; "
        "SET auto_explain.log_timing = off; SET auto_explain.log_format = json; "
        "SET client_min_messages = log"
    )

    def __init__(self, schema: str = "legato") -> None:
        self.schema = schema
        self._plans: list[dict[str, Any]] = []
        self._statements: Counter[str] = Counter()

    async def connect(self, where: Where) -> Any:
        """See `legato.stores.postgres.links.connect`."""
        connection: Any = await connect(where)
        await connection.execute(self.SETTINGS)
        connection.add_log_listener(self._told)
        connection.add_query_logger(self._sent)
        return connection

    def _told(self, connection: Any, message: Any) -> None:
        _, plan, text = str(message.message).partition("plan:\n")
        if plan:
            self._plans.append(json.loads(text))

    def _sent(self, record: Any) -> None:
        if f"{self.schema}." in record.query:
            self._statements[kind(record.query)] += 1

    async def look(self) -> Reading:
        """What was read since the last look."""
        await asyncio.sleep(0)  # the driver tells in the next round of the loop
        plans, self._plans = self._plans, []
        statements, self._statements = self._statements, Counter()
        buffers, scanned = 0, set()
        for plan in plans:
            text = plan["Query Text"]
            if f"{self.schema}." not in text:
                continue  # the driver asks for types
            if kind(text) != "write":  # what is in it is told by itself
                buffers += _buffers(plan["Plan"])
            for node in _nodes(plan["Plan"]):
                if node["Node Type"] == "Seq Scan" and node["Relation Name"].startswith(TABLES):
                    scanned.add(f"{node['Relation Name']}: {text}")
        return Reading(buffers, scanned, statements)


def kind(query: str) -> str:
    """A short name for a statement of the store: "load", or the table or function that it asks."""
    found = re.search(r"(?:FROM|INTO|UPDATE) \w+\.(\w+)", query)
    name = found[1] if found else query.split(maxsplit=1)[0].lower()
    return {"journal": "load", "write_1": "write"}.get(name, name)


def _buffers(node: dict[str, Any]) -> int:
    return int(node.get("Shared Hit Blocks", 0)) + int(node.get("Shared Read Blocks", 0))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
