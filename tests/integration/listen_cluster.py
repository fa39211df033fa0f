"""Several `legato listen` on one Postgres and one RabbitMQ, and what comes out of the queue."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import msgspec

from legato.abc import Delivery, Letter
from legato.model.events import MessageReceived
from legato.queues.rabbitmq import RabbitQueue
from tests.integration.listen_kit import command, echo
from tests.integration.run_kit import Bot
from tests.integration.twitch_bot import until

SHARDS = 4
WAIT_S = 60.0


class Cluster:
    """What the tests see of it.

    Attributes:
        letters: As they came out of the queue, with repetitions.
        texts: By user: each update once, when it came first.
        listeners: By name; those that ended too.
    """

    def __init__(self, folder: Path, rabbit_url: str, env: dict[str, str]) -> None:
        self._bot = echo(folder)
        self._folder = folder
        self._env = env | {"LEGATO_QUEUE": rabbit_url}
        self._stack = AsyncExitStack()
        self._queue = RabbitQueue(rabbit_url, "echo")
        self._seen: set[str] = set()
        self.letters: list[Letter] = []
        self.texts: dict[str, list[str]] = {}
        self.listeners: dict[str, Bot] = {}

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        self._stack.push_async_callback(self._queue.close)
        await self._queue.open()
        await self._queue.declare(1, SHARDS)
        for shard in range(SHARDS):
            await self._queue.consume(1, shard, self._take)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def _take(self, delivery: Delivery) -> None:
        letter = delivery.letter
        delivery.ack()
        self.letters.append(letter)
        if letter.id not in self._seen:
            self._seen.add(letter.id)
            event = msgspec.json.decode(letter.body, type=MessageReceived)
            self.texts.setdefault(event.place.user, []).append(event.text)

    async def starts(self, name: str, **env: str) -> Bot:
        """One more process."""
        arguments = ("listen", self._bot, "--name", name, "--heartbeat", "0.5")
        bot = await self._stack.enter_async_context(
            command(*arguments, folder=self._folder, env=self._env | env)
        )
        self.listeners[name] = bot
        return bot

    async def holder(self, *others: Bot) -> Bot:
        """Who holds the connection, as soon as it is none of `others`."""

        def found() -> list[Bot]:
            return [
                bot
                for bot in self.listeners.values()
                if bot not in others and "held by this process" in bot.output
            ]

        await until(found, WAIT_S)
        return found()[-1]


class Crowd:
    """People who write, each message with its number, until they are told to stop.

    Attributes:
        sent: Texts by user.
    """

    def __init__(self, says: dict[str, Callable[[str], object]], pause_s: float = 0.03) -> None:
        self._says = says
        self._pause_s = pause_s
        self._task: asyncio.Task[None] | None = None
        self.sent: dict[str, list[str]] = {user: [] for user in says}

    async def _talk(self) -> None:
        number = 0
        while True:
            number += 1
            for user, says in self._says.items():
                self.sent[user].append(f"{number}")
                says(f"{number}")
            await asyncio.sleep(self._pause_s)

    async def for_s(self, seconds: float) -> None:
        """They write for so long."""
        await asyncio.sleep(seconds)

    async def until_sent(self, count: int) -> None:
        """They write so many messages each, from now on."""
        target = min(map(len, self.sent.values())) + count
        await until(lambda: min(map(len, self.sent.values())) >= target, WAIT_S)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._talk())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])


@asynccontextmanager
async def cluster(
    folder: Path, rabbit_url: str, env: dict[str, str], names: str = "ab"
) -> AsyncIterator[Cluster]:
    """Listeners with these names, one of which holds the connection."""
    async with Cluster(folder, rabbit_url, env) as found:
        for name in names:
            await found.starts(name)
        if names:
            await found.holder()
        yield found


def stops(bot: Bot) -> None:
    """As a debugger, or a machine that is frozen."""
    bot.gets(signal.SIGSTOP)


def wakes(bot: Bot) -> None:
    """It goes on as if nothing had been."""
    bot.gets(signal.SIGCONT)
