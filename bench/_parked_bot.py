"""The bots of bench/parked_postgres.py, without a network, and their notes of what happened when."""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from bench._kit import NoNetwork, update
from legato import App, Chat, Timeout
from legato.abc import HttpRequest, HttpResponse, Limits
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.share import WHOLE, Share
from legato.deploy.clock import SystemClock
from legato.model.records import Commit, Committed
from legato.platforms.telegram import Telegram
from legato.stores.postgres import PostgresStore

FIRST = 1_000_000_001
LONG_FIRST = 3_000_000_001
TIMERS_FIRST = 5_000_000_001
IDLE = timedelta(days=7)
IDLE_MS = int(IDLE.total_seconds() * 1000)
LONG = 50
"""Answers in the journal of a long conversation."""
BOTS = 64
PER_BOT_S = 30
MOST_TIMERS = 1_000_000

app = App("bench")


@app.command("start")
async def add(chat: Chat) -> None:
    """The adder, which waits for a week."""
    try:
        first = await chat.ask("First number?", int, timeout=IDLE)
        second = await chat.ask("Second number?", int)
        await chat.say(str(first + second))
    except Timeout:
        await chat.say("You went quiet.")


@app.command("count")
async def total(chat: Chat) -> None:
    """Asks a lot."""
    numbers = [await chat.ask("Next?", int, timeout=IDLE) for _ in range(LONG + 1)]
    await chat.say(f"Total {sum(numbers)}")


class Notes:
    """When something first happened in the chats with timers, in milliseconds. Takes no memory later."""

    def __init__(self) -> None:
        self._at = array("d", [0.0]) * MOST_TIMERS

    def add(self, chat: int) -> None:
        """It happens now."""
        number = chat - TIMERS_FIRST
        if 0 <= number < MOST_TIMERS and not self._at[number]:
            self._at[number] = time.time() * 1000

    def all(self) -> dict[int, float]:
        """By chat."""
        return {TIMERS_FIRST + number: at for number, at in enumerate(self._at) if at}


class Heard(NoNetwork):
    """Notes when each chat was sent something."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = Notes()

    async def send(self, request: HttpRequest) -> HttpResponse:
        found = re.search(rb'"chat_id": ?"?(\d+)', request.body)
        assert found is not None, request.body
        self.notes.add(int(found[1]))
        return await super().send(request)


class Noting(PostgresStore):
    """Notes when each conversation's commit was done."""

    __slots__ = ("notes",)

    def __init__(self, url: str, **hooks: Any) -> None:
        super().__init__(url, **hooks)
        self.notes = Notes()

    async def commit(self, commit: Commit) -> Committed:
        done = await super().commit(commit)
        if commit.key and done.result == "committed":
            self.notes.add(int(commit.key.split(":")[2]))
        return done


class Worker:
    """A Runtime on the database, with all bots."""

    def __init__(
        self, url: str, *, clock: Any = None, share: Share = WHOLE, workers: int = 1, **hooks: Any
    ) -> None:
        # A clock that stands still would let nobody say much.
        limits = Limits() if clock else Limits(bot=(PER_BOT_S / workers, 1, 5))
        self.http = Heard()
        self.store = Noting(url, **hooks)
        self.bots = [
            Telegram(f"{7001 + bot}:TEST", secret="bench", limits=limits) for bot in range(BOTS)
        ]
        self.runtime = Runtime(
            app,
            store=self.store,
            platforms=self.bots,
            clock=clock or SystemClock(),
            http=self.http,
            settings=RuntimeSettings(webhook_reply=False),
            share=share,
        )

    async def says(self, chat: int, step: int, text: bytes) -> None:
        """Somebody says something; returns once it may be acknowledged."""
        number = int(f"{chat}{step:02}")
        await self.runtime.receive(self.bots[bot_of(chat)], update(number, chat, text))


def bot_of(chat: int) -> int:
    """The number of a chat's bot; the seeds' is the first."""
    return 0 if chat in {FIRST, LONG_FIRST} else chat % BOTS


@asynccontextmanager
async def working(worker: Worker, *, loops: bool) -> AsyncIterator[Worker]:
    """Starts and stops it."""
    await worker.runtime.start(loops=loops)
    try:
        yield worker
    finally:
        await worker.runtime.stop()
