"""ASGI for services that give a process no CPU between requests: `app.asgi(frozen=True)`.

Cloud Run, Knative and OpenFaaS answer requests by a process that may stand still afterwards. So everything
of a Turn is done before the answer, as in a function, and requests are worked on one after another: set
the service's concurrency to 1.

    POST /{platform}   an update
    POST /tick         lets timers fire: for the service's scheduler, once a minute
    GET  /healthz      200
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from legato.abc import HttpRequest, HttpResponse
from legato.deploy.function.answers import answer as plain
from legato.deploy.function.answers import later
from legato.deploy.function.core import Function, log
from legato.deploy.http import (
    Disconnected,
    Receive,
    Scope,
    Send,
    TooLarge,
    answer,
    discard,
    read_body,
    target,
)
from legato.errors import ConfigError, StoreError, Unavailable

if TYPE_CHECKING:
    from legato.app.app import App


class Frozen:
    """The ASGI application.

    Args:
        app: The bot.
        timeout_s: How long a request may take, as the service is set up.
        flags: Settings that go before the environment.
    """

    def __init__(self, app: App, timeout_s: float, flags: Mapping[str, str]) -> None:
        self.function: Function = Function(app, flags)
        self._timeout_s = timeout_s
        self._one: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        else:
            try:
                body = await read_body(scope, receive)
            except TooLarge:
                await discard(scope, receive)
                await _written(send, plain(413, "too large"))
            except Disconnected:
                return  # nobody is there to be answered
            else:
                await _written(send, await self._answered(scope, body))

    async def _answered(self, scope: Scope, body: bytes) -> HttpResponse:
        if scope["path"] == "/healthz":
            return plain(200, "ok")
        if scope["path"].endswith("/tick") and scope["method"] == "POST":
            try:
                found = await self.tick()
            except (Unavailable, StoreError) as error:
                return later(str(error), 1)
            except ConfigError as error:
                return _broken(error)
            return plain(200, " ".join(f"{name}={count}" for name, count in found.items()))
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        request = HttpRequest(scope["method"], target(scope), headers, body)
        try:
            async with self._turn() as left_s:
                return await self.function.request(request, left_s)
        except Unavailable as error:
            return later(str(error), error.retry_after_s)
        except (ConfigError, StoreError) as error:
            return _broken(error)

    async def tick(self) -> dict[str, int]:
        """Lets timers fire; see Function.touch.

        Raises:
            Unavailable, StoreError: Not now.
        """
        async with self._turn() as left_s:
            return await self.function.touch(left_s)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[float]:
        """Waits until the others are done; gives the seconds that are left.

        Raises:
            Unavailable: They are too few.
        """
        clock = self.function.clock
        arrived = clock.monotonic()
        with self.function.waiting.one_more():
            await self._alone().acquire()
        try:
            left_s = self._timeout_s - (clock.monotonic() - arrived)
            if left_s < self._timeout_s / 4:
                raise Unavailable("others came first, and took its time")
            yield left_s
        finally:
            self._alone().release()

    def _alone(self) -> asyncio.Lock:
        """One invocation at a time. Made within the loop that it is for."""
        self._one = self._one or asyncio.Lock()
        return self._one

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                await self.function.stopped()
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return


def _broken(error: Exception) -> HttpResponse:
    """It cannot run like this. The message says what to do: a server's own log would have it below our lines."""
    log.error("%s", error)
    return plain(500, "this bot is not set up right: its log says why")


async def _written(send: Send, response: HttpResponse) -> None:
    headers = tuple((k.encode(), v.encode("latin-1")) for k, v in response.headers.items())
    await answer(send, response.status, response.body, headers)


__all__ = ["Frozen"]
