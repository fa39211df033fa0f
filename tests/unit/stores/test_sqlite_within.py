"""An app's own SQL in a commit's transaction: both are written, or neither."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from legato.errors import Misuse, StoreFull, StoreUnavailable
from legato.model.records import COMMITTED
from legato.stores.sqlite import SQLiteStore
from legato.testing.conformance._samples import KEY, begin, done, proceed
from tests.unit.stores.hooks import Hooks, driver_error, failing

SETUP = """CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER CHECK (n >= 0));
INSERT INTO stock VALUES ('tea', 3), ('milk', 1);"""


Place = tuple[Path, bool]


@pytest.fixture(params=[True, False], ids=["threads", "no threads"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path / "bot.db", request.param


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[SQLiteStore]:
    """An open store, whose file holds the app's tables as well."""
    store = SQLiteStore(place[0], threads=place[1])
    await store.open()
    try:
        outside(store, SETUP)
        yield store
    finally:
        await store.close()


def outside(store: SQLiteStore, sql: str) -> list[Any]:
    """What another connection does to the file."""
    connection = sqlite3.connect(store.path)
    try:
        if ";" in sql:
            connection.executescript(sql)
            return []
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def using(work: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[bytes]]:
    """A `within` whose segment tells what `work` returned."""

    async def within(sql: Any) -> bytes:
        return repr(await work(sql)).encode()

    return within


async def segment(store: SQLiteStore, key: str = KEY) -> str:
    """The last segment."""
    loaded = await store.load(key)
    assert loaded is not None
    return loaded.segments[-1].decode()


async def test_it_speaks_as_asyncpg_does(place: Place) -> None:
    async with opened(place) as store:

        async def work(sql: Any) -> Any:
            assert await sql.execute("INSERT INTO stock VALUES ($1, $2)", "salt", 9) == "INSERT 0 1"
            assert await sql.execute("UPDATE stock SET n = n + 1") == "UPDATE 3"
            assert await sql.execute("CREATE TABLE seen (item TEXT)") == "CREATE"
            await sql.executemany("INSERT INTO seen VALUES ($1)", [("a",), ("b",)])
            assert await sql.execute("/* all */ delete from seen -- now") == "DELETE 2"
            rows = await sql.fetch("SELECT item, n FROM stock WHERE n > $1 ORDER BY n", 1)
            assert [(row["item"], row[1]) for row in rows] == [
                ("milk", 2),
                ("tea", 4),
                ("salt", 10),
            ]
            assert (await sql.fetchrow("SELECT * FROM stock WHERE item = $1", "tea"))["n"] == 4
            assert await sql.fetchrow("SELECT 1 FROM stock WHERE item = 'none'") is None
            assert await sql.fetchval("SELECT n FROM stock WHERE item = 'none'") is None
            assert await sql.fetchval("SELECT * FROM stock WHERE item = 'tea'", column=1) == 4
            return await sql.fetchval(
                "UPDATE stock SET n = n - $1 WHERE item = $2 RETURNING n", 2, "tea"
            )

        await done(store, begin(within=using(work)))
        assert await segment(store) == "2"
        assert outside(store, "SELECT n FROM stock WHERE item = 'tea'") == [(2,)]


async def test_what_it_did_before_it_failed_is_undone_and_the_apps_error_arrives(
    place: Place,
) -> None:
    async with opened(place) as store:

        async def work(sql: Any) -> None:
            await sql.execute("UPDATE stock SET n = n - 1")
            await sql.execute("UPDATE stock SET n = n - 1")

        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            await store.commit(begin(within=using(work), update_id="update"))
        assert outside(store, "SELECT n FROM stock ORDER BY n") == [(1,), (3,)]
        assert await store.load(KEY) is None
        assert await store.get("inbox", "update") is None


