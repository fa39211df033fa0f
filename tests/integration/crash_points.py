"""A program: kills a process at every statement of a batch, and looks at what is left in the file.

    python crash_points.py folder batch|first-start [sabotage]

With "sabotage" nothing begins or commits a transaction, so that every statement stands for itself.
Prints the number of points, and what was wrong at any of them, as JSON. For each point the process is forked;
the child writes and kills itself (SIGKILL) before its n-th statement, the parent waits and reads the file.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from legato.model.events import Address
from legato.model.records import (
    DEAD,
    SENT,
    Call,
    Commit,
    Conversation,
    Mail,
    OutboxItem,
    Settled,
)
from legato.stores.sqlite import SQLiteStore

TABLES = ("conversation", "journal", "inbox", "outbox", "kept")
PLACE = Address("telegram", "7", "1", "1")


class Fuse:
    """Kills this process when it burns down; `left` < 0 never does."""

    left = -1
    sabotage = False

    def burn(self) -> None:
        """One statement is about to run."""
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


FUSE = Fuse()


class FusedCursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> FusedCursor:
        FUSE.burn()
        if FUSE.sabotage and sql.startswith(("BEGIN", "COMMIT")):
            sql = "SELECT 1"
        return super().execute(sql, parameters)


class FusedConnection(sqlite3.Connection):
    def cursor(self, *_: Any) -> Any:
        return FusedCursor(self)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        FUSE.burn()
        return super().execute(sql, parameters)


def connect(path: str, busy_s: float) -> sqlite3.Connection:
    """As the store's own, with the fuse."""
    return sqlite3.connect(
        path, timeout=busy_s, isolation_level=None, check_same_thread=False, factory=FusedConnection
    )


def row(key: str, epoch: int, head: int) -> Conversation:
    return Conversation(key, "d", "1", epoch, head, "waiting", head, b"state", head)


def item(key: str) -> OutboxItem:
    return OutboxItem(0, PLACE.lane, PLACE, key, 1, "ref", Call("send", {"text": key}))


def seed_commits() -> list[Commit]:
    """What is in the file before."""
    mails = (Mail("mail 1", "b", b"1"), Mail("mail 2", "b", b"2"))
    begun = [
        Commit(at_ms=1, key=key, row=row(key, 1, 1), birth=b"b", segment=b"1", outbox=(item(key),))
        for key in "abcd"
    ]
    return [*begun, Commit(at_ms=1, deposit=mails, puts=(("s", "old", b"1"),), update_id="old")]


def batch() -> list[Commit | list[Settled]]:
    """Everything that a commit can do, in one transaction."""
    new = Commit(
        at_ms=9,
        key="new",
        row=row("new", 1, 1),
        birth=b"b",
        segment=b"1",
        update_id="update",
        reply=b"reply",
        outbox=(item("new"), item("new")),
        deposit=(Mail("mail 3", "b", b"3"),),
        puts=(("s", "new", b"2"), ("s", "old", None)),
    )
    goto = {"key": "b", "expect": (1, 1), "row": row("b", 2, 1), "birth": b"b2", "truncate": True}
    aside = {"key": "d", "expect": (1, 1), "row": row("d", 3, 1), "birth": b"b3", "aside": "d~1"}
    return [
        new,
        Commit(at_ms=9, key="a", expect=(1, 1), row=row("a", 1, 2), segment=b"2"),
        Commit(at_ms=9, update_id="mail 1", segment=b"2", **goto),  # type: ignore[arg-type]
        Commit(at_ms=9, key="c", expect=(1, 1), row=None),
        Commit(at_ms=9, segment=b"3", **aside),  # type: ignore[arg-type]
        Commit(at_ms=9, purge_ms=5),
        [
            Settled(1, SENT, key="a", epoch=1, ref="ref", message_id="77"),
            Settled(2, DEAD, attempts=3),
        ],
    ]


async def write(path: Path, acknowledged: Path) -> None:
    """Opens the store, lets the fuse burn from there on, and writes the batch."""
    limit, FUSE.left = FUSE.left, -1
    store = SQLiteStore(path, _connect=connect)
    await store.open()
    FUSE.left = limit
    await asyncio.gather(
        *(store.commit(job) if isinstance(job, Commit) else store.settle(job) for job in batch())
    )
    FUSE.burn()  # written, but nobody was told
    note(acknowledged)
    FUSE.left = -1
    await store.close()


def note(acknowledged: Path) -> None:
    acknowledged.touch()


async def make(path: Path) -> None:
    """A file with something in it."""
    store = SQLiteStore(path, threads=False)
    await store.open()
    for commit in seed_commits():
        await store.commit(commit)
    await store.close()


async def first_start(path: Path) -> None:
    """Makes the file, with the fuse burning from the first statement on."""
    await SQLiteStore(path, threads=False, _connect=connect).open()


def contents(path: Path) -> list[Any]:
    """All rows, after the store has opened the file as a restarted process would."""

    async def reopen() -> None:
        store = SQLiteStore(path, threads=False)
        await store.open()
        await store.close()

    asyncio.run(reopen())
    database = sqlite3.connect(path)
    try:
        health = database.execute("PRAGMA integrity_check").fetchall()
        return [health] + [database.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES]
    finally:
        database.close()


def dies(limit: int, task: Callable[[], None]) -> bool:
    """Runs `task` in a fork that is killed before statement `limit`; whether it came to that."""
    child = os.fork()
    if not child:
        FUSE.left = limit
        status = 1
        try:
            task()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the child failed at {limit}"
    return os.WIFSIGNALED(status)


def in_a_batch(folder: Path) -> tuple[int, list[str]]:
    """Kills at every statement between BEGIN and the answer: all of the batch is there, or nothing."""
    base, wrong = folder / "base.db", []
    asyncio.run(make(base))
    before = contents(base)

    def run(limit: int) -> tuple[bool, bool, list[Any]]:
        path, acknowledged = folder / f"{limit}.db", folder / f"{limit}.acknowledged"
        shutil.copy(base, path)
        died = dies(limit, lambda: asyncio.run(write(path, acknowledged)))
        return died, acknowledged.exists(), contents(path)

    _, _, after = run(-1)
    assert after != before
    for point in range(1000):
        died, acknowledged, found = run(point)
        if found != after and (acknowledged or found != before):
            wrong.append(f"killed at {point}: {found}")
        if not died:
            return point, wrong
    raise AssertionError("the batch has no end")


def in_the_first_start(folder: Path) -> tuple[int, list[str]]:
    """Kills at every statement while the file is made: the next start makes what is missing."""
    path, wrong = folder / "bot.db", []
    empty = [[("ok",)], *([] for _ in TABLES)]
    for point in range(1000):
        died = dies(point, lambda: asyncio.run(first_start(path)))
        if contents(path) != empty:
            wrong.append(f"killed at {point}: {contents(path)}")
        if not died:
            return point, wrong
        for file in folder.iterdir():
            file.unlink()
    raise AssertionError("the start has no end")


if __name__ == "__main__":
    kind = {"batch": in_a_batch, "first-start": in_the_first_start}[sys.argv[2]]
    FUSE.sabotage = sys.argv[3:] == ["sabotage"]
    sys.stdout.write(json.dumps(kind(Path(sys.argv[1]))))
