"""The Store's methods over one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from legato.abc.store import Store
from legato.errors import ConfigError, StoreCorrupt, StoreError, StoreUnavailable
from legato.model.records import Commit, Committed, Conversation, Loaded, Mail, OutboxItem, Settled
from legato.stores.sqlite import statements
from legato.stores.sqlite.files import Connect, Connection, Database, connect
from legato.stores.sqlite.statements import Execute
from legato.stores.sqlite.within import Failed
from legato.stores.sqlite.writer import GroupWriter, InlineWriter, Result, Transactions, Work

_T = TypeVar("_T")


class SQLiteStore(Store):
    """Keeps everything in the file at `path`, which is made if there is none.

    One process runs a bot on a file; `shared=True` opens it beside that process, as an operator's
    tool does: nothing is damaged by it, since SQLite's locks and the fence hold between processes, but
    two processes that both deliver the outbox would send everything twice.

    Args:
        path: The database file, on a local disk. Its folder must exist.
        threads: Commits of concurrent callers share one fsync, which runs in a thread. False: every
            write happens on the calling thread, and no thread is made (cloud functions).
        shared: Do not take the lock that keeps a second process out.
    """

    __slots__ = ("_database", "_reader", "_threads", "_transactions", "_writer", "path")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: bool = True,
        shared: bool = False,
        _synchronous: str = "FULL",
        _busy_s: float = 5.0,
        _connect: Connect = connect,
    ) -> None:
        self.path: str = os.fspath(path)
        if self.path in ("", ":memory:"):
            raise ConfigError("SQLiteStore needs a file; a store in memory is memory://")
        self._threads = threads
        self._database = Database(
            self.path, shared=shared, synchronous=_synchronous, busy_s=_busy_s, connect=_connect
        )
        self._reader: Connection | None = None
        self._transactions: Transactions | None = None
        self._writer: GroupWriter | InlineWriter | None = None

    async def open(self) -> None:
        """See Store.open."""
        if self._writer is not None:
            return
        connection = self._database.open()
        try:
            transactions = self._transactions = Transactions(self._database, connection)
            if self._threads:
                self._reader = self._database.reader()
                self._writer = GroupWriter(transactions, self._database.busy_s)
            else:
                self._writer = InlineWriter(transactions)
        except BaseException as error:
            connection.close()
            self._disconnect()
            if isinstance(error, sqlite3.Error):
                raise self._database.error(error) from error
            raise

    async def close(self) -> None:
        """See Store.close."""
        writer, self._writer = self._writer, None
        if writer is None:
            return  # also while another call closes: the lock must outlast the last write
        try:
            await writer.close()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        transactions, self._transactions = self._transactions, None
        if transactions is not None:
            transactions.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        self._database.unlock()

    # -- writing ------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> Committed:
        """See Store.commit."""
        committed = await self._write(commit)
        assert committed is not None
        return committed

    async def settle(self, settled: Sequence[Settled]) -> None:
        """See Store.settle."""
        if settled:
            await self._write(settled)

    async def _write(self, work: Work) -> Result:
        writer = self._writer
        if writer is None:
            raise self._not_open()
        try:
            return await writer.submit(work)
        except sqlite3.Error as error:
            raise self._database.error(error) from error
        except Failed as failed:
            raise self._of_app(failed.error) from None

    def _of_app(self, error: BaseException) -> BaseException:
        """What the app's own SQL raised; in our words if it is about the disk or a lock."""
        if isinstance(error, sqlite3.Error):
            ours = self._database.error(error)
            if type(ours) is not StoreError:
                ours.__cause__ = error
                return ours
        return error

    # -- reading: on the caller's thread, it takes microseconds -------------------------------

    async def load(self, key: str) -> Loaded | None:
        """See Store.load."""
        return self._read(lambda execute: statements.load(execute, key), snapshot=True)

    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        """See Store.due."""
        return self._read(lambda execute: statements.due(execute, now_ms, limit, slots))

    async def outbox(
        self,
        *,
        states: Sequence[str],
        after: int = 0,
        limit: int = 1000,
        key: str = "",
        slots: Collection[int] | None = None,
    ) -> list[OutboxItem]:
        """See Store.outbox."""
        return self._read(
            lambda execute: statements.outbox(
                execute, states=states, after=after, limit=limit, key=key, slots=slots
            )
        )

    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        """See Store.mail."""
        return self._read(
            lambda execute: statements.mail(execute, key=key, after=after, limit=limit, slots=slots)
        )

    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        """See Store.find."""
        return self._read(
            lambda execute: statements.find(
                execute, status=status, dialog=dialog, after=after, limit=limit, slots=slots
            )
        )

    async def get(self, space: str, name: str) -> bytes | None:
        """See Store.get."""
        return self._read(lambda execute: statements.get(execute, space, name))

    def _read(self, read: Callable[[Execute], _T], *, snapshot: bool = False) -> _T:
        connection = self._connection()
        execute = connection.execute
        try:
            if snapshot:
                execute("BEGIN")
            try:
                return read(execute)
            except UnicodeEncodeError:
                return read(statements.tolerant(execute))
            finally:
                if snapshot and connection.in_transaction:  # some failures end it by themselves
                    execute("COMMIT")
        except sqlite3.Error as error:
            raise self._database.error(error) from error
        except StoreCorrupt as error:  # a stored call that is none: say in which file
            raise self._database.corrupt(str(error)) from error

    def _connection(self) -> Connection:
        if self._reader is not None:
            return self._reader
        if self._transactions is not None:  # without threads nobody reads between BEGIN and COMMIT
            return self._transactions.connection()
        raise self._not_open()

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.path} is not open: await store.open() first")
