"""Versions of one function over one store, and Lambda, by which one calls another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from legato import App, Cancelled, Chat, Timeout
from legato.abc import Clock
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.function.invocation import Invocation
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import SECRET, TOKEN, Context, request

NAME = "legato-bot"
ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": NAME,
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "LEGATO_HANDOVER": "on",
}
TICK = {"legato": "tick"}

Event = dict[str, Any]
Refusal = tuple[int, dict[str, str], bytes]


def shop(version: int) -> App:
    """Its order asks for one thing more in each version."""
    app = App("shop", apology="Sorry")

    @app.command("order")
    async def order(chat: Chat) -> None:
        answers: list[str] = []
        try:
            for number in range(version):
                name = f"v{version}-{number}"
                answers += [await chat.ask(f"v{version} {number}?", key=name, timeout=60)]
        except Timeout:
            await chat.say(f"v{version} quiet")
            return
        except Cancelled:
            await chat.say(f"v{version} bye")
            raise
        await chat.say(f"v{version}: {' '.join(answers)}")

    @app.command("hours", anywhere=True)
    async def hours(chat: Chat) -> None:
        await chat.say(f"v{version} 9 to 5")

    return app


class Called(Context):
    """What Lambda tells of an invocation, and by which name the function was called."""

    def __init__(self, qualifier: str, left_ms: int) -> None:
        super().__init__(left_ms)
        self.invoked_function_arn = f"arn:aws:lambda:eu-central-1:1:function:{NAME}:{qualifier}"


class Versions:
    """One process of each version; each has a thread of its own, as it would have a machine.

    Attributes:
        live: The version that the alias names.
        apps: Their code.
        calls: (version, payload) of what one sent to another.
        most: How many such calls were under way at the same time.
        refuse: Answers of the next such calls instead.
        clock: Of all.
    """

    def __init__(self, telegram: FakeTelegram, *apps: App) -> None:
        self.telegram = telegram
        self.apps = dict(enumerate(apps, 1))
        self.live = len(apps)
        self.clock: Clock | None = FakeClock()
        self.calls: list[tuple[int, Event]] = []
        self.most = 0
        self._under_way = 0
        self._riding: list[tuple[int, str]] = []
        self.refuse: list[Refusal] = []
        self.left_ms = 8000
        self.port = 0
        self._ids = 0
        self._processes: dict[int, Lambda] = {}
        self._threads = {number: ThreadPoolExecutor(1) for number in self.apps}

    def process(self, number: int) -> Function:
        """The process of a version; it starts cold if there is none."""
        if number not in self._processes:
            function = Function(self.apps[number], {"telegram_api": self.telegram.api})
            if self.clock is not None:
                function.clock, function.invocation = self.clock, Invocation(self.clock)
            os.environ["AWS_LAMBDA_FUNCTION_VERSION"] = str(number)
            self._processes[number] = Lambda(function)
        return self._processes[number].function

    def invoke(self, event: object, qualifier: str = "live", left_ms: int = 0) -> Event:
        """Calls the function by its alias, or a version by its number."""
        number = self.live if qualifier == "live" else int(qualifier)
        self.process(number)
        context = Called(qualifier, left_ms or self.left_ms)
        handler = self._processes[number]
        found: Event = self._threads[number].submit(handler, event, context).result(60)
        return found

    def ends(self, number: int) -> None:
        """The process of a version ends in order; the next call starts another one."""
        handler = self._processes.pop(number, None)
        if handler is not None:
            self._threads[number].submit(handler.function.close).result(60)

    def rows(self) -> list[Any]:
        """All conversations."""
        function = self.process(self.live)

        async def look() -> list[Any]:
            async with function.invoked(5, quiet=True) as runtime:
                return list(await runtime.store.find())

        return self._threads[self.live].submit(lambda: function.run(look())).result(60)

    def update(self, text: str) -> Event:
        """A person writes."""
        self._ids += 1
        person = {"id": 1001, "is_bot": False, "first_name": "Ann"}
        chat = {"id": 1001, "type": "private", "first_name": "Ann"}
        said = {"message_id": 900 + self._ids, "from": person, "chat": chat, "text": text}
        body = json.dumps({"update_id": self._ids, "message": said | {"date": 1}})
        return request("POST", "/telegram", body)

    def says(self, text: str) -> None:
        """A person writes, and is answered."""
        assert self.answer(self.update(text)) == 200

    def answer(self, event: Event) -> int:
        """Sends an update once; the status of the answer, whose message goes to the chat."""
        answer = self.invoke(event)
        if answer.get("body") and answer["statusCode"] == 200:
            self._riding.append((len(self._sent), json.loads(answer["body"])["text"]))
        return int(answer["statusCode"])

    @property
    def _sent(self) -> list[str]:
        return list(self.telegram.chat(1001).texts)

    def heard(self) -> list[str]:
        """What the person sees, in order: sent, or riding in an answer."""
        found = self._sent
        for at, text in reversed(self._riding):
            found.insert(at, text)
        return found

    # -- Lambda -----------------------------------------------------------------------------------

    def called(self, path: str, body: bytes) -> Refusal:
        """One call of its Invoke."""
        name, _, query = path.removeprefix("/2015-03-31/functions/").partition("/invocations?")
        assert name == NAME
        number = int(query.removeprefix("Qualifier="))
        payload = json.loads(body)
        self.calls.append((number, payload))
        if self.refuse:
            return self.refuse.pop(0)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return self._carried_out(number, payload)
        finally:
            self._under_way -= 1

    def _carried_out(self, number: int, payload: Event) -> Refusal:
        if number not in self.apps:
            kind = {"x-amzn-errortype": "ResourceNotFoundException"}
            return 404, kind, b'{"Type":"User","Message":"Function not found"}'
        try:
            return 200, {}, json.dumps(self.invoke(payload, str(number))).encode()
        except Exception as error:  # noqa: BLE001  # as the runtime does
            told = {"errorMessage": str(error), "errorType": type(error).__name__}
            return 200, {"x-amz-function-error": "Unhandled"}, json.dumps(told).encode()

    def close(self) -> None:
        for number in list(self._processes):
            self.ends(number)
        for thread in self._threads.values():
            thread.shutdown()


@contextmanager
def on_aws(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTelegram]:
    """A Telegram on which Ann has started the bot; its settings, and those of Lambda, are in the environment."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "")  # to be put back
    for name, value in {**ENVIRONMENT, "TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET}.items():
        monkeypatch.setenv(name, value)
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        yield telegram


@contextmanager
def deployed(telegram: FakeTelegram, *apps: App) -> Iterator[Versions]:
    """Versions 1, 2 ... of a bot; the last one is live. AWS_ENDPOINT_URL is theirs to set."""
    versions = Versions(telegram, *apps)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")
            status, headers, answer = versions.called(self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        versions.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield versions
        finally:
            versions.close()
            server.shutdown()
            thread.join()
