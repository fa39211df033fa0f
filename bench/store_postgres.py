"""CPU microseconds that the PostgreSQL store costs, in this process and in the server's.

    python -m bench.store_postgres [--turns 6400]

The turns of bench/store_commit.py (one update id, one conversation row, one journal segment, one outbox
item, settled afterwards) on a Postgres of its own, with synchronous_commit on. Beside the store, what its
shape was chosen from: the same turn as one data-modifying statement, by asyncpg and by psycopg 3.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import asyncpg
import psycopg

from bench._kit import machine, run, table
from bench.store_commit import PEOPLE, TURNS, turns
from legato.model.records import Commit, Settled
from legato.model.shards import slot_of_key
from legato.stores._codec import pack
from legato.stores.postgres import PostgresStore
from tests.servers import Postgres
from tests.servers.postgres import _children

CALLERS = (1, 8, 32, 64)
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pids: list[int]) -> float:
    """CPU seconds of these processes so far."""
    spent = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
            fields = file.read().rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])
    return spent / TICKS


Work = Callable[[int, Iterator[Commit]], Awaitable[None]]


async def measured(server: Postgres, name: str, callers: int, work: Work, turns_: int) -> list[str]:
    """A row of the table for one way of doing it with so many callers at once."""
    commits = [commit for _, commit in zip(range(turns_), turns(), strict=False)]
    lanes = [iter(commits[lane::callers]) for lane in range(callers)]
    assert server._process is not None
    server_pid = server._process.pid
    before = cpu_of(_children(server_pid))
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work(number, lane) for number, lane in enumerate(lanes)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    after = cpu_of(_children(server_pid))
    return [
        name,
        f"{callers}",
        f"{cpu / turns_ * 1e6:.0f}",
        f"{(after - before) / turns_ * 1e6:.0f}",
        f"{turns_ / wall:.0f}",
    ]


async def the_store(server: Postgres, number: int, callers: int, turns_: int) -> list[list[str]]:
    """Commits and settles of the store, then loads."""
    store = PostgresStore(f"{server.url}?schema=bench{number}")
    await store.open()

    async def work(_: int, commits: Iterator[Commit]) -> None:
        for commit in commits:
            done = await store.commit(commit)
            assert done.result == "committed", done
            await store.settle([Settled(done.ids[0], "sent")])

    async def load(_: int, commits: Iterator[Commit]) -> None:
        for commit in commits:
            assert await store.load(commit.key) is not None

    found = [await measured(server, "the store: commit, then settle", callers, work, turns_)]
    found.append(await measured(server, "the store: load", callers, load, min(turns_, PEOPLE)))
    await store.close()
    return found


# -- the same turn as one statement of its own ------------------------------------------------------

STATEMENT = """
WITH i AS (INSERT INTO {s}.inbox (id, at_ms, slot) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1),
c AS (INSERT INTO {s}.conversation AS t
      (key, slot, dialog, version, epoch, head, status, wake_ms, updated_ms, state)
    SELECT $4, $3, $5, $6, $7, $8, $9, $10, $2, $11 FROM i
    ON CONFLICT (key, slot) DO UPDATE SET head = excluded.head, state = excluded.state,
      wake_ms = excluded.wake_ms, updated_ms = excluded.updated_ms
    WHERE t.epoch = excluded.epoch AND t.head = excluded.head - 1 RETURNING number),
j AS (INSERT INTO {s}.journal (conversation, seq, slot, data) SELECT number, $8, $3, $12 FROM c)
INSERT INTO {s}.outbox (lane, key, epoch, ref, delivery, state, attempts, not_before_ms, error, created_ms,
    place, call, slot)
