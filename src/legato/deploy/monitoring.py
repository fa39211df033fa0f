"""What watches one process: its metrics, traces and health, put together for a shell.

GET /metrics   Prometheus' text form
GET /healthz   200 while the process lives (where the shell has no answer of its own)
GET /readyz    200 while it can do its work, else 503 and what is missing
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from legato.abc import Clock, Queue, Store
from legato.abc.observer import NOBODY, Observer, Scoping, Several
from legato.app.settings import Settings
from legato.deploy.census import Census, Generations, Ours
from legato.deploy.health import Health
from legato.deploy.http import Asgi, Message, Receive, Scope, Send, answer
from legato.deploy.measures import Measures
from legato.deploy.metrics import Metrics, Source, installed
from legato.errors import MissingExtra

if TYPE_CHECKING:
    from legato.deploy.tracing import Tracing

_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Monitoring:
    """Watches one process, as far as its settings and extras allow.

    Args:
        settings: Says what is on.
        clock: Time.
        role: "run", "gateway", "worker" or "listen".
        app: Name of the bot.

    Attributes:
        health: Whether it is ready.
        observer: To be told what happens.
        measures: Its numbers, None if metrics are off.

    Raises:
        MissingExtra: Tracing is on, and its libraries are not installed.
    """

    def __init__(self, settings: Settings, clock: Clock, role: str, app: str) -> None:
        self._clock = clock
        self._metrics: Metrics | None = None
        self._tracing: Tracing | None = None
        self.health: Health = Health(role, clock)
        self.measures: Measures | None = None
        self._census: asyncio.Task[None] | None = None
        observers: list[Observer] = []
        if settings.metrics and installed():
            self.measures = Measures(clock)
            self._metrics = Metrics(version("legato"), role, app)
            self._metrics.add(self.measures.samples)
            self._metrics.add(self.health.samples)
            observers.append(self.measures)
        if settings.tracing:
            from legato.deploy.tracing import Tracing, exporting

            self._tracing = Tracing(exporting(role, app))
            observers.append(self._tracing)
        elif settings.log == "json":
            observers.append(Scoping())
        self.observer: Observer = _one(observers)

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        return self._clock.monotonic()

    def add(self, source: Source) -> None:
        """Exposes the samples of `source`, too."""
        if self._metrics is not None:
            self._metrics.add(source)

    def store(self, store: Store) -> Store:
        """The store with its calls told; readiness asks it. What else it can (a store that has
        leases, too) it can only as itself.
        """
        self.health.add_store(store)
        if self.measures is None and self._tracing is None:
            return store
        from legato.deploy.watched import WatchedStore

        return WatchedStore(store, self.observer)

    def queue(self, queue: Queue) -> Queue:
        """The queue with its publishes told and its deliveries counted; readiness asks it."""

        async def takes() -> bool:
            return queue.ready

        self.health.add("queue", takes)
        if self.measures is None and self._tracing is None:
            return queue
        from legato.deploy.watched import WatchedQueue

        watched = WatchedQueue(queue, self.observer, self._clock)
        self.add(watched.samples)
        return watched

    def asgi(self, inner: Asgi | None = None, platforms: Collection[str] = ()) -> Asgi:
        """Serves what the module's docstring names, and times webhooks.

        Args:
            inner: Is asked for all other paths; None: there are none.
            platforms: Names of those whose webhooks it takes, each at "/<name>".
        """
        return Front(self, inner, platforms, self._metrics, self._tracing)

    def count(
        self,
        store: Store,
        *,
        ours: Ours | None = None,
        queue: Queue | None = None,
        generations: Generations | None = None,
    ) -> None:
        """Counts from now on, if anybody may ask, what only the store and the broker know. See
        `Census` for the arguments; the store is open.
        """
        if self._metrics is not None and self._census is None:
            census = Census(store, self._clock, ours=ours, queue=queue, generations=generations)
            self._metrics.add(census.samples)
            self._census = asyncio.create_task(census.run())

    @property
    def secrets(self) -> list[str]:
        """What must never show: a collector's keys stand in the headers sent to it."""
        names = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
        headers = ",".join(os.environ.get(name, "") for name in names).split(",")
        return [value for header in headers if (value := header.partition("=")[2].strip())]

    async def close(self) -> None:
        """Ends the census, and sends the traces that are still here. Idempotent."""
        if self._census is not None:
            self._census.cancel()
            await asyncio.gather(self._census, return_exceptions=True)
        if self._tracing is not None:
            await self._tracing.close()


def _one(observers: list[Observer]) -> Observer:
    if not observers:
        return NOBODY
    return observers[0] if len(observers) == 1 else Several(*observers)


class Front:
    """The ASGI application in front of a shell's own one. See `Monitoring.asgi`."""

    def __init__(
        self,
        monitoring: Monitoring,
        inner: Asgi | None,
        platforms: Collection[str],
        metrics: Metrics | None,
        tracing: Tracing | None,
    ) -> None:
        self._monitoring = monitoring
        self._inner = inner
        self._webhooks = {f"/{name}": name for name in platforms}
        self._metrics = metrics
        self._tracing = tracing
        self._timed = monitoring.measures is not None or tracing is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http":
            if path == "/metrics":
                return await self._expose(scope, send)
            if path == "/readyz":
                return await self._ready(send)
            if self._timed and path in self._webhooks and self._inner is not None:
                return await self._webhook(self._webhooks[path], scope, receive, send)
        if self._inner is not None:
            return await self._inner(scope, receive, send)
        if scope["type"] == "http":
            status, body = (200, b"ok") if path == "/healthz" else (404, b"not found")
            return await answer(send, status, body, (_TEXT,))
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1000})
        raise RuntimeError(f"no such thing is served: {scope['type']}")

    async def _expose(self, scope: Scope, send: Send) -> None:
        if self._metrics is None:
            text = b"off" if installed() else str(MissingExtra("/metrics", "metrics")).encode()
            return await answer(send, 404, text, (_TEXT,))
        await self._monitoring.health.failing()
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        body, kind = self._metrics.render(accept)
        return await answer(send, 200, body, ((b"content-type", kind.encode()),))

    async def _ready(self, send: Send) -> None:
        failing = await self._monitoring.health.failing()
        text = f"not ready: {', '.join(failing)}" if failing else "ready"
        await answer(send, 503 if failing else 200, text.encode(), (_TEXT,))

    async def _webhook(self, platform: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and tells how long its answer took."""
        measures, tracing = self._monitoring.measures, self._tracing
        began = self._monitoring.now()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = status or message.get("status", 0)
            await send(message)

        span: Any = None if tracing is None else tracing.begin_request(platform, scope["headers"])
        try:
            assert self._inner is not None
            await self._inner(scope, receive, noting)
        finally:
            if tracing is not None:
                tracing.end_request(span, status)
            if measures is not None:
                measures.answered(platform, status, self._monitoring.now() - began)


__all__ = ["Front", "Monitoring"]
