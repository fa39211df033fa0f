"""Commits with the app's own SQL on a real Postgres, let go of at the edges of their transactions."""

import asyncio
from typing import Any

import pytest

from legato.model.records import COMMITTED, Commit
from legato.stores.postgres import PostgresStore
from legato.stores.postgres.address import Where
from legato.stores.postgres.links import connect
from legato.testing.conformance._samples import row


class Cut:
    """A transaction whose task is cancelled right after one of its statements."""

    def __init__(self, transaction: Any, at: set[str]) -> None:
        self._transaction = transaction
        self._at = at

    async def _do(self, name: str) -> None:
        await getattr(self._transaction, name)()
        if name in self._at:
            self._at.discard(name)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async def start(self) -> None:
        await self._do("start")

    async def commit(self) -> None:
        await self._do("commit")

    async def rollback(self) -> None:
        await self._do("rollback")


class Cutting:
    """A connection of asyncpg that makes such transactions."""

    def __init__(self, connection: Any, at: set[str]) -> None:
        self._connection = connection
        self._at = at

    def transaction(self) -> Any:
        transaction = self._connection.transaction()
        return Cut(transaction, self._at) if self._at else transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def _turn(key: str, segment: bytes) -> Commit:
    async def within(sql: Any) -> bytes:
        await sql.execute("SELECT 1")
        return segment

    return Commit(at_ms=1, key=key, row=row(key, 1, 1), birth=b"birth", within=within)


@pytest.mark.parametrize("statement", ["start", "commit"])
async def test_what_is_acknowledged_after_a_cancellation_is_there(
    postgres_url: str, statement: str
) -> None:
    at: set[str] = set()

    async def cutting(where: Where) -> Any:
        return Cutting(await connect(where), at)

    store, other = (
        PostgresStore(f"{postgres_url}?pool=2", _connect=cutting),
        PostgresStore(postgres_url),
    )
    await store.open()
    await other.open()
    at.add(statement)
    try:
        first = asyncio.create_task(store.commit(_turn("a", b"1")))
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
        assert (await store.commit(_turn("b", b"2"))).result == COMMITTED
        loaded = await other.load("b")
        assert loaded is not None
        assert loaded.segments == [b"2"]
        assert (await other.load("a") is not None) is (statement == "commit")
    finally:
        await store.close()
        await other.close()
