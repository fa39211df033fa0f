"""The store in memory beside a database of the app's: for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from legato.model.records import COMMITTED, CONFLICT, DUPLICATE, Commit
from legato.stores.memory import MemoryStore
from legato.testing.conformance._samples import KEY, begin, done, proceed

log: list[str] = []


@asynccontextmanager
async def transaction() -> AsyncIterator[str]:
    """Tells how it was ended."""
    try:
        yield "sql"
    except BaseException:
        log.append("undone")
        raise
    log.append("committed")


async def slow(sql: object) -> bytes:
    await asyncio.sleep(0)
    return b"slow"


async def test_whoever_is_overtaken_meanwhile_undoes_the_apps_transaction() -> None:
    log.clear()
    store = MemoryStore(transaction)
    await done(store, begin())
    results = await asyncio.gather(
        store.commit(proceed(within=slow)), store.commit(proceed(within=slow))
    )
    assert [one.result for one in results] == [COMMITTED, CONFLICT]
    results = await asyncio.gather(
        store.commit(Commit(at_ms=1, update_id="a", within=slow)),
        store.commit(Commit(at_ms=1, update_id="a")),
    )
    assert [one.result for one in results] == [DUPLICATE, COMMITTED]
    assert log == ["committed", "undone", "undone"]
    loaded = await store.load(KEY)
    assert loaded is not None
    assert loaded.segments == [b"segment 1.1", b"slow"]
