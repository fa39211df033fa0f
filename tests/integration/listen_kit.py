"""`legato listen` in processes of their own, and an endpoint that takes what they forward."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from legato import App
from legato.abc import Platform, Store
from legato.app.runtime import Runtime
from legato.deploy.clock import SystemClock
from legato.deploy.http import Endpoint, Message, Receive, Scope, Send, answer
from legato.deploy.lifecycle import Stopping
from legato.deploy.serving import Serving, bound, url_of
from legato.deploy.transport import Transport
from tests.integration.run_kit import Bot
from tests.servers.nursery import python

ECHO = '''"""Says everything again."""

from legato import App, Chat

app = App("echo", apology="", help=False)


@app.message()
async def echo(chat: Chat) -> None:
    await chat.say(chat.message.text)
'''


def echo(folder: Path) -> Path:
    """A bot that says everything again."""
    path = folder / "echo.py"
    path.write_text(ECHO)
    return path


@asynccontextmanager
async def command(*arguments: str | Path, folder: Path, env: dict[str, str]) -> AsyncIterator[Bot]:
    """`legato <arguments>` in `folder`; killed at the end if it still runs."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "SYSTEMROOT"))}
    process = await python(
        *("-m", "legato.cli.main", *map(str, arguments)), env=kept | env, folder=folder
    )
    bot = Bot(process)
    try:
        yield bot
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)  # a stopped one would not die
            process.kill()
        await bot.ends()


class Shaky:
    """The endpoint in front of a runtime; it can be away.

    Attributes:
        down: Every request is answered with 503.
        deaf: What was taken is answered with 503 none the less, so many times.
        requests: Bodies, as they came.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.down = False
        self.deaf = 0
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        if self.down:
            return await answer(send, 503)
        if not self.deaf:
            return await self._endpoint(scope, receive, send)
        self.deaf -= 1

        async def nothing(message: Message) -> None:
            """Whoever asked hears something else."""

        await self._endpoint(scope, receive, nothing)
        return await answer(send, 503)


@asynccontextmanager
async def served(
    app: App, platforms: Iterable[Platform], store: Store, key: str = ""
) -> AsyncIterator[tuple[Shaky, str]]:
    """The bot behind a webhook, and its address."""
    http = Transport()
    runtime = Runtime(app, store=store, platforms=tuple(platforms), clock=SystemClock(), http=http)
    await runtime.start()
    with bound("127.0.0.1", 0) as listener:
        shaky = Shaky(Endpoint(runtime, key=key))
        server = Serving(shaky, listener)
        server.start(Stopping())
        try:
            yield shaky, url_of(listener)
        finally:
            server.refuse()
            await runtime.stop(2.0)
            await server.ended()
            await http.close()
