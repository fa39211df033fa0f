"""Functions over one store, a person who writes to them, and the bot and the update that most tests need."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat, Happened
from legato.abc import Clock
from legato.deploy.clock import SystemClock
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.function.invocation import Invocation
from legato.testing.fake_telegram import FakeTelegram

TOKEN, SECRET = "4200:canary-of-the-token", "canary-of-the-secret"
PROOF = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
UPDATE: dict[str, Any] = {
    "update_id": 1,
    "message": {
        "message_id": 1,
        "date": 1,
        "from": {"id": 1001, "is_bot": False, "first_name": "Ann"},
        "chat": {"id": 1001, "type": "private"},
        "text": "/start",
    },
}
BODY = json.dumps(UPDATE).encode()
seen: list[Happened] = []
"""What happened outside of chats, as `bot` saw it."""


def bot() -> App:
    """Greets, and notes what happens outside of chats."""
    app = App("bot")

    @app.command("start")
    async def start(chat: Chat) -> None:
        await chat.say("Hello")

    @app.event("*")
    async def note(chat: Chat) -> None:
        assert isinstance(chat.event, Happened)
        await chat.run(seen.append, chat.event)

    return app


@contextmanager
def on_telegram(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTelegram]:
    """A Telegram on which Ann has started the bot, whose settings are in the environment."""
    seen.clear()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_SECRET", SECRET)
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        yield telegram


class Jumping(SystemClock):
    """Time passes, and a test lets it jump."""

    def __init__(self) -> None:
        self.later_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + round(self.later_s * 1000)


class Context:
    """What Lambda tells of the invocation."""

    def __init__(self, left_ms: int = 8000) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


class Service:
    """Processes of one function, over one store; a person writes to it."""

    def __init__(self, telegram: FakeTelegram, app: App, clock: Clock | None = None) -> None:
        self.telegram = telegram
        self.app = app
        self.clock = clock
        self.ids = 0
        self.process = self.cold()

    def cold(self) -> Function:
        process = Function(self.app, {"telegram_api": self.telegram.api})
        if self.clock is not None:
            process.clock = self.clock
            process.invocation = Invocation(self.clock)
        return process

    def restart(self) -> None:
        self.process.close()
        self.process = self.cold()

    def crash(self) -> None:
        """The process stands still in the middle, and another one takes over."""
        loop, runtime = self.process._loop, self.process._runtime
        assert loop is not None
        assert runtime is not None
        for ending in (runtime.abandon(), runtime.http.close(), runtime.store.close()):
            loop.run_until_complete(ending)
        loop.close()
        self.process = self.cold()

    def update(self, text: str, number: int = 0) -> dict[str, Any]:
        self.ids += 1
        person = {"id": 1001, "is_bot": False, "first_name": "Ann"}
        chat = {"id": 1001, "type": "private", "first_name": "Ann"}
        message = {"message_id": 900 + self.ids, "from": person, "chat": chat, "text": text}
        body = json.dumps({"update_id": number or self.ids, "message": message | {"date": 1}})
        return request("POST", "/telegram", body)

    def invoke(self, event: object, left_ms: int = 8000) -> dict[str, Any]:
        return Lambda(self.process)(event, Context(left_ms))

    def says(self, text: str) -> str:
        """The text in the answer, "" if none rides there."""
        answer = self.invoke(self.update(text))
        assert answer["statusCode"] == 200
        return str(json.loads(answer.get("body", "{}")).get("text", ""))


def request(
    method: str, path: str, body: str = "", headers: dict[str, str] | None = None, **more: object
) -> dict[str, Any]:
    """An event of a function's URL."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": PROOF if headers is None else headers,
        "requestContext": {"http": {"method": method, "path": path}},
        "body": body,
        "isBase64Encoded": False,
    } | more
