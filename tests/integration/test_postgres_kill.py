"""kill -9 of Postgres under load: what was acknowledged is there, what was refused is not.

LEGATO_SOAK=20: 100 rounds (about 90,000 turns).
"""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.model.records import Commit
from legato.stores.postgres import PostgresStore
from tests.integration.postgres_kit import Crowd
from tests.servers import Postgres
from tests.servers.postgres import _children

ROUNDS = 5 * int(os.environ.get("LEGATO_SOAK", "1"))
TURNS = 300
"""Between two kills: about as many again as one round of the target table."""


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres(wal_writer_delay="10s") as server:
        yield server


async def _killed(server: Postgres, store: PostgresStore, rounds: int) -> Crowd:
    """A crowd that lived through so many kills."""
    crowd = Crowd(store)
    async with crowd:
        for _ in range(rounds):
            await crowd.go_on(TURNS)
            await asyncio.sleep(random.uniform(0, 0.05))
            await asyncio.to_thread(server.kill9)
            await asyncio.to_thread(server.start)
        await crowd.go_on(TURNS)
    return crowd


@pytest.mark.timeout(120 * ROUNDS)
async def test_a_killed_server_loses_nothing_and_tears_nothing(server: Postgres) -> None:
    store = PostgresStore(server.url)
    await store.open()
    try:
        crowd = await _killed(server, store, ROUNDS)
        assert await crowd.wrong(store) == []
        assert crowd.turns >= ROUNDS * TURNS
    finally:
        await store.close()


def _stop_the_background_writer(server: Postgres) -> None:
    assert server._process is not None
    names = {
        pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _children(server._process.pid)
    }
    (writer,) = (pid for pid, name in names.items() if b"walwriter" in name)
    os.kill(writer, signal.SIGSTOP)


async def test_the_kills_catch_a_server_that_does_not_wait_for_its_disk(server: Postgres) -> None:
    """The control: synchronous_commit off loses what was acknowledged just before.

    The process that writes the log in the background hands over each page as soon as it is full, so that what
    is lost may be too little to be noticed: it stands still here, as if the disk were slow.
    """
    store = PostgresStore(server.url, _synchronous="off")
    await store.open()
    try:
        _stop_the_background_writer(server)
        with pytest.raises(AssertionError, match="is conflict"):  # a person meets a row of the past
            await _killed(server, store, 1)
    finally:
        await store.close()


async def test_synchronous_commit_cannot_be_turned_off_from_outside(server: Postgres) -> None:
    """Neither by the address nor by the database's own settings."""
    store = PostgresStore(f"{server.url}?synchronous_commit=off")
    await store.open()
    try:
        await store.commit(Commit(at_ms=1))
        pool = store._writing
        assert pool is not None
        link = await pool.take()
        ((off,),) = await link.fetch("SELECT current_setting('synchronous_commit')")
        pool.back(link)
        assert off == "off"  # the session has it, and no commit of ours heeds it
        crowd = await _killed(server, store, 1)
        assert await crowd.wrong(store) == []
    finally:
        await store.close()
