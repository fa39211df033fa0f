"""What one update costs the servers of a cluster: CPU of nginx, RabbitMQ and Postgres, and bytes on the disk.

    python -m bench.servers [--count 8000]

Each server is private, alone with its load, and kept busy by 64 callers at once: nginx passes webhooks of 500
bytes on to something that answers 200; RabbitMQ takes letters into a quorum queue, confirms each, and
hands them out; Postgres gets the turns of bench/store_commit.py (commit, then settle). CPU is that of the server's
own processes. These numbers are the input of bench/scale.py, with those of `make bench-cluster`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any

import asyncpg

from bench._kit import machine, run, table
from bench.store_commit import turns
from bench.store_postgres import cpu_of
from legato.abc.queue import Delivery, Letter
from legato.model.records import Commit, Settled
from legato.model.shards import SLOTS
from legato.queues.rabbitmq import RabbitQueue
from legato.stores.postgres import PostgresStore
from tests.servers import Nginx, Postgres, Rabbit
from tests.servers.postgres import _children

CALLERS = 64
RECORDS = 10
BODY = b"x" * 500
QUEUES = 16
WAIT_S = 300.0
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
NGINX = """
    upstream gateways {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{{port}};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""
Work = Callable[[int], Awaitable[object]]


async def together(work: Work, count: int) -> None:
    """Does it for each number, CALLERS at once."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


# -- nginx ----------------------------------------------------------------------------------------------


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await _read(reader, len(BODY)):
        writer.write(ANSWER)
    writer.close()


async def _read(reader: asyncio.StreamReader, body: int) -> bool:
    """Reads one message; False at the end of the connection."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(body)
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


async def nginx_us(count: int) -> float:
    """CPU of nginx for each request."""
    request = b"POST /telegram HTTP/1.1\r\nhost: bot\r\ncontent-length: %d\r\n\r\n%b" % (
        len(BODY),
        BODY,
    )
    behind = await asyncio.start_server(_answers, "127.0.0.1", 0)
    port = behind.sockets[0].getsockname()[1]
    with Nginx(NGINX.format(upstream=port)) as front:
        free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def ask(_: int) -> None:
            reader, writer = free.pop() if free else await _connected(front.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head, head
            free.append((reader, writer))

        await together(ask, 500)
        assert front._process is not None
        pids = [front._process.pid]
        before = cpu_of(pids)
        await together(ask, count)
        used = cpu_of(pids) - before
        for _, writer in free:
            writer.close()
    behind.close()
    return used / count * 1e6


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


# -- RabbitMQ -------------------------------------------------------------------------------------------


async def broker_us(count: int) -> float:
    """CPU of the broker for each letter: published, confirmed, handed out, acknowledged."""
    with Rabbit() as broker:
        pids = [int((broker.folder / "pid").read_text())]
        queue = RabbitQueue(broker.url, "bench", timeout_s=WAIT_S)
        await queue.open()
        await queue.declare(1, QUEUES)
        left, over = 0, asyncio.Event()

        def take(delivery: Delivery) -> None:
            nonlocal left
            delivery.ack()
            left -= 1
            if not left:
                over.set()

        consumers = [await queue.consume(1, shard, take) for shard in range(QUEUES)]

        async def play(letters: int) -> None:
            nonlocal left
            left = letters
            over.clear()
            await together(
                lambda n: queue.publish([Letter(f"{letters}:{n}", n % SLOTS, BODY)]), letters
            )
            async with asyncio.timeout(WAIT_S):
                await over.wait()

        await play(1000)
        before = cpu_of(pids)
        await play(count)
        used = cpu_of(pids) - before
        for consumer in consumers:
            await consumer.close()
        await queue.close()
    return used / count * 1e6


# -- Postgres -------------------------------------------------------------------------------------------


class Database:
    """What an update costs Postgres.

    Attributes:
        us: CPU of the server.
        wal: Bytes written to its log.
        kept: Bytes that an update leaves behind, with its indexes: the id that is remembered.
        parked: Bytes of a conversation that waits, with a journal of RECORDS and one, and its indexes.
    """

    us: float
    wal: float
    kept: float
    parked: float

    async def measure(self, count: int) -> Database:
        with Postgres() as server:
            store = PostgresStore(server.url)
            await store.open()
            eyes = await asyncpg.connect(server.url)
            people = count // RECORDS
            commits = turns((RECORDS + 1) * people, people)
            await self._play(store, islice(commits, people))
            at = await eyes.fetchval("SELECT pg_current_wal_insert_lsn()")
            before, inbox = cpu_of(_children(server._process.pid)), await self._size(eyes, "inbox")  # type: ignore[union-attr]
            await self._play(store, commits)
            self.us = (cpu_of(_children(server._process.pid)) - before) / count * 1e6  # type: ignore[union-attr]
            written = await eyes.fetchval("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn", at)
            self.wal = float(written) / count
            self.kept = (await self._size(eyes, "inbox") - inbox) / count
            await eyes.execute("VACUUM FULL legato.conversation, legato.journal")
            sizes = [await self._size(eyes, name) for name in ("conversation", "journal")]
            self.parked = sum(sizes) / people
            await eyes.close()
            await store.close()
        return self

    async def _play(self, store: PostgresStore, commits: Iterator[Commit]) -> None:
        async def one(_: int) -> None:
            commit = next(commits)
            done = await store.commit(commit)
            assert done.result == "committed", done
            await store.settle([Settled(done.ids[0], "sent")])

        made = list(commits)
        commits = iter(made)
        await together(one, len(made))

    async def _size(self, eyes: Any, name: str) -> int:
        size: int = await eyes.fetchval("SELECT pg_total_relation_size($1)", f"legato.{name}")
        return size


async def measured(count: int) -> None:
    """Prints the table."""
    nginx, broker = await nginx_us(count), await broker_us(count)
    base = await Database().measure(count)
    print(f"{machine()}; {CALLERS} at once, {count} each")
    rows = [
        ["nginx, us of CPU", f"{nginx:.0f}"],
        ["RabbitMQ, us of CPU", f"{broker:.0f}"],
        ["Postgres, us of CPU", f"{base.us:.0f}"],
        ["Postgres, bytes of log", f"{base.wal:.0f}"],
        ["Postgres, bytes left by an update", f"{base.kept:.0f}"],
        [
            f"Postgres, bytes of a waiting conversation with {RECORDS} records",
            f"{base.parked:.0f}",
        ],
    ]
    table(["for one update", "measured"], rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="What one update costs the servers of a cluster")
    parser.add_argument("--count", type=int, default=8000)
    run(measured(parser.parse_args().count))


if __name__ == "__main__":
    main()
