import errno
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from legato.abc.store import Store
from legato.errors import (
    ConfigError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreNewer,
    StoreUnavailable,
)
from legato.model.records import Commit
from legato.stores.sqlite import SQLiteStore, files
from legato.stores.sqlite.schema import MIGRATIONS
from legato.testing.conformance._samples import begin, item, row
from tests.unit.stores.hooks import Hooks, driver_error

ONE_MORE = (*MIGRATIONS, ("CREATE TABLE more (id INTEGER)", "INSERT INTO more VALUES (1)"))
BROKEN = (*ONE_MORE, ("CREATE TABLE half (id INTEGER)", "INSERT INTO nowhere VALUES (1)"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


async def _filled(path: Path, number: int = 3) -> None:
    store = SQLiteStore(path)
    await store.open()
    for key in range(number):
        await store.commit(begin(f"{key:04}", segment=b"s" * 2000))
    await store.close()


async def _refused(path: Path, kind: type[StoreError], text: str) -> None:
    """The store refuses the file, twice in the same way, and leaves it as it was."""
    before = _bytes(path)
    for threads in (True, False):
        with pytest.raises(kind, match=text) as refused:
            await SQLiteStore(path, threads=threads).open()
        assert str(path) in str(refused.value)
    assert _bytes(path) == before


# -- files that are no store ------------------------------------------------------------------------


async def test_a_file_of_something_else_is_refused(path: Path) -> None:
    _overwrite(path, bytes(range(256)) * 100)
    await _refused(path, StoreCorrupt, r"not a database.*restore a backup.*\.recover")


async def test_a_damaged_header_is_reported(path: Path) -> None:
    await _filled(path)
    _overwrite(path, b"\xff" * 100 + _bytes(path)[100:])
    await _refused(path, StoreCorrupt, "not a database")


async def test_a_truncated_file_is_reported(path: Path) -> None:
    await _filled(path, 100)
    _overwrite(path, _bytes(path)[: len(_bytes(path)) // 2])
    await _refused(path, StoreCorrupt, "malformed")


async def test_damage_inside_is_reported_where_it_is_met(path: Path) -> None:
    await _filled(path, 100)
    pages = _bytes(path)
    _overwrite(path, pages[:4096] + bytes(range(255, -1, -1)) * (len(pages) // 256 - 16))
    store = SQLiteStore(path)
    await store.open()
    with pytest.raises(StoreCorrupt, match=r"bot\.db: .*malformed.*keep a copy"):
        await store.find()
    with pytest.raises(StoreCorrupt, match=r"bot\.db: .*malformed.*keep a copy"):
        await store.commit(begin("new"))
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE outbox SET call = x'00'",
        "UPDATE outbox SET place = x'5b5d'",
        "UPDATE outbox SET lane = CAST(x'ff' AS TEXT)",
    ],
)
async def test_a_row_that_cannot_be_read_is_reported_with_the_file(path: Path, damage: str) -> None:
    store = SQLiteStore(path)
    await store.open()
    await store.commit(begin(outbox=(item(),)))
    vandal = sqlite3.connect(path)
    with vandal:
        vandal.execute(damage)
    vandal.close()
    with pytest.raises(StoreCorrupt, match=r"bot\.db: .*restore a backup"):
        await store.outbox(states=("queued",))
    await store.close()


async def test_a_log_that_another_program_turned_off_is_turned_on_again(path: Path) -> None:
    await _filled(path)
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    other.close()
    store = SQLiteStore(path)
    await store.open()
    assert store._transactions is not None
    connection = store._transactions.connection()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    await store.close()


async def test_the_database_of_another_program_is_not_touched(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE conversation (id INTEGER)")
    other.close()
    await _refused(path, StoreCorrupt, "of another program, not a Legato store")


async def test_a_store_of_a_newer_legato_is_not_touched(path: Path) -> None:
    await _filled(path)
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    await _refused(path, StoreNewer, "pip install -U legato")


async def test_an_empty_file_becomes_a_store(path: Path) -> None:
    _overwrite(path, b"")
    await _filled(path)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    await _refused(tmp_path / "missing" / "bot.db", StoreUnavailable, "folder must exist")


async def test_a_folder_is_no_store(tmp_path: Path) -> None:
    await _refused(tmp_path, StoreUnavailable, "unable to open.*permissions")


async def test_a_file_system_without_shared_memory_is_refused(path: Path) -> None:
    store = SQLiteStore(path, _connect=lambda _, busy_s: files.connect(":memory:", busy_s))
    with pytest.raises(StoreUnavailable, match="network share"):
        await store.open()


async def test_what_cannot_be_connected_is_unavailable(path: Path) -> None:
    def refuse(_path: str, _busy_s: float) -> sqlite3.Connection:
        raise driver_error("unable to open database file", sqlite3.SQLITE_CANTOPEN)

    with pytest.raises(StoreUnavailable, match=r"unable to open database file\. Check the disk"):
        await SQLiteStore(path, _connect=refuse).open()


@pytest.mark.parametrize("name", ["", ":memory:"])
def test_a_store_in_memory_is_another_store(name: str) -> None:
    with pytest.raises(ConfigError, match="memory://"):
        SQLiteStore(name)


@pytest.mark.parametrize("statement", ["PRAGMA query_only", "PRAGMA busy_timeout"])
async def test_a_store_that_opens_only_half_is_closed_again(path: Path, statement: str) -> None:
    hooks = Hooks()

    def fail(sql: str) -> None:
        if sql.startswith(statement):
            raise driver_error("disk I/O error", sqlite3.SQLITE_IOERR)

    hooks.before = fail
    store = SQLiteStore(path, _connect=hooks.connect)
    with pytest.raises(StoreUnavailable, match="Check the disk"):
        await store.open()
    hooks.before = lambda _: None
    await store.open()
    assert await store.find() == []
    await store.close()


# -- one process ------------------------------------------------------------------------------------


async def test_a_second_store_in_the_same_process_is_refused_too(path: Path) -> None:
    first, second = SQLiteStore(path), SQLiteStore(path)
    await first.open()
    with pytest.raises(StoreBusy, match="LEGATO_STORE"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


@pytest.fixture
def link(path: Path, tmp_path: Path) -> Path:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    return link


async def test_a_file_under_two_names_is_one_store(path: Path, link: Path) -> None:
    first, second = SQLiteStore(path), SQLiteStore(link)
    await first.open()
    with pytest.raises(StoreBusy, match=f"{os.getpid()}"):
        await second.open()
    await first.close()


async def test_the_lock_holds_though_the_process_id_cannot_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    first, second = SQLiteStore(path), SQLiteStore(path)
    await first.open()
    with pytest.raises(StoreBusy, match=r"in use by another process\."):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


CALLS: list[Callable[[Store], Awaitable[object]]] = [
    lambda store: store.load("key"),
    lambda store: store.due(1, 1),
    lambda store: store.outbox(states=("queued",)),
    lambda store: store.mail(),
    lambda store: store.find(),
    lambda store: store.get("space", "name"),
    lambda store: store.commit(Commit(at_ms=1)),
]


@pytest.mark.parametrize("threads", [True, False])
async def test_a_store_that_is_not_open_says_so(path: Path, threads: bool) -> None:
    store = SQLiteStore(path, threads=threads)
    for opened in (False, True):
        if opened:
            await store.open()
            await store.close()
        for call in CALLS:
            with pytest.raises(StoreUnavailable, match="not open"):
                await call(store)


# -- migrations -------------------------------------------------------------------------------------


def _version(path: Path) -> int:
    database = sqlite3.connect(path)
    try:
        version: int = database.execute("PRAGMA user_version").fetchone()[0]
        return version
    finally:
        database.close()


async def test_an_older_store_is_migrated_step_by_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(path)
    monkeypatch.setattr(files, "MIGRATIONS", BROKEN)
    with pytest.raises(StoreError, match=r"bot\.db: no such table: nowhere"):
        await SQLiteStore(path).open()
    assert _version(path) == len(ONE_MORE)  # the first step stands, of the second nothing
    monkeypatch.setattr(files, "MIGRATIONS", (*BROKEN[:-1], BROKEN[-1][:1]))
    store = SQLiteStore(path)
    await store.open()
    assert len(await store.find()) == 3
    await store.close()
    assert _version(path) == len(BROKEN)


async def test_nothing_is_migrated_beside_a_running_bot(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, operator = SQLiteStore(path), SQLiteStore(path, shared=True, _busy_s=0.03)
    await bot.open()
    monkeypatch.setattr(files, "MIGRATIONS", ONE_MORE)
    with pytest.raises(StoreBusy):
        await operator.open()
    assert (await bot.commit(begin())).result == "committed"
    await bot.close()
    await operator.open()
    assert await operator.find() == [row()]
    await operator.close()
    assert _version(path) == len(ONE_MORE)


async def test_a_shared_store_waits_while_another_process_makes_the_file(path: Path) -> None:
    maker = files.Database(
        str(path), shared=False, synchronous="FULL", busy_s=1, connect=files.connect
    )
    maker.lock()
    hooks = Hooks()

    def make(sql: str) -> None:
        if (
            hooks.seen.count("PRAGMA") == 3
        ):  # it has seen that there is no schema, and begins to wait
            maker.writer().close()

    hooks.before = make
    store = SQLiteStore(path, shared=True, threads=False, _connect=hooks.connect)
    await store.open()
    assert "CREATE" not in hooks.seen
    assert await store.find() == []
    await store.close()
    maker.unlock()


# -- the driver's errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (sqlite3.SQLITE_FULL, StoreFull, "Make room"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreFull, "quota"),
        (sqlite3.SQLITE_BUSY, StoreUnavailable, "Close that program's transaction"),
        (sqlite3.SQLITE_LOCKED, StoreUnavailable, "Close that program's transaction"),
        (sqlite3.SQLITE_BUSY_RECOVERY, StoreUnavailable, "Close that program's transaction"),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable, "Check the disk"),
        (sqlite3.SQLITE_READONLY, StoreUnavailable, "Check the disk"),
        (sqlite3.SQLITE_CORRUPT, StoreCorrupt, "restore a backup"),
        (sqlite3.SQLITE_NOTADB, StoreCorrupt, "restore a backup"),
        (sqlite3.SQLITE_ERROR, StoreError, "text"),
    ],
)
def test_the_drivers_errors_are_told_in_our_words(
    path: Path, code: int, kind: type[StoreError], advice: str
) -> None:
    error = SQLiteStore(path)._database.error(driver_error("text", code))
    assert type(error) is kind
    assert str(error).startswith(f"{path}: text")
    assert advice in str(error)
