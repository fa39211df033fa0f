"""A database in memory for the SQL of `chat.tx`, in tests."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from legato.stores.sqlite.within import Sql


class Tables:
    """SQLite in memory, spoken to as asyncpg is: `$1`, `fetchval`, `RETURNING` ...

    It stands beside the store, and is committed or rolled back with it.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._lock = asyncio.Lock()

    def script(self, sql: str) -> None:
        """Runs statements with semicolons between: makes and fills the tables."""
        self._connection.executescript(sql)

    def fetch(self, query: str, *args: object) -> list[tuple[Any, ...]]:
        """What stands there now."""
        values = {str(number): value for number, value in enumerate(args, 1)}
        return self._connection.execute(query, values).fetchall()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Sql]:
        """One transaction; an exception rolls it back."""
        async with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield Sql(self._connection)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """It is gone."""
        self._connection.close()
