"""SQL of the app's own inside a commit's transaction (`Commit.within`, `chat.tx`).

It has a connection to itself for as long as it runs, and other commits to the same conversation wait here,
in this process, rather than in the database, where they would hold up their whole batch.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from legato.errors import Misuse, StoreUnavailable
from legato.model.records import Committed
from legato.stores.postgres.failures import AGAIN, explained, fatal, sqlstate
from legato.stores.postgres.links import Link
from legato.stores.postgres.rows import Packed, arrays, outcomes, refusal
from legato.stores.postgres.writer import TRIES, Statements, Writer

Within = Callable[[Any], Awaitable[bytes]]
_FIRST_WORDS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*(\w*)\s*(\w*)", re.DOTALL)
_OURS = frozenset(
    (
        "ABORT",
        "BEGIN",
        "COMMIT",
        "DISCARD",
        "END",
        "RELEASE",
        "RESET",
        "ROLLBACK",
        "SAVEPOINT",
        "START",
    )
)
"""Statements that would end the transaction that is not theirs, or change the connection."""
_LENT = frozenset(
    (
        "copy_from_query",
        "copy_records_to_table",
        "copy_to_table",
        "cursor",
        "prepare",
        "transaction",
    )
)
"""What else of asyncpg's Connection may be used: it leaves no trace on the connection."""


class Overtaken(Exception):
    """Private: another transaction is to blame; nothing was written, and the same may be tried again."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception = error
        super().__init__()


class Sql:
    """The transaction, as the app's function sees it: asyncpg's Connection, less what is not its own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, query: str, *args: object) -> str:
        """Runs a statement; returns what it was and how many rows it changed, as in "UPDATE 2"."""
        done: str = await self._allowed(query).execute(query, *args)
        return done

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Runs a statement once for each sequence of arguments."""
        await self._allowed(query).executemany(query, args)

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """All rows."""
        rows: list[Any] = await self._allowed(query).fetch(query, *args)
        return rows

    async def fetchrow(self, query: str, *args: object) -> Any:
        """The first row, None if there is none."""
        return await self._allowed(query).fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object, column: int = 0) -> Any:
        """One value of the first row, None if there is none."""
        return await self._allowed(query).fetchval(query, *args, column=column)

    def __getattr__(self, name: str) -> Any:
        if name not in _LENT:
            raise AttributeError(f"the transaction of chat.tx() has no {name!r}")
        return getattr(self._open(), name)

    def _allowed(self, query: str) -> Any:
        found = _FIRST_WORDS.match(query)
        verb, more = (found[1].upper(), found[2].upper()) if found else ("", "")
        if (
            verb in _OURS
            or (verb == "SET" and more != "LOCAL")
            or verb + more == "PREPARETRANSACTION"
        ):
            raise Misuse(
                f"{verb} inside chat.tx(): the transaction is begun and ended by Legato; to undo a part of "
                "it, write `async with sql.transaction():`, and settings are made with SET LOCAL"
            )
        return self._open()

    def _open(self) -> Any:
        if self._connection is None:
            raise Misuse("the transaction of a chat.tx() was used after its function had returned")
        return self._connection

    def end(self) -> None:
        """From here on it cannot be used."""
        self._connection = None


class Ride:
    """Commits that carry the app's own SQL, on one connection.

    Args:
        link: The connection; nobody else uses it meanwhile.
        writer: Whose functions write, and which knows what became of a transaction.
        statements: What is called.
        name: Which database.
    """

    def __init__(self, link: Link, writer: Writer, statements: Statements, name: str) -> None:
        self._link = link
        self._writer = writer
        self._statements = statements
        self._name = name

    async def commit(self, packed: Packed, within: Within) -> Committed:
        """Writes a commit together with what `within` does.

        Raises:
            StoreError: Nothing was written.
            Exception: What `within` raised; nothing was written.
        """
        tries = 0
        while True:
            try:
                return await self._once(packed, within)
            except Overtaken as overtaken:
                tries += 1
                if tries == TRIES:
                    raise explained(overtaken.error, self._name) from overtaken.error
            except asyncio.CancelledError:
                # A transaction may stand open: the next one would be a part of it, never committed.
                self._link.drop()
                raise

    async def _once(self, packed: Packed, within: Within) -> Committed:
        connection = await self._link.up()
        transaction = connection.transaction()
        try:
            await transaction.start()
            (row,) = await self._link.fetch_inside(self._statements.check, *packed.check())
        except Exception as error:
            await self._undo(transaction)
            raise self._ours(error) from error
        if row[0]:
            await self._undo(transaction)
            return refusal(*row)
        segment = await self._run(connection, transaction, within)
        work = packed.with_segment(segment)
        try:
            row = await self._writer.call(self._link, arrays((work,)), inside=True)
        except Exception as error:
            if self._link.lost:
                self._link.forget()  # no COMMIT was sent: it cannot have taken place
            await self._undo(transaction)
            raise self._ours(error) from error
        (result,) = outcomes((work,), row)
        assert result is not None
        if result.result != "committed":
            self._link.number -= 1
            await self._undo(transaction)
            return result
        return await self._finish(transaction, work, result)

    async def _run(self, connection: Any, transaction: Any, within: Within) -> bytes:
        sql = Sql(connection)
        try:
            segment = await within(sql)
            if not connection.is_closed() and not connection.is_in_transaction():
                raise Misuse(
                    "a function given to chat.tx() ended the transaction, which is Legato's"
                )
        except Exception as error:
            broken = connection.is_closed()
            await self._undo(transaction)
            if broken:
                raise explained(_lost(error), self._name) from error
            raise
        except BaseException:
            self._link.drop()  # cancelled, perhaps within a statement: the server undoes it
            raise
        finally:
            sql.end()
        return segment

    async def _finish(self, transaction: Any, work: Packed, result: Committed) -> Committed:
        try:
            await transaction.commit()
        except Exception as error:
            self._link.failed(error)
            if not fatal(error):
                self._link.number -= 1
                if sqlstate(error) in AGAIN:
                    raise Overtaken(error) from error
                raise  # a deferred constraint of the app: nothing was written
            row = await self._writer.find_out(self._link)
            if row is None:
                raise explained(error, self._name) from error
            (found,) = outcomes((work,), row)
            return found or result
        return result

    def _ours(self, error: Exception) -> Exception:
        if sqlstate(error) in AGAIN:
            return Overtaken(error)
        if sqlstate(error) == "25P02":  # in_failed_sql_transaction
            return Misuse(
                "a statement of a function given to chat.tx() failed and its error was caught: the whole "
                "transaction is lost then. Put what may fail into `async with sql.transaction():`"
            )
        return explained(error, self._name)

    async def _undo(self, transaction: Any) -> None:
        try:
            await transaction.rollback()
        except Exception:  # noqa: BLE001 - it is undone when the connection ends
            self._link.drop()


def _lost(error: Exception) -> Exception:
    """A driver's error about a lost connection, also where the app raised another in its place."""
    return error if fatal(error) else StoreUnavailable(str(error))
