"""A bot as a cloud function: `handler = app.aws_lambda()`.

An invocation is one update. Within it the Turn runs, is committed and delivered; the last message rides in
the response. Nothing is left to run afterwards, since the machine stands still until the next
invocation. Timers fire at any touch: a scheduler that invokes the function with any event that is no
request (every minute, say) keeps them near their time.

This file is on the way of a cold start: what only some invocations need is imported by them.

Read on 2026-11-28: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from legato.abc import Clock, HttpClient, HttpRequest, HttpResponse, Platform
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.settings import Settings, load_settings
from legato.deploy.clock import SystemClock
from legato.deploy.parts import hosted_platforms, make_store
from legato.deploy.signature import check_request, may_reply
from legato.errors import Forged, StoreError, Unavailable

if TYPE_CHECKING:
    from legato.app.app import App

BODY_LIMIT = 1_000_000
MARGIN_S = 0.5
"""Kept for answering, of the time that is left."""
DEFAULT_S = 10.0
"""Time for an invocation whose context tells none."""
STRANGE_MS = 60_000
"""Deliveries older than this are of an invocation that died; younger ones may be another's, which
delivers them itself."""
PURGE_EVERY_MS = 3_600_000
OTHERS_S = 2.0
LAST_ID = 2**63 - 1

log: logging.Logger = logging.getLogger("legato.function")

Answer = dict[str, Any]


class Function:
    """One App in one process of a function service.

    Everything is made at the first invocation, when all dialogs are there, and kept for the next.

    Args:
        app: The bot.
        flags: Settings that go before the environment.
    """

    def __init__(self, app: App, flags: Mapping[str, str]) -> None:
        self._app = app
        self._flags = flags
        self._clock: Clock = SystemClock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        self._platforms: dict[str, Platform] = {}
        self._purged_ms = 0
        self._key = ""

    def aws(self, event: Any, context: Any = None) -> Answer:
        """Handles one invocation: a request to the function's URL (payload version 2.0), or any other
        event, which only lets timers fire.

        Raises:
            ConfigError, StoreError: It cannot run like this.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._aws(event, _deadline_s(context)))

    def close(self) -> None:
        """Ends it in order, as tests must; a function service just stops the process."""
        if self._loop is not None:
            if self._runtime is not None:
                self._loop.run_until_complete(self._runtime.stop(1.0))
                self._loop.run_until_complete(self._runtime.http.close())
            self._loop.close()
        self._loop = self._runtime = None

    # -- one invocation -----------------------------------------------------------------------

    async def _aws(self, event: Any, budget_s: float) -> Answer:
        until = self._clock.monotonic() + budget_s
        runtime = self._runtime or await self._start()
        # A Turn is acknowledged early only if it would outlast the invocation.
        runtime.settings = replace(runtime.settings, ack_after_s=budget_s)
        request = _request(event)
        if request is None:
            return await self._touched(runtime, until)
        platform = self._platforms.get(request.url.partition("?")[0])
        if platform is None:
            return _answer(404, "not found")
        if request.method != "POST":
            return _answer(405, "POST only", allow="POST")
        if len(request.body) > BODY_LIMIT:
            return _answer(413, "too large")
        try:
            return await self._update(runtime, platform, request, until)
        except Forged as error:
            log.warning("a request to %s was refused: %s", request.url, error)
            return _answer(401, "unauthorized")
        except Unavailable as error:
            return _later(str(error), error.retry_after_s)
        except StoreError as error:
            return _later(str(error), 1)

    async def _update(
        self, runtime: Runtime, platform: Platform, request: HttpRequest, until: float
    ) -> Answer:
        check_request(platform, request, self._key, self._clock)
        answers = may_reply(request.headers)
        received = await runtime.receive(platform, request.body, may_reply=answers)
        if received.release is not None:
            received.release()  # the others go first: only then is it answered
        elif received.reply is not None:
            # A repeated update: whoever had it first may have died before the others were sent.
            await runtime.relay.recover(lambda item: item.lane == received.lane)
        await runtime.tick()
        await self._delivered(runtime, received.lane, until)
        if received.reply is None:
            return {"statusCode": 200}
        if not runtime.relay.idle(received.lane):
            # What must stand before the reply is not there: the update comes again, and gets it.
            raise Unavailable("messages before the answer could not be delivered in time")
        headers = {"content-type": received.reply_type}
        return {"statusCode": 200, "headers": headers, "body": received.reply.decode()}

    async def _delivered(self, runtime: Runtime, lane: str, until: float) -> None:
        """Delivers everything, as far as there is time; what is for `lane` goes before all."""
        if runtime.busy:
            await self._in_time(runtime.drained(), until)
        if lane and not runtime.relay.idle(lane):
            await self._in_time(runtime.relay.delivered(lane, LAST_ID), until)
        # A chat that must wait (a limit, a backoff) keeps the other ones no longer than this.
        await runtime.relay.flush(max(0.0, min(OTHERS_S, until - self._clock.monotonic())))

    async def _in_time(self, work: Coroutine[Any, Any, None], until: float) -> None:
        try:
            await asyncio.wait_for(work, max(0.0, until - self._clock.monotonic()))
        except TimeoutError:
            pass  # whoever needs it looks for itself

    async def _touched(self, runtime: Runtime, until: float) -> Answer:
        """Not a request: a scheduler, or an operator who tries it."""
        now_ms = self._clock.now_ms()
        await runtime.relay.recover(lambda item: item.created_ms < now_ms - STRANGE_MS)
        woken = await runtime.tick()
        await self._delivered(runtime, "", until)
        if now_ms - self._purged_ms > PURGE_EVERY_MS:
            self._purged_ms = now_ms
            await runtime.purge()
        return {"woken": woken, "left": runtime.relay.left}

    # -- the first one ------------------------------------------------------------------------

    async def _start(self) -> Runtime:
        settings = load_settings(self._flags, folders=["."])
        platforms = hosted_platforms(settings, self._app.prefixes, self._clock)
        self._key = settings.key
        # Shared: the service runs several of us at once, or has one frozen that would hold the lock
        # for ever. The fence keeps conversations whole.
        store = make_store(settings.store or "sqlite:///legato.db", threads=False, shared=True)
        runtime = Runtime(
            self._app,
            store=store,
            platforms=platforms,
            clock=self._clock,
            http=LazyHttp(),
            settings=_knobs(settings),
        )
        await store.open()
        try:
            for platform in platforms:
                await platform.load(store)
            self._app.attach(runtime)
            old_ms = self._clock.now_ms() - STRANGE_MS
            await runtime.relay.recover(lambda item: item.created_ms < old_ms)
            await runtime.resume()
        except BaseException:
            await store.close()
            raise
        self._platforms = {f"/{platform.name}": platform for platform in platforms}
        self._runtime = runtime
        return runtime


