"""`legato queue resize` under load: nothing is lost, and nobody's messages change places."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from legato import App, Chat
from legato.abc import Queue
from legato.app.letters import letters
from legato.app.router import Router
from legato.deploy.clock import SystemClock
from legato.deploy.parts import make_queue, make_store
from legato.deploy.topology import Topology
from legato.errors import Unavailable
from legato.platforms.telegram import Telegram
from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.chaos.parts import until
from tests.integration.listen_kit import command
from tests.integration.run_kit import Bot
from tests.unit.deploy.moving_kit import People, Workers, at_once

USERS = 400
PAUSE_S = 4.0
LONG_S = 120.0
MOST_BEHIND = 800


TABLE = "CREATE TABLE notes (n BIGSERIAL, chat BIGINT, number INT)"
BOT = """
from legato import App, Chat

app = App("notes", apology="", help=False)


@app.message()
async def note(chat: Chat) -> None:
    async def write(sql):
        row = int(chat.message.place.chat), int(chat.message.text)
        await sql.execute("INSERT INTO notes (chat, number) VALUES ($1, $2)", *row)

    await chat.tx(write)
"""


class Crowd:
    """Everybody counts upwards, one number after the other was confirmed by the broker.

    Attributes:
        sent: How many numbers of each, by the chat's id.
        quiet: Ends it.
        taken: How many of all were worked on, and committed.
    """

    def __init__(self, users: list[FakeUser], queue: Queue, platform: Telegram, sql: Any) -> None:
        self._sql = sql
        self.sent = {user.chat.id: 0 for user in users}
        self.quiet = False
        self._queue = queue
        self._platform = platform
        app = App("notes")

        @app.message()
        async def note(chat: Chat) -> None:
            """Never called here: it says which lanes there are."""

        app.finish()
        self._router = Router(app.triggers, app.dialogs)
        self._updates = 0
        self.taken = 0

    async def all(self) -> None:
        """Everybody, spread over the pause."""
        await asyncio.gather(*(self._counts(*one) for one in enumerate(self.sent)))

    async def look(self) -> None:
        """Sees what workers have taken, until it is cancelled."""
        while True:
            self.taken = await self._sql.fetchval("SELECT count(*) FROM notes")
            await asyncio.sleep(0.2)

    async def _counts(self, number: int, chat: int) -> None:
        await asyncio.sleep(PAUSE_S * number / USERS)
        while not self.quiet:
            if (
                sum(self.sent.values()) - self.taken > MOST_BEHIND
            ):  # a slow machine makes no backlog without end
                await asyncio.sleep(0.1)
                continue
            self._updates += 1
            body = _update(self._updates, chat, self.sent[chat])
            found, _ = letters(self._platform, self._router, body, SystemClock().now_ms())
            assert len(found) == 1
            while True:
                try:
                    await self._queue.publish(found)
                except Unavailable:
                    await asyncio.sleep(0.1)
                else:
                    break
            self.sent[chat] += 1
            await asyncio.sleep(PAUSE_S)


def _update(number: int, chat: int, count: int) -> bytes:
    person = {"id": chat, "is_bot": False, "first_name": "U"}
    message = {
        "message_id": count + 1,
        "date": 1_700_000_000,
        "chat": {"id": chat, "type": "private", "first_name": "U"},
        "from": person,
        "text": str(count),
    }
    return json.dumps({"update_id": number, "message": message}).encode()


async def _noted(sql: Any) -> dict[int, list[int]]:
    """What workers have taken of each, in order."""
    found: dict[int, list[int]] = defaultdict(list)
    for chat, number in await sql.fetch("SELECT chat, number FROM notes ORDER BY n"):
        found[chat].append(number)
    return found


@asynccontextmanager
async def _opened(url: str, app: str) -> AsyncIterator[Queue]:
    queue = make_queue(url, app)
    await queue.open()
    try:
        yield queue
    finally:
        await queue.close()


@pytest.mark.timeout(300)
async def test_the_number_of_queues_changes_while_four_hundred_people_write(
    tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with FakeTelegram(second=0.01) as telegram, AsyncExitStack() as stack:
        bot = tmp_path / "bot.py"
        bot.write_text(BOT)
        env = {
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API": telegram.api,
            "LEGATO_STORE": postgres_url,
            "LEGATO_QUEUE": rabbit_url,
        }

        async def starts(*arguments: str) -> Bot:
            return await stack.enter_async_context(command(*arguments, folder=tmp_path, env=env))

        async def ends(*arguments: str) -> str:
            done = await starts("queue", *arguments)
            async with asyncio.timeout(LONG_S):
                await done.process.wait()
            assert await done.ends() == 0, done.output
            return done.output

        assert "8 of generation 1" in await ends("declare", "--shards", "8")
        for name in "vw":
            worker = await starts("worker", bot.name, "--name", name, "--heartbeat", "0.5")
            await worker.says("works for")
        queue = await stack.enter_async_context(_opened(rabbit_url, "notes"))
        platform = Telegram(telegram.token, api=telegram.api, clock=SystemClock())
        users = [telegram.user(f"U{n}") for n in range(USERS)]
        sql = await asyncpg.connect(postgres_url)
        stack.push_async_callback(sql.close)
        await sql.execute(TABLE)
        crowd = Crowd(users, queue, platform, sql)
        looking = asyncio.create_task(crowd.look())
        writing = asyncio.create_task(crowd.all())

        left = await starts("queue", "resize", "--to", "16")
        await left.says("routing")
        if await left.ends(signal.SIGINT) != 0:  # else it was through before the signal came
            assert left.process.returncode == 130
            assert "Nothing is lost" in left.output
        assert "16 of generation 2" in await ends("resize", "--to", "16")
        assert "4 of generation 3" in await ends("resize", "--to", "4")
        crowd.quiet = True
        await writing
        everything = sum(crowd.sent.values())
        await until(lambda: crowd.taken >= everything, "everything is taken", LONG_S)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        noted = await _noted(sql)
        status = json.loads(await ends("status", "--json"))

    assert (status["shards"], status["phase"], len(status["queues"])) == (4, "steady", 4)
    assert [name.partition(":")[0] for name in status["workers"]] == ["v", "w"]
    assert all(found["consumers"] == 1 for found in status["queues"])
    assert len(crowd.sent) == USERS
    assert min(crowd.sent.values()) >= 2
    assert noted == {chat: list(range(count)) for chat, count in crowd.sent.items()}


async def test_to_read_new_queues_at_once_is_caught_as_wrong(
    postgres_url: str, rabbit_url: str
) -> None:
    """The control: the naive way, with workers that are a little behind."""
    store = make_store(postgres_url)
    await store.open()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        clock = SystemClock()
        queue = await stack.enter_async_context(_opened(rabbit_url, "naive"))
        topology = Topology(store, queue, "naive", clock, shards=8, settle_s=0.5)
        await topology.ensure()
        people = People(queue, USERS, clock, 1.0)
        workers = Workers(queue, topology, clock, rule=at_once, work_s=0.05)
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(people.all()),
            asyncio.create_task(workers.run()),
        ]
        await asyncio.sleep(2)
        tasks.append(asyncio.create_task(_resized(topology, 16)))
        try:
            await until(lambda: len(_who(workers)) >= USERS // 4, "many are out of order")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _resized(topology: Topology, to: int) -> None:
    """However often it takes: a busy broker may end a connection."""
    while True:
        try:
            await topology.resize(to)
        except Unavailable:
            await asyncio.sleep(0.5)
        else:
            return


def _who(workers: Workers) -> set[int]:
    return {person for person, _ in workers.wrong}
