"""The PostgreSQL store passes the shipped suites, however it is set up."""

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from legato.abc.leases import Leases
from legato.abc.store import Store
from legato.stores.postgres import PostgresStore
from legato.testing.conformance.leases import LeasesConformance
from legato.testing.conformance.store import StoreConformance
from tests.servers import Postgres


def emptied(server: Postgres, schema: str) -> str:
    """A schema in which no other test has left anything. To make one for each takes ten times as long."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        asked = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> 'meta'"
        for (name,) in connection.execute(asked, [schema]).fetchall():
            connection.execute(SQL("DELETE FROM {}").format(Identifier(schema, name)))
    return f"{server.url}?schema={schema}"


class TestPostgresStore(StoreConformance):
    runs_sql = True
    parameters = ""

    @pytest.fixture(autouse=True)
    def _schema(self, shared_postgres: Postgres) -> None:
        schema = type(self).__name__.lower()
        self.url = f"{emptied(shared_postgres, schema)}{self.parameters}"

    async def make_store(self) -> Store:
        return PostgresStore(self.url)

    async def reopen(self, store: Store) -> Store:
        await store.close()
        return await self.make_store()


class TestPostgresLeases(LeasesConformance):
    @pytest.fixture(autouse=True)
    def _schema(self, shared_postgres: Postgres) -> None:
        self.url = emptied(shared_postgres, "conformance_leases")

    async def make_leases(self) -> Leases:
        store = PostgresStore(self.url)
        await store.open()
        return store

    async def end(self, leases: Leases) -> None:
        assert isinstance(leases, PostgresStore)
        await leases.close()


class TestPostgresStoreInPartitions(TestPostgresStore):
    parameters = "&partitions=4"


class TestPostgresStoreAsBehindAPooler(TestPostgresStore):
    parameters = "&pgbouncer=1&pool=1"


async def test_leases_wait_behind_no_other_question(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    await store.open()
    try:
        assert store._pool is not None
        taken = [await store._pool.take() for _ in range(3)]  # a flood holds all that read
        assert await store.hold("ann", ["shard"], 30) == {"shard"}
        assert await store.holders("sh") == {"shard": "ann"}
        for link in taken:
            store._pool.back(link)
    finally:
        await store.close()
