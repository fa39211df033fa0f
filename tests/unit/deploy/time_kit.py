"""A bot whose steps take as long as a test says, and processes of a function that run it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from legato import App, Chat
from legato.errors import StepInterrupted
from legato.model.ids import place_of
from legato.model.records import Conversation
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import SECRET, TOKEN, Service

TICK = {"legato": "tick"}
SHORT_MS = 700
"""An invocation that has a fifth of a second for its work."""
AFTER_S = 5
"""Later than the end of any invocation."""


class Work:
    """Steps that take as long as a test says. `ran` is what was begun, `ended` what came to its end."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ran: list[str] = []
        self.ended: list[str] = []
        self.hangs = False
        self.app = App("worker", apology="Sorry")
        for handler in (
            self.two,
            self.asks,
            self.late,
            self.long,
            self.once,
            self.stray,
            self.crowd,
            self.leaves,
        ):
            self.app.command(handler.__name__)(handler)

        self.app.event("sqs:orders")(self.order)

    async def order(self, chat: Chat) -> None:
        await chat.run(self.hanging, "order")

    async def two(self, chat: Chat) -> None:
        await chat.run(self.takes_all, "first")
        await chat.say("half")
        await chat.run(self.takes_all, "second")
        await chat.say("all")

    async def asks(self, chat: Chat) -> None:
        for name in ("first", "second"):
            await chat.run(self.takes_all, name)
        await chat.say(f"Hi {await chat.ask('Name?')}")

    async def late(self, chat: Chat) -> None:
        await chat.run(self.takes_all, "first")
        await chat.run(self.hanging, "second")
        await chat.say("done")

    async def takes_all(self, name: str) -> None:
        self.ran.append(name)
        self.clock.advance(7)

    async def long(self, chat: Chat) -> None:
        await chat.run(self.hanging, "long")
        await chat.say("done")

    async def hanging(self, name: str) -> None:
        self.ran.append(name)
        await asyncio.sleep(3600 if self.hangs else 0)
        self.ended.append(name)

    async def once(self, chat: Chat) -> None:
        try:
            await chat.run(self.hanging, "pay", at_most_once=True)
        except StepInterrupted:
            await chat.say("I do not know")

    async def stray(self, chat: Chat) -> None:
        await chat.run(self.careless)
        await chat.say("done")

    async def careless(self) -> None:
        self.background = asyncio.create_task(self.hanging("background"), name="careless one")
        await asyncio.sleep(0)

    async def crowd(self, chat: Chat) -> None:
        await chat.run(self.careful)
        await chat.say("done")

    async def careful(self) -> None:
        await asyncio.gather(*(self.hanging(name) for name in "abc"))

    async def leaves(self, chat: Chat) -> None:
        for number in "123":
            await chat.say(number)


@contextmanager
def working(work: Work, folder: Path) -> Iterator[Service]:
    """A person writes to it; its store is in the folder."""
    with pytest.MonkeyPatch.context() as patch, FakeTelegram(token=TOKEN).threaded() as telegram:
        patch.chdir(folder)
        patch.setenv("TELEGRAM_TOKEN", TOKEN)
        patch.setenv("TELEGRAM_SECRET", SECRET)
        patch.delenv("LEGATO_STORE", raising=False)
        telegram.user("Ann", started=True)
        service = Service(telegram, work.app, work.clock)
        yield service
        service.process.close()


def sent(service: Service) -> list[str]:
    return [str(call.params["text"]) for call in service.telegram.called("sendMessage")]


def stored(service: Service) -> Conversation | None:
    runtime = service.process._runtime
    assert runtime is not None
    rows = service.process.run(runtime.store.find())
    assert all(place_of(row.key).platform == "telegram" for row in rows)
    return rows[0] if rows else None