class LazyHttp(HttpClient):
    """An HttpClient that is made when the first call must be sent: many an invocation sends none."""

    __slots__ = ("_client",)

    def __init__(self) -> None:
        self._client: HttpClient | None = None

    def _made(self) -> HttpClient:
        if self._client is None:
            from legato.deploy.transport import Transport

            self._client = Transport()
        return self._client

    async def send(self, request: HttpRequest) -> HttpResponse:
        return await self._made().send(request)

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        return await self._made().download(request, path, limit)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def aws_lambda(app: App, **flags: str) -> Callable[[Any, Any], Answer]:
    """A handler for AWS Lambda behind a function URL.

    It takes its settings from the environment: LEGATO_STORE (a path that outlives the invocation),
    TELEGRAM_TOKEN and TELEGRAM_SECRET. A bot that was set up by `legato run` on the same store needs no
    secret: the store has it.

    Args:
        app: The bot.
        flags: Settings that go before the environment, as in store="sqlite:////mnt/data/bot.db".
    """
    return Function(app, flags).aws


def _knobs(settings: Settings) -> RuntimeSettings:
    return RuntimeSettings(
        cache=settings.cache,
        webhook_reply=settings.webhook_reply,
        reply_last=True,
        step_timeout_s=settings.step_timeout,
    )


def _deadline_s(context: Any) -> float:
    """Seconds that the invocation has."""
    tell = getattr(context, "get_remaining_time_in_millis", None)
    left_s = tell() / 1000 if tell is not None else DEFAULT_S
    return max(0.0, left_s - MARGIN_S)


def _request(event: Any) -> HttpRequest | None:
    """The HTTP request in an event, None if it holds none."""
    about = event.get("requestContext") if isinstance(event, dict) else None
    http = about.get("http") if isinstance(about, dict) else None
    if not isinstance(http, dict):
        return None
    headers = {str(k).lower(): str(v) for k, v in (event.get("headers") or {}).items()}
    path, query = str(event.get("rawPath") or "/"), str(event.get("rawQueryString") or "")
    text = event.get("body") or ""
    if event.get("isBase64Encoded"):
        from binascii import a2b_base64

        try:
            body = a2b_base64(text)
        except ValueError:
            body = b""  # the platform finds that there is nothing in it
    else:
        body = text.encode("utf-8", "surrogatepass")
    url = f"{path}?{query}" if query else path
    return HttpRequest(str(http.get("method", "")), url, headers, body)


def _answer(status: int, text: str, **headers: str) -> Answer:
    return {"statusCode": status, "headers": {"content-type": "text/plain"} | headers, "body": text}


def _later(why: str, retry_after_s: int) -> Answer:
    log.warning("an update was not finished, the platform repeats it: %s", why)
    answer = _answer(503, "try again")
    answer["headers"]["retry-after"] = str(max(1, retry_after_s))
    return answer


__all__ = ["Function", "LazyHttp", "aws_lambda"]