async def test_a_part_can_be_undone_alone(place: Place) -> None:
    async with opened(place) as store:

        async def work(sql: Any) -> str:
            await sql.execute("UPDATE stock SET n = n + 10")
            try:
                async with sql.transaction():
                    async with sql.transaction():
                        await sql.execute("UPDATE stock SET n = n + 100")
                    await sql.execute("UPDATE stock SET n = -1")
            except sqlite3.IntegrityError:
                return "caught"
            return "not caught"

        await done(store, begin(within=using(work)))
        assert await segment(store) == "'caught'"
        assert outside(store, "SELECT n FROM stock ORDER BY n") == [(11,), (13,)]


@pytest.mark.parametrize(
    "statement",
    ["COMMIT", " rollback", "-- so\nEND", "/* a */ BEGIN", "Savepoint x", "PRAGMA user_version=9"],
)
async def test_the_transaction_is_not_the_apps_to_end(place: Place, statement: str) -> None:
    async with opened(place) as store:
        with pytest.raises(Misuse, match=r"begun and ended by Legato"):
            await store.commit(begin(within=using(lambda sql: sql.execute(statement))))
        assert await store.load(KEY) is None
        await done(store, begin())


async def test_to_await_anything_else_is_refused(place: Place) -> None:
    async with opened(place) as store:

        async def work(sql: Any) -> None:
            await sql.execute("UPDATE stock SET n = 0")
            await asyncio.sleep(0)

        with pytest.raises(Misuse, match=r"awaited something other than the SQL"):
            await store.commit(begin(within=using(work)))
        assert outside(store, "SELECT n FROM stock ORDER BY n") == [(1,), (3,)]
        await done(store, begin())


async def test_an_error_that_is_no_exception_hangs_nobody(place: Place) -> None:
    async with opened(place) as store:

        async def work(sql: Any) -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await store.commit(begin(within=using(work)))
        await done(store, begin())


async def test_neighbours_in_a_batch_are_written_once_each(place: Place) -> None:
    async with opened(place) as store:

        def less(fails: bool) -> Callable[[Any], Awaitable[bytes]]:
            async def work(sql: Any) -> None:
                await sql.execute("UPDATE stock SET n = n + 1 WHERE item = 'tea'")
                if fails:
                    raise KeyError

            return using(work)

        commits = [begin(f"{n:02}", within=less(n % 3 == 0)) for n in range(30)]
        commits += [begin(f"plain {n}") for n in range(10)]
        got = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        assert sum(isinstance(one, KeyError) for one in got) == 10
        assert len(await store.find()) == 30
        assert outside(store, "SELECT n FROM stock WHERE item = 'tea'") == [(23,)]


async def test_text_without_a_utf_8_form_in_a_key_does_not_matter(place: Place) -> None:
    async with opened(place) as store:

        async def work(sql: Any) -> int:
            return await sql.fetchval("UPDATE stock SET n = n - 1 WHERE item = 'tea' RETURNING n")

        await done(store, begin("\ud800", within=using(work)))
        assert await segment(store, "\ud800") == "2"
        with pytest.raises(UnicodeEncodeError):
            await store.commit(begin(within=using(lambda sql: sql.fetch("SELECT $1", "\ud800"))))


@pytest.mark.parametrize("threads", [True, False])
async def test_a_full_disk_and_a_foreign_lock_are_the_stores_errors(
    tmp_path: Path, threads: bool
) -> None:
    hooks = Hooks()
    store = SQLiteStore(tmp_path / "bot.db", threads=threads, _connect=hooks.connect)
    await store.open()
    try:
        for code, error in [
            (sqlite3.SQLITE_FULL, StoreFull),
            (sqlite3.SQLITE_BUSY, StoreUnavailable),
        ]:
            hooks.before = failing("SELECT 'app'", code=code, times=2)
            assert driver_error("x", code).sqlite_errorcode == code
            with pytest.raises(error):
                await store.commit(begin(within=using(lambda sql: sql.fetch("SELECT 'app'"))))
        hooks.before = lambda _: None
        assert (await done(store, begin())).result == COMMITTED
        assert (await done(store, proceed())).result == COMMITTED
    finally:
        await store.close()
