"""The balancer of the article: two `legato run`, each with a store of its own, and who keeps whom."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from legato.deploy.balancer import Shards
from legato.deploy.serving import bound
from legato.model.shards import slot_of_key
from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.listen_kit import command
from tests.integration.run_kit import TOKEN, Bot, environment

USERS = 12
PATIENT = """
from legato import App, Chat
app = App("adder")

@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First number?", int)
    second = await chat.ask("Second number?", int)
    await chat.say(f"Sum: {first + second}")
"""


class Fleet:
    """Two shards and a balancer in front of them."""

    def __init__(self, folder: Path, telegram: FakeTelegram) -> None:
        self.folder = folder
        self.telegram = telegram
        self.bot = folder / "bot.py"
        self.bot.write_text(PATIENT)
        with bound("127.0.0.1", 0) as a, bound("127.0.0.1", 0) as b, bound("127.0.0.1", 0) as c:
            self.ports = [listener.getsockname()[1] for listener in (a, b, c)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self._shards = Shards(self.urls[:2])

    def shard_of(self, user: FakeUser) -> int:
        return self.urls.index(self._shards.of(slot_of_key(f"telegram:4200:{user.id}:{user.id}:")))

    def env(self, n: int) -> dict[str, str]:
        return environment(
            self.telegram,
            LEGATO_LISTEN=f"127.0.0.1:{self.ports[n]}",
            LEGATO_PUBLIC_URL=self.urls[2],
            LEGATO_STORE=f"sqlite:///{self.store(n)}",
        )

    def store(self, n: int) -> Path:
        return self.folder / f"w{n}.db"

    @asynccontextmanager
    async def shard(self, n: int) -> AsyncIterator[Bot]:
        async with command("run", self.bot, folder=self.folder, env=self.env(n)) as bot:
            await bot.says(f"listening: {self.urls[n]}/")
            yield bot

    @asynccontextmanager
    async def balancer(self) -> AsyncIterator[Bot]:
        shards = ("--shards", ",".join(self.urls[:2]))
        env = self.env(2)
        async with command("gateway", self.bot, *shards, folder=self.folder, env=env) as bot:
            await bot.says(f"listening: {self.urls[2]}/")
            yield bot

    def rooms(self, n: int) -> set[int]:
        """Users of whom a shard's store knows."""
        with sqlite3.connect(self.store(n)) as database:
            keys = database.execute("SELECT key FROM conversation").fetchall()
        database.close()
        return {int(key.split(":")[3]) for (key,) in keys}


async def test_each_user_has_one_shard_and_only_its_own_users_miss_one_that_died(
    tmp_path: Path,
) -> None:
    async with FakeTelegram(token=TOKEN) as telegram, AsyncExitStack() as stack:
        fleet = Fleet(tmp_path, telegram)
        first = [await stack.enter_async_context(fleet.shard(n)) for n in (0, 1)]
        gate = await stack.enter_async_context(fleet.balancer())
        people = [telegram.user(f"U{n}") for n in range(USERS)]
        homes = {user: fleet.shard_of(user) for user in people}
        assert set(homes.values()) == {0, 1}

        async def all_get(users: list[FakeUser], text: str) -> None:
            await asyncio.gather(*(user.gets(text) for user in users))

        for user in people:
            user.sends("/start")
        await all_get(people, "First number?")
        for n in (0, 1):
            assert fleet.rooms(n) == {user.id for user in people if homes[user] == n}

        assert await first[1].ends(signal.SIGKILL) == -signal.SIGKILL
        for user in people:
            user.sends(str(user.id))
        well = [user for user in people if homes[user] == 0]
        await all_get(well, "Second number?")
        for user in people:
            user.sends("1")
        for user in well:
            await user.gets(f"Sum: {user.id + 1}")
        for user in people:
            if homes[user] == 1:
                assert user.sees[-1] == "First number?"
        assert "is away" in gate.output

        await stack.enter_async_context(fleet.shard(1))
        for user in people:
            await telegram.wait_for(lambda user=user: user.sees[-1] == f"Sum: {user.id + 1}")  # type: ignore[misc]
        for user in people:
            seen = list(dict.fromkeys(user.sees))  # the kill may leave one send in doubt
            assert seen == ["First number?", "Second number?", f"Sum: {user.id + 1}"]
        assert fleet.rooms(0).isdisjoint(fleet.rooms(1))
        assert await gate.ends(signal.SIGTERM) == 0
        assert await first[0].ends(signal.SIGTERM) == 0


async def test_a_balancer_that_ends_answers_what_is_under_way(tmp_path: Path) -> None:
    async with FakeTelegram(token=TOKEN) as telegram:
        fleet = Fleet(tmp_path, telegram)
        async with fleet.shard(0), fleet.shard(1), fleet.balancer() as gate:
            user = telegram.user("Ann")
            telegram.slow(0.3, method="sendMessage")
            user.sends("/start")
            await user.gets("First number?")
            assert await gate.ends(signal.SIGTERM) == 0
            assert "stopped" in gate.output
