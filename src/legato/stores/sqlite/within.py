"""SQL of the app's own inside a commit's transaction (`Commit.within`, `chat.tx`).

The function is given what it would be given on Postgres: the calls of asyncpg's Connection that both can
have, with parameters `$1`, `$2` ... So one function serves a file on a laptop and a cluster.

Here it runs between two statements of ours, on the event loop, without ever leaving it: none of these calls
really waits, so a function that awaits nothing else is run to its end by a single `send`. If it fails, the
whole transaction is undone; neighbours in the same batch are then run again without it (writer.py).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from legato.errors import Misuse
from legato.stores.sqlite.statements import Within

_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*(\w*)", re.DOTALL)
_OURS = frozenset(
    ("ATTACH", "BEGIN", "COMMIT", "DETACH", "END", "PRAGMA", "RELEASE", "ROLLBACK", "SAVEPOINT")
)
"""Statements that would end the transaction that is not theirs, or change the connection."""


class Failed(Exception):
    """Private: carries what the app's function raised past those who translate the store's errors."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException = error
        super().__init__()


class Sql:
    """The transaction, as the app's function sees it.

    Rows can be read by number and by name. Each statement's result is fetched at once.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, query: str, *args: object) -> str:
        """Runs a statement; returns what it was and how many rows it changed, as in "UPDATE 2"."""
        _, changed = self._run(query, args)
        verb = _verb(query)
        if verb == "INSERT":
            return f"INSERT 0 {changed}"
        return verb if changed < 0 else f"{verb} {changed}"

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Runs a statement once for each sequence of arguments."""
        for one in args:
            self._run(query, one)

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """All rows."""
        return self._run(query, args)[0]

    async def fetchrow(self, query: str, *args: object) -> Any:
        """The first row, None if there is none."""
        rows = self._run(query, args)[0]
        return rows[0] if rows else None

    async def fetchval(self, query: str, *args: object, column: int = 0) -> Any:
        """One value of the first row, None if there is none."""
        rows = self._run(query, args)[0]
        return rows[0][column] if rows else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A part that is undone alone when it raises."""
        self._connection.execute("SAVEPOINT app")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK TO app")
            raise
        finally:
            self._connection.execute("RELEASE app")

    def _run(self, query: str, args: Sequence[object]) -> tuple[list[Any], int]:
        if _verb(query) in _OURS:
            raise Misuse(
                f"{_verb(query)} inside chat.tx(): the transaction is begun and ended by Legato; to undo a "
                "part of it, write `async with sql.transaction():`"
            )
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        try:
            # SQLite takes $1 for a name, and finds it in a mapping.
            cursor.execute(query, {str(number): value for number, value in enumerate(args, 1)})
            return cursor.fetchall(), cursor.rowcount
        finally:
            cursor.close()


def _verb(query: str) -> str:
    found = _FIRST_WORD.match(query)
    return "" if found is None else found[1].upper()


def run_within(connection: Any, within: Within) -> bytes:
    """Runs the app's function in the transaction that is open on `connection`; returns its segment.

    Raises:
        Failed: It raised, or awaited something else than the SQL it was given.
    """
    running = within(Sql(connection)).__await__()
    try:
        next(running)
    except StopIteration as done:
        segment: bytes = done.value
        return segment
    except BaseException as error:
        raise Failed(error) from error
    running.close()
    raise Failed(
        Misuse(
            "a function given to chat.tx() awaited something other than the SQL it is given: do that in a "
            "step before or after it (chat.run), since the transaction holds up all others meanwhile"
        )
    )
