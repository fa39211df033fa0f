"""Every store that needs no server passes the shipped suite."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from legato.abc.store import Store
from legato.stores.memory import MemoryStore
from legato.stores.sqlite import SQLiteStore
from legato.testing.conformance.store import StoreConformance


class TestMemoryStore(StoreConformance):
    async def make_store(self) -> Store:
        return MemoryStore()


class TestMemoryStoreBesideADatabase(StoreConformance):
    runs_sql = True

    async def make_store(self) -> Store:
        return MemoryStore(lambda: nullcontext("what SQL runs on"))


class TestSQLiteStore(StoreConformance):
    runs_sql = True
    threads = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "bot.db"

    async def make_store(self) -> Store:
        return SQLiteStore(self.path, threads=self.threads)

    async def reopen(self, store: Store) -> Store:
        await store.close()
        return await self.make_store()


class TestSQLiteStoreWithoutThreads(TestSQLiteStore):
    threads = False
