"""Webhook requests of a process that works on none of them: what the gateway and the balancer share.

    POST /{platform}   an update
    GET  /healthz      200 while the process lives

| answer | when |
|---|---|
| 200 | the update is safe with somebody else, or nobody needs it; with the body the platform wants |
| 401 | the request is not the platform's; nothing of it was parsed |
| 404, 405 | another path or method; the body is not read |
| 408 | the body did not come in time |
| 413 | the body is too long |
| 503 | nobody has the update safely (Retry-After says when to repeat it) |
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from msgspec import Struct

from legato.abc import Clock, HttpRequest, Platform
from legato.abc.observer import current_trace
from legato.deploy.http import (
    BODY_LIMIT,
    JSON,
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
from legato.deploy.measures import Sample
from legato.deploy.signature import check_request
from legato.errors import Forged, Unavailable

log: logging.Logger = logging.getLogger("legato.gateway")

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_CLOSE = (b"connection", b"close")
_HEX = frozenset("0123456789abcdef")


class Limits(Struct, frozen=True, kw_only=True):
    """How much is taken at once, and how long it may take.

    Attributes:
        body_bytes: Of one request.
        body_s: From the head of a request to the end of its body.
        answer_s: From there to the answer: a platform that waits no longer than two seconds gets one.
        requests: Being worked on at once; more are asked to come again.
        unsafe_bytes: Bodies of one bot that nobody has safely yet; more are asked to come again.
    """

    body_bytes: int = BODY_LIMIT
    body_s: float = 5.0
    answer_s: float = 1.9
    requests: int = 1000
    unsafe_bytes: int = 32_000_000


class Reply(Struct, frozen=True):
    """What a platform is answered.

    Attributes:
        body: Of a 200; empty if the platform wants none.
        kind: Its media type.
    """

    body: bytes = b""
    kind: str = "application/json"


OK = Reply()


class Ingress(ABC):
    """The ASGI application.

    Args:
        platforms: Of the bots; each at "/<name>".
        clock: Time.
        key: LEGATO_KEY; if it is set, updates that a listener forwards are taken, too.
        limits: See there.

    Attributes:
        waiting: Names of platforms whose secret is not known yet: their updates are to come again.
        updates, ignored, malformed: Authentic updates; those nobody needs; those nobody can read.
    """

    def __init__(
        self,
        platforms: Iterable[Platform],
        clock: Clock,
        *,
        key: str = "",
        limits: Limits | None = None,
    ) -> None:
        self._platforms = {f"/{platform.name}": platform for platform in platforms}
        self._clock = clock
        self._key = key
        self._limits = limits or Limits()
        self._requests = 0
        self._unsafe = dict.fromkeys(self._platforms, 0)
        self._log = Seldom(clock)
        self.waiting: set[str] = set()
        self.updates: int = 0
        self.ignored: int = 0
        self.malformed: int = 0

    def _count_ignored(self) -> None:
        self.ignored += 1

    def _count_malformed(self) -> None:
        self.malformed += 1

    @abstractmethod
    async def _safe(self, platform: Platform, request: HttpRequest) -> Reply:
        """Returns once somebody else has an authentic update safely.

        Raises:
            Unavailable: Nobody has, as far as is known.
        """

    @property
    def busy(self) -> int:
        """Requests being worked on."""
        return self._requests

    def samples(self) -> Iterator[Sample]:
        """What was counted so far."""
        yield Sample("legato_updates_total", self.updates)
        yield Sample("legato_ignored_updates_total", self.ignored)
        yield Sample("legato_malformed_updates_total", self.malformed)
        yield Sample("legato_busy_updates", self._requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        platform = self._platforms.get(path)
        if platform is None or scope["type"] != "http":
            await self._other(path, scope, send)
        elif scope["method"] != "POST":
            await answer(send, 405, b"POST only", (_TEXT, (b"allow", b"POST")))
        elif self._requests >= self._limits.requests:
            await self._later(send, Unavailable("too many requests at once"))
        else:
            self._requests += 1
            try:
                await self._update(path, platform, scope, receive, send)
            finally:
                self._requests -= 1

    async def _update(
        self, path: str, platform: Platform, scope: Scope, receive: Receive, send: Send
    ) -> None:
        read = False
        try:
            # One timer for both waits: each costs a request more than its JSON does.
            async with asyncio.timeout(self._limits.body_s) as deadline:
                body = await read_body(scope, receive, self._limits.body_bytes)
                read = True
                deadline.reschedule(asyncio.get_running_loop().time() + self._limits.answer_s)
                headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
                request = HttpRequest("POST", target(scope), headers, body)
                reply = await self._taken(path, platform, request)
            kind = JSON if reply is OK else (b"content-type", reply.kind.encode())
            await answer(send, 200, reply.body, (kind,) if reply.body else ())
        except Forged as error:
            self._log.warn("a request to %s was refused: %s", path, error)
            await answer(send, 401, b"unauthorized", (_TEXT,))
        except TooLarge:
            await discard(scope, receive)
            await answer(send, 413, b"too large", (_TEXT, _CLOSE))
        except Disconnected:
            return  # nobody is there to be answered
        except Unavailable as error:
            await self._later(send, error)
        except TimeoutError:
            if read:
                await self._later(send, Unavailable("no confirm in time"))
            else:
                await answer(send, 408, b"too slow", (_TEXT, _CLOSE))

    async def _taken(self, path: str, platform: Platform, request: HttpRequest) -> Reply:
        if platform.name in self.waiting:
            raise Unavailable("the settings of this bot are not loaded yet")
        check_request(platform, request, self._key, self._clock)
        self.updates += 1
        size = len(request.body)
        if self._unsafe[path] + size > self._limits.unsafe_bytes:
            raise Unavailable("too much waits to be confirmed")
        self._unsafe[path] += size
        try:
            return await self._safe(platform, request)
        finally:
            self._unsafe[path] -= size

    async def _later(self, send: Send, error: Unavailable) -> None:
        self._log.warn("an update was not taken, the platform repeats it: %s", error)
        retry = (b"retry-after", str(max(1, error.retry_after_s)).encode())
        await answer(send, 503, b"try again", (_TEXT, retry))

    async def _other(self, path: str, scope: Scope, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] != "http":
            raise RuntimeError(f"no such thing is served: {scope['type']}")
        elif path == "/healthz":
            await answer(send, 200, b"ok", (_TEXT,))
        else:
            await answer(send, 404, b"not found", (_TEXT,))


class Seldom:
    """Warnings that a flood of requests does not make a flood of log lines: one a second of a kind.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}

    def warn(self, form: str, *values: object) -> None:
        """Logs it, or counts it towards the next line of this form."""
        now = self._clock.monotonic()
        at, passed = self._last.get(form, (float("-inf"), 0))
        if now - at < 1.0:
            self._last[form] = at, passed + 1
            return
        self._last[form] = now, 0
        log.warning(form, *values)
        if passed:
            log.warning("that happened %d times more before", passed)


def trace_of(request: HttpRequest) -> str:
    """The W3C traceparent that goes on with an update: of our own span, else the request's; "" if
    there is none.
    """
    return current_trace() or _valid(request.headers.get("traceparent", ""))


def _valid(text: str) -> str:
    parts = text.split("-", 4)
    sizes = tuple(map(len, parts[:4]))
    good = sizes == (2, 32, 16, 2) and _HEX.issuperset("".join(parts[:4])) and parts[0] != "ff"
    return text[:55] if good else ""


__all__ = ["OK", "Ingress", "Limits", "Reply", "Seldom", "trace_of"]
