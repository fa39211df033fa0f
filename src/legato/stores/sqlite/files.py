"""The file behind the store: opening it, the lock against a second process, the driver's errors in
our words.

The lock stands beside the database ("bot.db-legato.lock") and not on it: SQLite's own locks are POSIX
locks, and those vanish when any descriptor of the same file is closed. The system drops ours when the
process ends, however it ends. The empty file stays; deleting it would let two processes hold "the" lock.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from legato.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreNewer,
    StoreUnavailable,
)
from legato.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS
from legato.stores.sqlite.statements import Cursor


class Connection(Protocol):
    """What we use of sqlite3.Connection."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Runs one statement on a new cursor."""

    def cursor(self) -> Any:
        """A cursor to be used again and again."""

    def close(self) -> None:
        """Disconnects. Idempotent."""


Connect = Callable[[str, float], Connection]
"""Opens the file at a path; the float is how long to wait for a lock, in seconds."""


def connect(path: str, busy_s: float) -> Connection:
    """The sqlite3 connection that the store works with.

    `isolation_level=None`: transactions begin and end where we say so and nowhere else.
    """
    return sqlite3.connect(
        path,
        timeout=busy_s,
        isolation_level=None,
        check_same_thread=False,  # COMMIT runs in the writer's thread, one call at a time
        cached_statements=256,
    )


class Database:
    """One SQLite file: makes connections to it and holds its lock."""

    def __init__(
        self, path: str, *, shared: bool, synchronous: str, busy_s: float, connect: Connect
    ) -> None:
        self.path = path
        self.shared = shared
        self.busy_s = busy_s
        self._synchronous = synchronous
        self._connect = connect
        self._lock: int | None = None

    def open(self) -> Connection:
        """Takes the lock, creates or migrates the schema; returns a connection for writing.

        Raises:
            StoreBusy, StoreCorrupt, StoreNewer, StoreUnavailable, StoreFull: As Store.open says.
        """
        if not self.shared:
            self.lock()
        try:
            return self.writer()
        except BaseException:
            self.unlock()
            raise

    def writer(self) -> Connection:
        """A connection for writing to a database of the newest schema."""
        connection = self._connected()
        try:
            if self._version(connection) < len(MIGRATIONS):
                self._migrate_alone(connection)
            else:
                self._write_ahead(connection)  # another program may have turned the log off
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.Error as error:
            connection.close()
            raise self.error(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def reader(self) -> Connection:
        """A connection that cannot write."""
        connection = self._connected()
        try:
            connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            connection.close()
            raise self.error(error) from error
        return connection

    def _connected(self) -> Connection:
        try:
            return self._connect(self.path, self.busy_s)
        except sqlite3.Error as error:
            raise self.error(error) from error

    # -- schema -------------------------------------------------------------------------------

    def _version(self, connection: Connection) -> int:
        """The schema's version, 0 for a new file; refuses what is not ours."""
        # The mark is read last: if another process makes the file meanwhile, in one transaction, then what
        # was read before is that of an empty file.
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION_ID:
            if application or version or tables:
                raise StoreCorrupt(
                    f"{self.path} is a database of another program, not a Legato store. Nothing was "
                    f"changed in it. Give LEGATO_STORE another path."
                )
            return 0
        if version > len(MIGRATIONS):
            raise StoreNewer(
                f"{self.path} was written by a newer Legato (schema {version}; this one knows "
                f"{len(MIGRATIONS)}). Upgrade: pip install -U legato. Nothing was changed in it."
            )
        return version

    def _migrate_alone(self, connection: Connection) -> None:
        """Migrates under the lock: beside a running bot of an older Legato nothing is changed."""
        if self._lock is not None:
            self._migrate(connection)
            return
        import time

        give_up = time.monotonic() + self.busy_s
        while True:
            try:
                self.lock()
                break
            except StoreBusy:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)  # another process may be creating it right now
                if self._version(connection) == len(MIGRATIONS):
                    return
        try:
            self._migrate(connection)
        finally:
            self.unlock()

    def _write_ahead(self, connection: Connection) -> None:
        """Turns the write-ahead log on if it is not."""
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        # EXTRA: a rollback journal is used once, to turn the log on. FULL would let its deletion be undone
        # by a power cut, and the journal, back again, would undo everything that came after.
        connection.execute("PRAGMA synchronous = EXTRA")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreUnavailable(
                f"{self.path}: this file system cannot hold SQLite's write-ahead log (is it a network "
                f"share?). Put the store on a local disk."
            )

    def _migrate(self, connection: Connection) -> None:
        self._write_ahead(connection)
        for number in range(self._version(connection), len(MIGRATIONS)):
            # If a statement fails, the connection is closed, which undoes the step.
            connection.execute("BEGIN IMMEDIATE")
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")

    # -- the lock -----------------------------------------------------------------------------

    def lock(self) -> None:
        """Makes this the only process (and the only store in it) on the file.

        Raises:
            StoreBusy: Another one is; its process id is in the message.
            StoreUnavailable: The lock's file cannot be made there.
        """
        # Beside the file itself: one file under two names must not be two stores.
        path = f"{os.path.realpath(self.path)}-legato.lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.path} cannot be used: {error.strerror}. Its folder must exist and be writable "
                f"for the bot."
            ) from error
        try:
            _lock(handle)
        except OSError as error:
            holder = os.read(handle, 20).decode("ascii", "replace").strip()
            os.close(handle)
            raise StoreBusy(
                f"{self.path} is in use by another process{f' ({holder})' if holder else ''}. Stop it, "
                f"or give this bot a store of its own (LEGATO_STORE)."
            ) from error
        self._lock = handle
        try:
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        except OSError:
            pass  # a full disk: the lock holds without the number, which only serves the message

    def unlock(self) -> None:
        """Lets another process open the file. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- errors -------------------------------------------------------------------------------

    def error(self, error: sqlite3.Error) -> StoreError:
        """The driver's error in our words: which file, and what to do."""
        extended = getattr(error, "sqlite_errorcode", 0)
        code = extended & 0xFF
        what = f"{self.path}: {error}"
        if code == sqlite3.SQLITE_FULL or extended in _FULL:
            return StoreFull(
                f"{what}. The disk or a quota on it is full. Make room; nothing committed was lost."
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
            return self.corrupt(str(error))
        if not code and "decode to UTF-8" in str(error):  # sqlite3 gives this one no code
            return self.corrupt(str(error))
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreUnavailable(
                f"{what}. Another program has been writing to it for over {self.busy_s:g} s; it will be "
                f"tried again. Close that program's transaction."
            )
        if code in _UNAVAILABLE:
            return StoreUnavailable(
                f"{what}. Check the disk and the permissions of file and folder."
            )
        return StoreError(what)

    def corrupt(self, what: str) -> StoreCorrupt:
        """The error for damage, with the file and the cure."""
        return StoreCorrupt(
            f"{self.path}: {what}. Stop the bot, keep a copy of the file (and of the -wal beside it), and "
            f"restore a backup, or salvage what is readable: sqlite3 {self.path} .recover | sqlite3 new.db"
        )


# What SQLite makes of a quota or a size limit: it knows only ENOSPC as "full".
_FULL = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
    }
)


if sys.platform == "win32":  # pragma: no cover - the suite runs on Unix
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, 1 << 30, os.SEEK_SET)  # far behind the process id, which stays readable
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(handle: int) -> None:
        # flock and not lockf: it is held by this one opening of the file, so a second store in the same
        # process is refused too.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
