"""A gateway without a server, and all that it gave away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from legato import App, Chat
from legato.abc import Clock, HttpClient, HttpRequest, HttpResponse, Letter, Platform
from legato.app.router import Router
from legato.deploy.gateway import Gateway
from legato.outbox.acks import Acks
from legato.platforms.telegram import Telegram
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.testing.clock import FakeClock
from tests.unit.deploy.asgi_kit import Answer, request

SECRET = "s3cret-of-the-webhook"
PROOF = {"X-Telegram-Bot-Api-Secret-Token": SECRET}


class Recorded(HttpClient):
    """Takes every call.

    Attributes:
        calls: (method, parameters) of each.
        gate: Calls wait for it.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.calls.append((request.url.rpartition("/")[2], json.loads(request.body)))
        await self.gate.wait()
        return HttpResponse(200, {}, b'{"ok":true,"result":true}')

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError("nothing is downloaded")

    async def close(self) -> None:
        return


def talker(scope: str = "user_in_chat") -> App:
    app = App("bot")

    @app.command("start", scope=scope)
    async def start(chat: Chat) -> None:
        await chat.say("one")

    app.finish()
    return app


class Stored:
    """Every letter that the broker has.

    Attributes:
        letters: In order.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self.letters: list[Letter] = []
        self._broker = broker
        broker.meddle = self._meddle
        self.confirms = True

    def _meddle(self, letters: Sequence[Letter]) -> tuple[Sequence[Letter], bool]:
        self.letters += letters
        return letters, self.confirms

    @property
    def ids(self) -> list[str]:
        return [letter.id for letter in self.letters]


class Gate:
    """A gateway and what is around it."""

    def __init__(
        self,
        *,
        platforms: Sequence[Platform] = (),
        clock: Clock | None = None,
        app: App | None = None,
        kind: type[Gateway] = Gateway,
        **options: Any,
    ) -> None:
        clock = clock or FakeClock()
        app = app or talker()
        self.broker = MemoryBroker()
        self.stored = Stored(self.broker)
        self.queue = MemoryQueue(self.broker)
        self.http = Recorded()
        self.acks = Acks(self.http, clock, 32, lambda: None)
        self.asgi = kind(
            platforms or [Telegram("4200:token", secret=SECRET, clock=clock)],
            Router(app.triggers, app.dialogs),
            self.queue,
            self.acks,
            clock,
            **options,
        )

    async def open(self) -> None:
        """A broker with one queue."""
        await self.queue.open()
        await self.queue.declare(1, 1)

    async def close(self) -> None:
        await self.acks.close()
        await self.queue.close()

    async def post(self, *pieces: bytes, path: str = "/telegram", **options: Any) -> Answer:
        options.setdefault("headers", PROOF)
        return await request(self.asgi, "POST", path, *pieces, **options)


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Gate]:
    """A gateway whose queue is open."""
    gate = Gate(**options)
    await gate.open()
    try:
        yield gate
    finally:
        await gate.close()


def update(number: int = 1, text: str = "/start", user: int = 5, **more: object) -> bytes:
    """Somebody writes to the bot."""
    person = {"id": user, "first_name": "Ann", "is_bot": False}
    message = {"message_id": number, "from": person, "chat": {"id": user, "type": "private"}}
    whole = {"update_id": number, "message": message | {"text": text, "date": 1} | more}
    return json.dumps(whole).encode()


def press(number: int = 1, user: int = 5) -> bytes:
    """Somebody presses a button."""
    person = {"id": user, "first_name": "Ann", "is_bot": False}
    message = {"message_id": 1, "date": 1, "chat": {"id": user, "type": "private"}}
    query = {"id": f"q{number}", "from": person, "message": message, "data": "b"}
    return json.dumps({"update_id": number, "callback_query": query}).encode()


class Hasty(Gateway):
    """Sabotage: it answers before the queue has confirmed."""

    async def _confirmed(self, found: Sequence[Letter]) -> None:
        task = asyncio.ensure_future(super()._confirmed(found))
        task.add_done_callback(lambda done: done.exception())
        HASTY.add(task)
        task.add_done_callback(HASTY.discard)


HASTY: set[asyncio.Future[None]] = set()
"""What it still publishes."""


async def until(condition: Callable[[], object]) -> None:
    """Lets others run for as long as it takes, within reason."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come")
