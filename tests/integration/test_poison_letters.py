"""RabbitMQ, Postgres and a worker that one person's message ends: everybody else is answered."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from legato.abc import Store
from legato.app import operate
from legato.deploy.clock import SystemClock
from legato.deploy.hang import STATUS
from legato.deploy.parts import make_store
from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.listen_kit import command
from tests.integration.run_kit import Bot

BOT = Path(__file__).with_name("poison_bot.py")
WAIT_S = 30.0
"""Nobody waits for longer, whatever dies meanwhile."""
INNOCENTS, PAUSE_S = 50, 0.5
DEATHS = (2, 3)
"""Two, if the letter was handed out a second time before, since a slow machine lost its connection."""
LOOK_S = 0.1
CLOCK = SystemClock()


async def answers(user: FakeUser, text: str, answer: str, read: str = "") -> str:
    """What was read before may come again: whoever sent it died before it could write that down."""
    user.sends(text)
    while (found := (await user.gets(timeout_s=WAIT_S)).text) == read:
        pass
    assert found == answer
    return found


class Cluster:
    """A listener and a worker, which is started again whenever it ends by itself.

    Attributes:
        codes: Its exit codes.
        store: Postgres.
        log: What all workers wrote.
    """

    def __init__(
        self, store: Store, env: dict[str, str], folder: Path, telegram: FakeTelegram
    ) -> None:
        self.store = store
        self.telegram = telegram
        self.codes: list[int] = []
        self.log: list[str] = []
        self.more: dict[str, str] = {}
        self._env = env
        self._folder = folder
        self._now: Bot | None = None

    async def works(self) -> None:
        """Works for ever."""
        while True:
            async with command(
                "worker", BOT, "--name", "w", "--heartbeat", "0.5",
                folder=self._folder, env=self._env | self.more,
            ) as self._now:  # fmt: skip
                code = await self._now.process.wait()
            self.codes.append(code)
            self.log.append(self._now.output)

    async def mended(self) -> None:
        """Restarts the worker with better code."""
        self.more["MENDED"] = "yes"
        assert self._now is not None
        self._now.gets(signal.SIGTERM)

    async def until_failed(self, count: int) -> list[str]:
        """Waits until so many conversations are parked; returns their keys."""
        while len(rows := await self.store.find(status="failed")) < count:
            await CLOCK.sleep(LOOK_S)
        return [row.key for row in rows]


@asynccontextmanager
async def cluster(folder: Path, store_url: str, queue_url: str) -> AsyncIterator[Cluster]:
    async with FakeTelegram(second=0.05) as telegram, AsyncExitStack() as stack:
        env = {
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API": telegram.api,
            "LEGATO_STORE": store_url,
            "LEGATO_QUEUE": f"{queue_url}?heartbeat=1",
            "LEGATO_SHARDS": "1",  # all that is in hand is in one queue
            "LEGATO_HANG_TIMEOUT": "2",
        }
        store = make_store(store_url)
        await store.open()
        stack.push_async_callback(store.close)
        running = Cluster(store, env, folder, telegram)
        working = asyncio.create_task(running.works())

        async def over() -> None:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

        stack.push_async_callback(over)
        listen = ("listen", BOT, "--name", "a", "--heartbeat", "0.5")
        await stack.enter_async_context(command(*listen, folder=folder, env=env))
        yield running


class Crowd:
    """People who talk all the time."""

    def __init__(self, telegram: FakeTelegram) -> None:
        self._people = [telegram.user(f"P{n}") for n in range(INNOCENTS)]
        self._over = False
        self.rounds = 0

    async def talks(self) -> None:
        await asyncio.gather(*map(self._talks, self._people))

    async def _talks(self, user: FakeUser) -> None:
        read, number = "", 0
        while not self._over:
            number += 1
            read = await answers(user, "/start", "Name?", read)
            read = await answers(user, f"{user.name} {number}", f"Hello {user.name} {number}", read)
            self.rounds += 1
            await CLOCK.sleep(PAUSE_S)

    def ends(self) -> None:
        """Each says goodbye after a last answer."""
        self._over = True


async def test_one_message_that_ends_the_worker_is_put_aside_and_everybody_else_is_answered(
    tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with cluster(tmp_path, postgres_url, rabbit_url) as running:
        crowd = Crowd(running.telegram)
        guilty = {name: running.telegram.user(name) for name in ("exit", "hang", "error")}
        for user in guilty.values():
            await answers(user, "/start", "Name?")
        talking = asyncio.create_task(crowd.talks())
        async with asyncio.timeout(2 * WAIT_S):
            guilty["error"].sends("error")
            keys = await running.until_failed(1)
            assert running.codes == []  # an exception is no death
            guilty["exit"].sends("exit")
            keys = await running.until_failed(2)
            assert running.codes.count(3) in DEATHS
            guilty["hang"].sends("hang")
            keys = await running.until_failed(3)
            assert running.codes.count(STATUS) in (*DEATHS, 4)  # a slow machine seems to hang, too
        crowd.ends()
        await talking
        assert crowd.rounds >= INNOCENTS
        ids = {str(user.id) for user in guilty.values()}
        assert {key.split(":")[2] for key in keys} == ids  # nobody else's
        assert "the event loop hangs in conversation telegram:" in running.log[-1]

        await running.mended()
        for key in keys:
            await operate.retry(running.store, key, CLOCK.now_ms())
        for name, user in guilty.items():
            while (found := (await user.gets(timeout_s=WAIT_S)).text) in ("Name?", "Sorry!"):
                pass
            assert found == f"Hello {name}"
        assert await running.store.find() == []