SELECT $13, $4, $7, '', 'at_least_once', 'queued', 0, 0, '', $2, $14, $15, $3 FROM c RETURNING id
"""


def arguments(commit: Commit) -> list[Any]:
    """Of STATEMENT."""
    row, item = commit.row, commit.outbox[0]
    assert row is not None
    return [
        *(commit.update_id.encode(), commit.at_ms, slot_of_key(commit.key), commit.key.encode()),
        *(row.dialog.encode(), row.version.encode(), row.epoch, row.head, row.status, row.wake_ms),
        *(row.state, commit.segment, item.lane.encode(), pack(item.place), pack(item.call)),
    ]


async def by_asyncpg(server: Postgres, schema: str, callers: int, turns_: int) -> list[str]:
    """A connection for each caller."""
    sql, gone = STATEMENT.replace("{s}", schema), f"DELETE FROM {schema}.outbox WHERE id = $1"

    async def work(number: int, commits: Iterator[Commit]) -> None:
        connection = connections[number]
        for commit in commits:
            await connection.execute(gone, await connection.fetchval(sql, *arguments(commit)))

    connections = [await asyncpg.connect(server.url) for _ in range(callers)]
    found = await measured(server, "one statement each, asyncpg", callers, work, turns_)
    for connection in connections:
        await connection.close()
    return found


def positional(sql: str) -> str:
    """With psycopg's placeholders by name."""
    for number in range(15, 0, -1):
        sql = sql.replace(f"${number}", f"%(p{number})s")
    return sql


def named(commit: Commit) -> dict[str, Any]:
    """For them."""
    return {f"p{number}": value for number, value in enumerate(arguments(commit), 1)}


async def by_psycopg(server: Postgres, schema: str, callers: int, turns_: int) -> list[str]:
    """A connection for each caller."""
    sql = positional(STATEMENT.replace("{s}", schema))
    gone = f"DELETE FROM {schema}.outbox WHERE id = %(p1)s"

    async def work(number: int, commits: Iterator[Commit]) -> None:
        connection = connections[number]
        for commit in commits:
            cursor = await connection.execute(sql, named(commit), prepare=True, binary=True)
            ((item,),) = await cursor.fetchall()
            await connection.execute(gone, {"p1": item}, prepare=True)

    connect = psycopg.AsyncConnection.connect
    connections = [await connect(server.url, autocommit=True) for _ in range(callers)]
    found = await measured(server, "one statement each, psycopg 3", callers, work, turns_)
    for connection in connections:
        await connection.close()
    return found


async def by_pipeline(server: Postgres, schema: str, callers: int, turns_: int) -> list[str]:
    """Batches of as many turns as there are callers, in one transaction of one connection's pipeline."""
    sql = positional(STATEMENT.replace("{s}", schema))
    gone = f"DELETE FROM {schema}.outbox WHERE id = ANY(%(p1)s)"
    connection = await psycopg.AsyncConnection.connect(server.url, autocommit=True)
    done: list[int] = []

    async def work(number: int, commits: Iterator[Commit]) -> None:
        if number:
            return
        everything = [commit for _, commit in zip(range(turns_), turns(), strict=False)]
        for start in range(0, turns_, callers):
            async with connection.pipeline(), connection.transaction():
                await connection.execute(gone, {"p1": done}, prepare=True)
                cursors = [
                    await connection.execute(sql, named(commit), prepare=True, binary=True)
                    for commit in everything[start : start + callers]
                ]
            done[:] = [(await cursor.fetchall())[0][0] for cursor in cursors]

    found = await measured(server, "batches in a pipeline, psycopg 3", callers, work, turns_)
    await connection.close()
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description="What the PostgreSQL store costs")
    parser.add_argument("--turns", type=int, default=TURNS)
    turns_: int = parser.parse_known_args()[0].turns
    numbers = count()
    found: list[list[str]] = []
    with Postgres(shared_buffers="128MB") as server:
        for callers in CALLERS:
            found += await the_store(server, next(numbers), callers, turns_)
        for by in (by_asyncpg, by_psycopg, by_pipeline):
            for callers in CALLERS[:3]:
                number = next(numbers)
                store = PostgresStore(f"{server.url}?schema=bench{number}")
                await store.open()
                await store.close()
                found.append(await by(server, f"bench{number}", callers, turns_))
    print(machine())
    table(("a turn", "at once", "us CPU here", "us CPU of the server", "turns/s"), found)


if __name__ == "__main__":
    run(main())
