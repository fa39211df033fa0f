"""What is left of the SQLite store when a step fails: no connection, no lock, no raw driver error, and no
neighbour that fails along.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from legato.errors import StoreBusy, StoreCorrupt, StoreError, StoreFull
from legato.model.events import Address
from legato.model.records import Call, Commit, Committed, Conversation, OutboxItem
from legato.stores.sqlite import SQLiteStore
from legato.stores.sqlite.files import Connection, Database, connect
from legato.stores.sqlite.statements import Cursor
from tests.unit.stores.hooks import Hooks

PLACE = Address("test", "7", "42")
PUT = Commit(at_ms=1, puts=(("user", "a", b"1"),))


def turn(name: str, size: int = 10) -> Commit:
    """A new conversation with an outbox item and a segment of `size` bytes."""
    return Commit(
        at_ms=1,
        key=name,
        row=Conversation(name, "adder", "1", 1, 1, "waiting", 0, b"", 1),
        segment=b"s" * size,
        update_id=name,
        outbox=(OutboxItem(0, PLACE.lane, PLACE, name, 1, "", Call("send", {"text": name})),),
    )


async def attempt(store: SQLiteStore, *commits: Commit) -> list[str]:
    """Commits at the same time; gives "committed", or the error's name."""
    done = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
    return [one.result if isinstance(one, Committed) else type(one).__name__ for one in done]


class Failing:
    """A way to connect of which the step number `at` fails. It counts what is open."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.open = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise sqlite3.OperationalError("the disk was pulled out")

    def __call__(self, path: str, busy_s: float) -> Connection:
        self.step()
        self.open += 1
        return _FailingConnection(self, connect(path, busy_s))


class _FailingConnection:
    def __init__(self, failing: Failing, connection: Connection) -> None:
        self._failing = failing
        self._connection = connection
        self._closed = False

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        self._failing.step()
        return self._connection.execute(sql, parameters)

    def cursor(self) -> Any:
        self._failing.step()
        return self._connection.cursor()

    def close(self) -> None:
        self._failing.open -= not self._closed
        self._closed = True
        self._connection.close()


@pytest.mark.parametrize("threads", [True, False])
async def test_whichever_step_of_opening_fails_nothing_stays_open(
    tmp_path: Path, threads: bool
) -> None:
    for at in range(1, 100):
        failing = Failing(at)
        path = tmp_path / f"{at}.db"
        store = SQLiteStore(path, threads=threads, _connect=failing)
        try:
            await store.open()
        except StoreError as raised:
            told = str(raised)
        else:
            await store.close()
            if failing.steps < at:
                return  # every step of opening has failed once
            continue
        assert str(path) in told
        assert failing.open == 0
        async with opened(path):
            pass
    raise AssertionError("opening never ends")


class opened:  # noqa: N801 - reads as a word in `async with`
    """A store that is open inside of `async with`."""

    def __init__(self, path: Path, *, threads: bool = False) -> None:
        self.store = SQLiteStore(path, threads=threads)

    async def __aenter__(self) -> SQLiteStore:
        await self.store.open()
        return self.store

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()


# -- the lock -----------------------------------------------------------------------------------


async def test_one_file_under_two_names_is_one_store(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "bot.db")

    async with opened(tmp_path / "bot.db"):
        with pytest.raises(StoreBusy):
            await SQLiteStore(tmp_path / "link.db").open()


async def test_the_lock_outlasts_the_last_write_however_often_close_is_called(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bot.db"
    store = SQLiteStore(path)
    await store.open()
    commit = asyncio.create_task(store.commit(PUT))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)

    await store.close()
    if not closing.done():
        with pytest.raises(StoreBusy):
            await SQLiteStore(path).open()

    await closing
    assert (await commit).result == "committed"
    async with opened(path) as again:
        assert await again.get("user", "a") == b"1"


async def test_a_lock_file_that_cannot_be_written_still_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    path = tmp_path / "bot.db"
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        store = SQLiteStore(path)
        await store.open()
    with pytest.raises(StoreBusy):
        await SQLiteStore(path).open()

    await store.close()
    async with opened(path):
        pass


READS = ["SELECT count(*)", "PRAGMA user_version", "PRAGMA application_id"]


@pytest.mark.parametrize("moment", READS)
async def test_a_file_that_another_process_makes_at_that_moment_is_no_foreign_one(
    tmp_path: Path, moment: str
) -> None:
    path = tmp_path / "bot.db"
    hooks = Hooks()

    def make(sql: str) -> None:
        if sql.startswith(moment):
            hooks.before = lambda _: None
            other = Database(str(path), shared=True, synchronous="FULL", busy_s=0, connect=connect)
            other.open().close()

    hooks.before = make
    store = SQLiteStore(path, shared=True, threads=False, _connect=hooks.connect)
    await store.open()
    await store.commit(PUT)
    await store.close()


async def test_the_write_ahead_log_is_turned_on_again_where_somebody_turned_it_off(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bot.db"
    async with opened(path):
        pass
    assert _run(path, "PRAGMA journal_mode = DELETE") == "delete"

    async with opened(path):
        assert _run(path, "PRAGMA journal_mode") == "wal"


def _run(path: Path, sql: str) -> Any:
    connection = sqlite3.connect(path)
    try:
        row = connection.execute(sql).fetchone()
        connection.commit()
    finally:
        connection.close()
    return row[0] if row else None


# -- a full disk --------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", ["threads", "inline"])
def test_a_limit_on_the_files_size_is_a_full_disk(tmp_path: Path, threads: str) -> None:
    """In a process of its own: the limit holds for every file of a process."""
    run = subprocess.run(
        [sys.executable, "-m", __name__, str(tmp_path / "bot.db"), threads],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (run.returncode, run.stderr) == (0, "")


async def limited(path: str, threads: str) -> None:
    """What the process above does."""
    import resource

    store = SQLiteStore(path, threads=threads == "threads")
    await store.open()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    giant = turn("giant", 900_000)
    together = await attempt(store, turn("a"), giant, turn("b"))
    assert together == ["committed", "StoreFull", "committed"], together
    assert await store.load("giant") is None
    assert await store.get("inbox", "giant") is None
    asked = asyncio.create_task(store.commit(giant))
    await asyncio.sleep(0)
    await store.close()  # what could not be written is its writer's error and nobody else's
    (outcome,) = await asyncio.gather(asked, return_exceptions=True)
    assert isinstance(outcome, StoreFull), outcome

    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await store.open()
    assert [found.key for found in await store.find()] == ["a", "b"]
    assert await attempt(store, giant) == ["committed"]
    await store.close()


# -- values that cannot be read -----------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE conversation SET dialog = CAST(x'ff' AS TEXT)",
        "UPDATE outbox SET call = x'7b'",
        "UPDATE outbox SET place = x'5b5d'",
    ],
)
async def test_values_that_cannot_be_read_are_named_with_file_and_cure(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "bot.db"
    async with opened(path) as store:
        await store.commit(turn("k"))
    _run(path, damage)

    cure = r"(?s)bot\.db: .*keep a copy.*restore a backup"
    async with opened(path, threads=True) as store:
        for _ in range(2):  # a failed read leaves no transaction behind
            with pytest.raises(StoreCorrupt, match=cure):
                await _all(store)
        assert await store.get("inbox", "k") == b""


async def _all(store: SQLiteStore) -> None:
    await store.load("k")
    await store.outbox(states=["queued"])


if __name__ == "__main__":
    asyncio.run(limited(*sys.argv[1:]))
