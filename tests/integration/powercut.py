"""A disk that can lose power, and sqlite3's interface over APSW, which lets SQLite run on that disk.

What a cut does to the writes that were not synced: each 512-byte sector of each of them is kept, lost or
turned into garbage, independently of all others, so also out of order. Truncations and deletions that were
not synced happened or not. What a sync covered is there. Bytes that nobody was writing stay (SQLite's unix
files promise the same: SQLITE_IOCAP_POWERSAFE_OVERWRITE).
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Sequence
from typing import Any

import apsw

SECTOR = 512
Op = tuple[int, bytes | None]
"""An unsynced change: (offset, bytes written), or (new length, None)."""


class PowerCut(Exception):
    """The disk has no power; nothing reaches it any more."""


class Disk:
    """Files in memory: what is on the platters, what a program sees, and the changes between.

    Attributes:
        ops: Writes, truncations, syncs and deletions so far.
        cut_at: The op during which the power goes; 0 = never.
    """

    def __init__(self, rng: random.Random, files: dict[str, bytes] | None = None) -> None:
        self.rng = rng
        self.ops = 0
        self.cut_at = 0
        self.durable: dict[str, bytes] = dict(files or {})
        self.live = {name: bytearray(data) for name, data in self.durable.items()}
        self.pending: dict[str, list[Op]] = {}

    @property
    def off(self) -> bool:
        """Whether the power is gone."""
        return bool(self.cut_at) and self.ops >= self.cut_at

    def step(self) -> None:
        """Counts an op that has begun."""
        self.ops += 1
        if self.off:
            raise PowerCut

    def write(self, name: str, data: bytes, offset: int) -> None:
        """Writes into the cache. A write cut short may be on the platters in part."""
        if self.off:
            raise PowerCut
        _put(self.live[name], data, offset)
        self.pending.setdefault(name, []).append((offset, data))
        self.step()

    def truncate(self, name: str, length: int) -> None:
        """Changes the length in the cache."""
        self.step()
        del self.live[name][length:]
        self.pending.setdefault(name, []).append((length, None))

    def sync(self, name: str) -> None:
        """Puts everything written to the file on the platters."""
        self.step()
        self.durable[name] = bytes(self.live[name])
        self.pending.pop(name, None)

    def delete(self, name: str, *, sync_folder: bool) -> None:
        """Removes the file; without a sync of its folder the platters may still have it."""
        self.step()
        self.live.pop(name, None)
        self.pending.pop(name, None)
        if sync_folder:
            self.durable.pop(name, None)

    def after_the_cut(self) -> Disk:
        """The disk as it is found when the power is back."""
        found: dict[str, bytes] = {}
        for name in sorted(self.durable.keys() | self.live.keys()):
            if name not in self.live and self.rng.random() < 0.5:
                continue  # the deletion had reached the platters
            data = bytearray(self.durable.get(name, b""))
            for offset, written in self.pending.get(name, ()):
                if written is not None:
                    self._survive(data, offset, written)
                elif self.rng.random() < 0.5:
                    del data[offset:]
            found[name] = bytes(data)
        return Disk(self.rng, found)

    def _survive(self, data: bytearray, offset: int, written: bytes) -> None:
        for start in range(0, len(written), SECTOR):
            sector = written[start : start + SECTOR]
            fate = self.rng.random()
            if fate < 0.45:
                _put(data, sector, offset + start)
            elif fate < 0.5:
                _put(data, self.rng.randbytes(len(sector)), offset + start)


def _put(data: bytearray, written: bytes, offset: int) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(written)] = written


class _File:
    """An open file, as APSW asks for it."""

    def __init__(self, vfs: DiskVFS, name: str) -> None:
        self.vfs = vfs
        self.name = name
        vfs.disk.live.setdefault(name, bytearray())

    def excepthook(self, *_: object) -> bool:
        return True  # a file that is closed without power has nobody to tell

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - APSW's names
        return bytes(self.vfs.disk.live[self.name][offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.vfs.disk.write(self.name, bytes(data), offset)

    def xTruncate(self, length: int) -> None:  # noqa: N802
        self.vfs.disk.truncate(self.name, length)

    def xSync(self, _flags: int) -> None:  # noqa: N802
        self.vfs.disk.sync(self.name)

    def xFileSize(self) -> int:  # noqa: N802
        return len(self.vfs.disk.live[self.name])

    def xLock(self, level: int) -> None:  # noqa: N802
        """One connection: nothing to lock against."""

    xUnlock = xLock  # noqa: N815

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, _op: int, _pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:  # noqa: N802
        """Nothing to let go."""


class DiskVFS(apsw.VFS):
    """SQLite's operating system, with `disk` as its only disk. Closed by `unregister`."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.vfs_name = name
        self.disk = disk
        super().__init__(name, base="")

    def excepthook(self, *_: object) -> bool:
        return True

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> Any:  # noqa: N802
        assert name is not None
        flags[1] = flags[0]
        return _File(self, name if isinstance(name, str) else name.filename())

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        self.disk.delete(name, sync_folder=sync_folder)

    def xAccess(self, name: str, _flags: int) -> bool:  # noqa: N802
        return name in self.disk.live

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def connect(self, path: str, _busy_s: float) -> Connection:
        """For `SQLiteStore(_connect=...)`. Every call shares one connection: WAL over a VFS without shared
        memory works in exclusive locking mode only."""
        if not Connection.users:
            Connection.shared = _connection(path, self.vfs_name)
        Connection.users += 1
        return Connection()


def _connection(path: str, vfs: str) -> apsw.Connection:
    connection = apsw.Connection(path, vfs=vfs, statementcachesize=256)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA wal_autocheckpoint = 30")  # many checkpoints in a short test
    return connection


class Connection:
    """What the store uses of sqlite3.Connection, over APSW."""

    shared: apsw.Connection
    users = 0

    def __init__(self) -> None:
        self.closed = False

    @property
    def in_transaction(self) -> bool:
        return self.shared.in_transaction

    def cursor(self) -> Cursor:
        return Cursor(self.shared)

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        return self.cursor().execute(sql, parameters)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            Connection.users -= 1
            if not Connection.users:
                with contextlib.suppress(PowerCut, apsw.Error):  # without power it closes too
                    self.shared.close(True)


class Cursor:
    """sqlite3.Cursor over APSW.

    The differences that matter: sqlite3 lets go of a statement as soon as its last row is fetched, APSW when
    its cursor runs again, so all rows are fetched at once here; `rowcount` and `lastrowid` belong to the
    connection in APSW; errors are translated, codes included.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.rowcount = -1
        self.lastrowid = 0

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        if sql == "PRAGMA query_only = ON":
            return self  # it is the writer's connection too
        try:
            self._rows = self._connection.execute(sql, tuple(parameters)).fetchall()
        except apsw.Error as error:
            raise _translated(str(error), getattr(error, "extendedresult", 1)) from error
        except PowerCut as error:
            raise _translated("disk I/O error", apsw.SQLITE_IOERR) from error
        self.rowcount = self._connection.changes()
        self.lastrowid = self._connection.last_insert_rowid()
        return self

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows


def _translated(text: str, code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
