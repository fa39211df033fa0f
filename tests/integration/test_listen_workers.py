"""Listeners, RabbitMQ, workers and Postgres: a bot that is talked with over connections."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from legato.deploy.parts import make_store
from legato.platforms.twitch.events import INVISIBLE
from legato.testing.fake_telegram import FakeTelegram, FakeUser
from legato.testing.fake_twitch import FakeTwitch
from legato.testing.fake_twitch.people import FakeViewer
from tests.integration.listen_kit import command
from tests.integration.run_kit import Bot, adder
from tests.integration.twitch_bot import KEY, connected, log_in

WAIT_S = 60.0
TRANSPORTS = pytest.mark.parametrize("transport", ["irc", "eventsub-websocket"])


class Person:
    """Somebody who adds numbers. What is said twice in a row is one message that was sent again: the
    worker that sent it was killed before it could write that down.
    """

    def __init__(self, says: Callable[[str], object], gets: Callable[[], Awaitable[str]]) -> None:
        self._says = says
        self._gets = gets
        self._read = ""

    async def adds(self, first: int) -> None:
        for text, answer in (
            ("!start", "First number?"),
            (f"{first}", "Second number?"),
            ("1000", f"Sum: {first + 1000}"),
        ):
            self._says(text)
            while (found := await self._gets()) == self._read:
                pass
            assert found == answer
            self._read = answer


def on_telegram(user: FakeUser) -> Person:
    async def gets() -> str:
        return (await user.gets(timeout_s=WAIT_S)).text

    return Person(user.sends, gets)


def on_twitch(viewer: FakeViewer) -> Person:
    async def gets() -> str:
        found = await viewer.gets(timeout_s=WAIT_S)
        return found.plain.replace(INVISIBLE, "").strip()

    return Person(viewer.says, gets)


class Processes:
    """The cluster's processes, by name."""

    def __init__(self, stack: AsyncExitStack, bot: Path, env: dict[str, str]) -> None:
        self._stack = stack
        self._bot = bot
        self._env = env
        self.found: dict[str, Bot] = {}

    async def starts(self, kind: str, name: str) -> Bot:
        arguments = (kind, self._bot, "--name", name, "--heartbeat", "0.5")
        self.found[name] = await self._stack.enter_async_context(
            command(*arguments, folder=self._bot.parent, env=self._env)
        )
        return self.found[name]


async def test_on_telegram_listeners_and_workers_may_die_in_the_middle(
    tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with FakeTelegram(second=0.2) as telegram, AsyncExitStack() as stack:
        env = {
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API": telegram.api,
            "LEGATO_STORE": postgres_url,
            "LEGATO_QUEUE": rabbit_url,
            "LEGATO_SHARDS": "4",
        }
        running = Processes(stack, adder(tmp_path), env)
        for name in "vw":
            await running.starts("worker", name)
            await running.found[name].says("works for")
        for name in "ab":
            await running.starts("listen", name)

        async def rounds(person: Person) -> None:
            for number in range(4):
                await person.adds(number)

        people = [on_telegram(telegram.user(f"U{n}")) for n in range(10)]
        talking = asyncio.gather(*map(rounds, people))
        await on_telegram(telegram.user("First")).adds(7)
        for name in ("a", "v"):
            await running.found[name].ends(signal.SIGKILL)
        await running.starts("worker", "x")
        await talking


@TRANSPORTS
async def test_on_twitch_workers_answer_what_a_listener_hears(
    transport: str, tmp_path: Path, postgres_url: str, rabbit_url: str
) -> None:
    async with FakeTwitch(second=0.01) as twitch, AsyncExitStack() as stack:
        room = twitch.channel("Ronni")
        room.gives("moderator", twitch.bot)
        viewers = [twitch.viewer(f"V{n}") for n in range(6)]
        env = twitch.environment(transport) | {
            "LEGATO_KEY": KEY,
            "LEGATO_STORE": postgres_url,
            "LEGATO_QUEUE": rabbit_url,
            "LEGATO_SHARDS": "4",
        }
        store = make_store(postgres_url)
        await store.open()
        await log_in(twitch, store)
        await store.close()
        running = Processes(stack, adder(tmp_path), env)
        for name in "vw":
            await running.starts("worker", name)
            await running.found[name].says("works for")
        await running.starts("listen", "a")
        await connected(twitch, transport, WAIT_S)
        await running.found["a"].says("twitch bot")

        talking = asyncio.gather(*(on_twitch(v).adds(n) for n, v in enumerate(viewers)))
        await viewers[0].world.until(lambda: len(room.texts) > 10, WAIT_S)
        await running.found["v"].ends(signal.SIGKILL)
        await talking
        assert twitch.violations == []
