"""A gateway and a worker in one process, watched as their shells watch them; a queue between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from legato import App
from legato.abc import Queue, Store
from legato.app.actors import Actors, Source
from legato.app.router import Router
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.settings import Settings
from legato.deploy.clock import SystemClock
from legato.deploy.gateway import Gateway
from legato.deploy.lifecycle import Stopping
from legato.deploy.monitoring import Monitoring
from legato.deploy.serving import Serving, bound, url_of
from legato.deploy.sources import of_runtime
from legato.deploy.transport import Transport
from legato.model.shards import SLOTS
from legato.outbox.acks import Acks
from legato.platforms.telegram import Telegram
from legato.testing.fake_telegram import FakeTelegram

SHARDS = 2


class Spans:
    """All spans of both processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.exporter = InMemorySpanExporter()

        def exporting(role: str, app: str) -> TracerProvider:
            about = Resource({"service.name": f"{app}-{role}"})
            provider = TracerProvider(resource=about, shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(self.exporter))
            return provider

        monkeypatch.setattr("legato.deploy.tracing.exporting", exporting)

    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def way(self, span: ReadableSpan) -> list[str]:
        """ "<name> in <role>" from a span up to the root of its trace."""
        by_id = {one.context.span_id: one for one in self.all() if one.context}
        found: list[str] = []
        at: ReadableSpan | None = span
        while at is not None:
            service = str(at.resource.attributes["service.name"])
            found.append(f"{at.name} in {service.rpartition('-')[2]}")
            at = by_id.get(at.parent.span_id) if at.parent else None
        return found


class Worker:
    """What `legato worker` is made of, for all slots."""

    def __init__(
        self, app: App, settings: Settings, store: Store, queue: Queue, telegram: Telegram
    ) -> None:
        clock = SystemClock()
        self.monitoring = Monitoring(settings, clock, "worker", app.name)
        self.http = Transport()
        self.queue = self.monitoring.queue(queue)
        self.runtime = Runtime(
            app,
            store=self.monitoring.store(store),
            platforms=[telegram],
            clock=clock,
            http=self.http,
            settings=RuntimeSettings(
                observer=self.monitoring.observer, webhook_reply=False, tick_s=0.05
            ),
        )
        self.monitoring.add(lambda: of_runtime(self.runtime))
        self.actors = Actors(self.runtime, self._ended)

    async def _ended(self, generation: int, shard: int) -> None:
        return

    async def start(self) -> None:
        await self.runtime.start()
        self.monitoring.count(self.runtime.store, queue=self.queue, generations=self._generations)
        self.consumers = [
            await self.queue.consume(1, shard, self.actors.taker(Source(1, shard)))
            for shard in range(SHARDS)
        ]

    async def _generations(self) -> list[tuple[int, int]]:
        return [(1, SHARDS)]

    async def stop(self) -> None:
        for consumer in self.consumers:
            await consumer.stop()
        await self.actors.drained(range(SLOTS), 30)
        await self.actors.close()
        for consumer in self.consumers:
            await consumer.close()
        await self.runtime.stop()
        await self.http.close()
        await self.monitoring.close()


class Cluster:
    """Both, and where they answer.

    Attributes:
        gateway, worker: Addresses.
        running: The worker's parts.
    """

    def __init__(self, gateway: str, worker: str, running: Worker) -> None:
        self.gateway = gateway
        self.worker = worker
        self.running = running


@asynccontextmanager
async def clustered(
    app: App,
    telegram: FakeTelegram,
    settings: Settings,
    store: Store,
    queues: tuple[Queue, Queue],
) -> AsyncIterator[Cluster]:
    """Runs a gateway on the first of `queues` and a worker on the second, which share a broker."""
    clock, http, stopping = SystemClock(), Transport(), Stopping()
    monitoring = Monitoring(settings, clock, "gateway", app.name)
    adapters = [
        Telegram(settings.telegram_token, api=telegram.api, secret=settings.telegram_secret)
        for _ in range(2)
    ]
    acks = Acks(http, clock, 8, lambda: None)
    watched = monitoring.queue(queues[0])
    await watched.open()
    await queues[1].open()
    await watched.declare(1, SHARDS)
    app.finish()
    ingress = Gateway(adapters[:1], Router(app.triggers, app.dialogs), watched, acks, clock)
    monitoring.add(ingress.samples)
    worker = Worker(app, settings, store, queues[1], adapters[1])
    with bound("127.0.0.1", 0) as first, bound("127.0.0.1", 0) as second:
        servers = [
            Serving(monitoring.asgi(ingress, ["telegram"]), first),
            Serving(worker.monitoring.asgi(), second),
        ]
        await worker.start()
        for server in servers:
            server.start(stopping)
        await adapters[0].setup(http, store, url_of(first))
        try:
            yield Cluster(url_of(first), url_of(second), worker)
        finally:
            for server in servers:
                server.refuse()
            await asyncio.gather(*(server.ended() for server in servers))
            await worker.stop()
            await acks.close()
            for queue in queues:
                await queue.close()
            await http.close()
            await monitoring.close()
            assert stopping.error is None
