"""The PostgreSQL store passes the shipped suites, however it is set up."""

from itertools import count

import pytest

from legato.abc.leases import Leases
from legato.abc.store import Store
from legato.stores.postgres import PostgresStore
from legato.testing.conformance.leases import LeasesConformance
from legato.testing.conformance.store import StoreConformance
from tests.servers import Postgres

_numbers = count(1)


class TestPostgresStore(StoreConformance):
    runs_sql = True
    parameters = ""

    @pytest.fixture(autouse=True)
    def _schema(self, shared_postgres: Postgres) -> None:
        schema = f"conformance_{next(_numbers)}"
        self.url = f"{shared_postgres.url}?schema={schema}{self.parameters}"

    async def make_store(self) -> Store:
        return PostgresStore(self.url)

    async def reopen(self, store: Store) -> Store:
        await store.close()
        return await self.make_store()


class TestPostgresLeases(LeasesConformance):
    @pytest.fixture(autouse=True)
    def _schema(self, shared_postgres: Postgres) -> None:
        self.url = f"{shared_postgres.url}?schema=leases_{next(_numbers)}"

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
