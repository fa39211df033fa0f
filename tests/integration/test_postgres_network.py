"""A bad network between the store and Postgres: nothing is lost, and nothing is written twice.

LEGATO_SOAK=16: about 500 schedules of faults.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from legato.errors import StoreUnavailable
from legato.model.records import COMMITTED, Settled
from legato.stores.postgres import PostgresStore
from legato.testing.conformance._samples import begin
from tests.faults.proxy import Proxy
from tests.integration.postgres_kit import Crowd
from tests.servers import Postgres

SCHEDULES = 30 * int(os.environ.get("LEGATO_SOAK", "1"))


@asynccontextmanager
async def far(
    server: Postgres, url: str, *, timeout_s: int = 2, seed: int = 0
) -> AsyncIterator[tuple[PostgresStore, Proxy]]:
    """A store that reaches its database through a proxy."""
    async with Proxy("127.0.0.1", server.port, seed) as proxy:
        url = url.replace(f":{server.port}/", f":{proxy.port}/")
        store = PostgresStore(f"{url}?timeout={timeout_s}&pool=2")
        await store.open()
        try:
            yield store, proxy
        finally:
            proxy.hole = proxy.refuse = False
            await store.close()


async def disturb(proxy: Proxy, chance: random.Random) -> None:
    """One fault, of any kind, and its end."""
    match chance.choice(("cut", "up", "up", "down", "down", "reset", "torn", "slow", "refuse")):
        case "cut":
            proxy.cut()
        case "up":
            proxy.cut_up = chance.randrange(1, 20_000)
        case "down":
            proxy.cut_down = chance.randrange(1, 3_000)
        case "reset":
            proxy.reset()
        case "torn":
            proxy.chunk = 1
            await asyncio.sleep(0.02)
            proxy.chunk = 65536
        case "slow":
            proxy.latency, proxy.jitter = 0.01, 0.02
            await asyncio.sleep(0.1)
            proxy.latency = proxy.jitter = 0.0
        case _:
            proxy.refuse = True
            proxy.cut()
            await asyncio.sleep(0.05)
            proxy.refuse = False


@pytest.mark.timeout(60 + 20 * SCHEDULES)
async def test_connections_that_break_anywhere_lose_and_double_nothing(
    shared_postgres: Postgres, postgres_url: str
) -> None:
    async with far(shared_postgres, postgres_url) as (store, proxy):
        chance = random.Random(4)
        crowd = Crowd(store, people=10)
        async with crowd:
            for _ in range(SCHEDULES):
                await disturb(proxy, chance)
                await crowd.go_on(chance.randrange(5, 40))
            proxy.cut_up = proxy.cut_down = None
        assert await crowd.wrong(store) == []
        assert proxy.connections > SCHEDULES // 3


@pytest.mark.timeout(200)
async def test_a_silent_network_is_noticed_and_what_arrives_late_is_not_written_twice(
    shared_postgres: Postgres, postgres_url: str
) -> None:
    async with far(shared_postgres, postgres_url, timeout_s=1) as (store, proxy):
        crowd = Crowd(store, people=10)
        async with crowd:
            for _ in range(3):
                await crowd.go_on(50)
                proxy.hole = True
                await asyncio.sleep(1.5)
                proxy.hole = False  # what was swallowed arrives now, late
                await crowd.go_on(50)
        assert await crowd.wrong(store) == []


async def test_without_the_number_of_its_transaction_a_lost_answer_is_written_twice(
    shared_postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a store that just tries again."""
    async with far(shared_postgres, postgres_url) as (store, proxy):

        async def try_again(_: object) -> None:
            return None

        assert store._writer is not None
        monkeypatch.setattr(store._writer, "find_out", try_again)
        with pytest.raises(AssertionError, match="is duplicate"):
            await _cut_answers(Crowd(store, people=10), proxy)


async def _cut_answers(crowd: Crowd, proxy: Proxy) -> None:
    async with crowd:
        while True:
            proxy.cut_down = random.randrange(1, 300)
            await crowd.go_on(20)


async def test_a_database_that_is_away_is_told_soon_and_found_again(
    shared_postgres: Postgres, postgres_url: str
) -> None:
    async with far(shared_postgres, postgres_url) as (store, proxy):
        assert (await store.commit(begin("before"))).result == COMMITTED
        proxy.refuse = True
        proxy.cut()
        sent = asyncio.create_task(store.commit(begin("sent into the void")))
        assert store._writing is not None
        while not store._writing._turns.locked():  # noqa: ASYNC110  # a lock has no event
            await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"PostgreSQL at 127\.0\.0\.1:\d+/test\d+: "):
                await store.commit(begin("meanwhile"))
            with pytest.raises(StoreUnavailable):
                await store.settle([Settled(1, "sent")])
            assert not sent.done()  # whether it was written is still being inquired
            with pytest.raises(StoreUnavailable):
                await store.load("before")
            with pytest.raises(StoreUnavailable):
                await store.hold("ann", ["name"], 5)
        proxy.refuse = False
        async with asyncio.timeout(30):
            assert (await sent).result == COMMITTED
            assert (await store.commit(begin("meanwhile"))).result == COMMITTED
            while True:
                try:
                    assert await store.load("before") is not None
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
