"""Webhooks over ASGI: `app.asgi()`, and what `legato run` serves.

    POST /{platform}   an update; answered only once its Turn is committed or it is in a mailbox
    GET  /healthz      200 while updates are taken
    GET  /             the web chat, where there is one

Answers: 401 for a forged request, before anything of it is read as JSON; 413 for a body over 1 MB;
503 with Retry-After when nothing durable was made of the update, so that the platform repeats it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from legato.abc import HttpRequest, Platform
from legato.deploy.signature import check_request, may_reply
from legato.errors import ConfigError, Forged, StoreError, Unavailable

if TYPE_CHECKING:
    from legato.app.app import App
    from legato.app.runtime import Runtime
    from legato.deploy.process import Process

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT = 1_000_000
"""Bytes; ten times what any platform sends."""

DISCARD_BYTES, DISCARD_S = 8_000_000, 1.0

JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_CLOSE = (b"connection", b"close")

log: logging.Logger = logging.getLogger("legato.http")


class TooLarge(Exception):
    """Private: the body is longer than BODY_LIMIT."""


class Disconnected(Exception):
    """Private: the client went away in the middle of its request."""


class Endpoint:
    """The ASGI application of a running Runtime.

    Args:
        runtime: Takes the updates; started and stopped by somebody else.
        chat: Serves "/" and everything below "/web/"; None: there is no web chat.
        key: LEGATO_KEY; if it is set, updates that a listener forwards are taken, too.

    Attributes:
        draining: Set once the process is about to end: /healthz says so.
    """

    def __init__(self, runtime: Runtime, chat: Asgi | None = None, key: str = "") -> None:
        self._runtime = runtime
        self._key = key
        self.draining: bool = False
        self._chat = chat
        self._platforms = {f"/{p.name}": p for p in runtime.platforms.values()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        platform = self._platforms.get(path)
        if platform is not None and scope["type"] == "http":
            if scope["method"] == "POST":
                await self._update(platform, scope, receive, send)
            else:
                await answer(send, 405, b"POST only", (_TEXT, (b"allow", b"POST")))
        else:
            await self._other(path, scope, receive, send)

    async def _update(self, platform: Platform, scope: Scope, receive: Receive, send: Send) -> None:
        release: Callable[[], None] | None = None
        try:
            body = await read_body(scope, receive)
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            request = HttpRequest("POST", target(scope), headers, body)
            check_request(platform, request, self._key, self._runtime.clock)
            received = await self._runtime.receive(platform, body, may_reply=may_reply(headers))
            release = received.release
            if received.reply is None:
                await answer(send, 200)
            else:
                kind = (b"content-type", received.reply_type.encode())
                await answer(send, 200, received.reply, (kind,))
        except Forged as error:
            log.warning("a request to %s was refused: %s", scope["path"], error)
            await answer(send, 401, b"unauthorized", (_TEXT,))
        except TooLarge:
            await discard(scope, receive)
            await answer(send, 413, b"too large", (_TEXT, _CLOSE))
        except Disconnected:
            return  # nobody is there to be answered
        except Unavailable as error:
            await self._later(send, str(error), error.retry_after_s)
        except StoreError as error:
            await self._later(send, str(error), 1)
        finally:
            if release is not None:
                release()

    async def _later(self, send: Send, why: str, retry_after_s: int) -> None:
        log.warning("an update was not taken, the platform repeats it: %s", why)
        retry = (b"retry-after", str(max(1, retry_after_s)).encode())
        await answer(send, 503, b"try again", (_TEXT, retry))

    async def _other(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] != "http":
            raise RuntimeError(f"no such thing is served: {scope['type']}")
        elif path == "/healthz":
            status, body = (503, b"draining") if self.draining else (200, b"ok")
            await answer(send, status, body, (_TEXT,))
        elif self._chat is not None and (path == "/" or path.startswith("/web/")):
            await self._chat(scope, receive, send)
        else:
            await answer(send, 404, b"not found", (_TEXT,))


async def answer(
    send: Send, status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Sends a whole response."""
    length = (b"content-length", b"%d" % len(body))
    sized = [length, *headers] if status != 204 else headers
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body})


async def read_body(scope: Scope, receive: Receive, limit: int = BODY_LIMIT) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: It is (or says it is) longer than `limit`; the rest of it is not read.
        Disconnected: The client went away before its end.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:19]) > limit:
            raise TooLarge
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        body: bytes = message.get("body", b"")  # nearly always all of it comes at once
        if len(body) > limit:
            raise TooLarge
        return body
    pieces, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise Disconnected
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise TooLarge
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()


async def discard(scope: Scope, receive: Receive) -> None:
    """Reads on, for a moment, what is too long: whoever is still talking when a connection is closed
    sees a reset in place of the answer.
    """
    if any(name == b"expect" for name, _ in scope["headers"]):
        return  # it waits to be told that it may talk
    size = 0
    try:
        async with asyncio.timeout(DISCARD_S):
            while size < DISCARD_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


def target(scope: Scope) -> str:
    """Path and query of a request, as they were sent."""
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    return (path + b"?" + query if query else path).decode("latin-1")  # type: ignore[no-any-return]


# -- app.asgi() ------------------------------------------------------------------------------------


def asgi(app: App, **flags: str) -> Asgi:
    """An ASGI application for any server: `application = app.asgi()`.

    It starts and stops with the server's lifespan (where that has none: with the first request) and
    takes its settings from the environment. Platforms are put in webhook mode if LEGATO_PUBLIC_URL is
    set, and left as they are if not.

    Args:
        app: The bot.
        flags: Settings that go before the environment, as in store="sqlite:////data/bot.db".
    """
    return Hosted(app, flags)


class Hosted:
    """An App behind somebody else's server."""

    def __init__(self, app: App, flags: dict[str, str]) -> None:
        self._app = app
        self._flags = flags
        self._process: Process | None = None
        self._endpoint: Endpoint | None = None
        self._starting: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        await (self._endpoint or await self._started())(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._started()
        except (ConfigError, StoreError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _started(self) -> Endpoint:
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._endpoint is None:
                self._endpoint = await self._start()
            return self._endpoint

    async def _start(self) -> Endpoint:
        from pathlib import Path

        from legato.app.settings import load_settings
        from legato.deploy.clock import SystemClock
        from legato.deploy.parts import hosted_platforms, is_shared, make_store
        from legato.deploy.process import Process

        settings = load_settings(self._flags, folders=[Path.cwd()])
        clock = SystemClock()
        self._process = process = Process(
            self._app,
            settings,
            store=make_store(settings.store or "sqlite:///legato.db"),
            platforms=hosted_platforms(settings, self._app.prefixes, clock),
            clock=clock,
            failed=lambda error: log.error("a platform failed: %s", error),
            shared=is_shared(settings.store),
        )
        try:
            await process.open(set_up=bool(settings.public_url))
        except BaseException:
            await process.close(0)
            raise
        return Endpoint(process.runtime, key=settings.key)

    async def _stop(self) -> None:
        process, self._process, self._endpoint = self._process, None, None
        if process is not None:
            left = await process.close()
            log.info("stopped; %d messages are left for the next start", left)
