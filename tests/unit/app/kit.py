"""Events as a platform would make them, and a runtime to give them to."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from legato import App
from legato.abc import Store
from legato.app.runtime import Runtime, RuntimeSettings
from legato.model.events import (
    Address,
    ButtonPressed,
    Event,
    MemberJoined,
    MessageEdited,
    MessageReceived,
    User,
)
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork

_ids = itertools.count(1)


def new_id() -> str:
    """An update's id that no other test uses."""
    return f"test:bot:{next(_ids)}"


def place(chat: str = "1", user: str = "1", thread: str = "") -> Address:
    """A place on the scripted platform: by default a talk between two."""
    return Address("test", "bot", chat, user, thread)


def message(
    text: str, at: Address | None = None, *, roles: tuple[str, ...] = ()
) -> MessageReceived:
    """Somebody writes; "/word rest" is a command."""
    at = at or place()
    word, _, args = text.partition(" ")
    return MessageReceived(
        id=new_id(),
        place=at,
        user=User(at.user, "Ann", roles=roles),
        text=text,
        message_id="m",
        command=word[1:].lower() if word.startswith(("/", "!")) else "",
        args=args.strip() if word.startswith(("/", "!")) else "",
        private=at.user == at.chat,
    )


def edited(text: str) -> MessageEdited:
    """Somebody changes a message."""
    return MessageEdited(id=new_id(), place=place(), user=User("1"), text=text, private=True)


def pressed(data: str, at: Address | None = None) -> ButtonPressed:
    """Somebody presses a button."""
    at = at or place()
    return ButtonPressed(id=new_id(), place=at, user=User(at.user), data=data, private=True)


def joined(chat: str = "room") -> MemberJoined:
    """Somebody comes into a room."""
    return MemberJoined(id=new_id(), place=place(chat), user=User("1"))


class World:
    """One process of a bot, and the store and platform that outlive it."""

    def __init__(
        self, app: App, store: Store | None = None, settings: RuntimeSettings | None = None
    ) -> None:
        self.app = app
        self.clock = FakeClock()
        self.store = store or MemoryStore()
        self.platform = ScriptedPlatform()
        self.settings = settings or RuntimeSettings()
        self.runtime = self.process()

    def process(self) -> Runtime:
        """A fresh process over the same store."""
        return Runtime(
            self.app,
            store=self.store,
            platforms=[self.platform],
            clock=self.clock,
            http=NoNetwork(),
            settings=self.settings,
        )

    @property
    def said(self) -> list[str]:
        """What users see."""
        return [shown.message.text for shown in self.platform.shown]

    async def receive(self, event: Event, *, may_reply: bool = False) -> bytes | None:
        """One update, acknowledged when this returns; its answer is written at once."""
        body = msgspec.json.encode(event)
        received = await self.runtime.receive(self.platform, body, may_reply=may_reply)
        if received.release is not None:
            received.release()
        return received.reply

    async def says(self, text: str, at: Address | None = None) -> MessageReceived:
        """Somebody writes, and everything that follows happens."""
        event = message(text, at)
        await self.receive(event)
        await self.rest()
        return event

    async def rest(self) -> None:
        """Everything under way comes to its end."""
        await self.runtime.drained()
        await self.runtime.relay.flush(60)

    async def crash(self) -> None:
        """The process dies, and another one starts."""
        await self.runtime.abandon()
        self.runtime = self.process()
        await self.runtime.start(loops=False)
        await self.runtime.resume()


@asynccontextmanager
async def running(
    app: App, store: Store | None = None, settings: RuntimeSettings | None = None
) -> AsyncIterator[World]:
    """A World whose process runs, without loops: `world.runtime.tick()` is called by the test."""
    world = World(app, store, settings)
    await world.runtime.start(loops=False)
    try:
        yield world
    finally:
        await world.runtime.stop()
