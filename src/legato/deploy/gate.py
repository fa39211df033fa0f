"""`legato gateway`: takes webhooks for workers, through a queue; or for several `legato run`, without one."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from msgspec import Struct

from legato.abc import Platform, Queue, Store
from legato.app.app import App
from legato.app.router import Router
from legato.app.settings import DEFAULT_LISTEN, Settings
from legato.deploy.balancer import Balancer, Shards
from legato.deploy.clock import SystemClock
from legato.deploy.collector import rare_collections
from legato.deploy.gateway import Gateway
from legato.deploy.ingress import Ingress
from legato.deploy.lifecycle import Stopped, Stopping
from legato.deploy.logs import log_form
from legato.deploy.monitoring import Monitoring
from legato.deploy.parts import hosted_platforms, make_queue, make_store
from legato.deploy.patience import patiently
from legato.deploy.process import DRAIN_S
from legato.deploy.serving import Serving, bound, url_of
from legato.deploy.shell import logging_to, loop_factory
from legato.deploy.signature import signature
from legato.deploy.transport import Transport
from legato.errors import ConfigError, StoreError, Unavailable
from legato.outbox.acks import Acks
from legato.outbox.settings import RelaySettings

log: logging.Logger = logging.getLogger("legato.gateway")

START_S = 3.0
"""So long broker and store have before the first webhook is heard: after that it is answered with 503."""
LOAD_AGAIN_S = 10.0
"""How often what other processes keep in the store (a webhook's secret, a name) is looked at."""
ACKS_S = 1.0
"""So long acknowledgements have at the end; later ones are worth nothing."""


class Options(Struct, frozen=True, kw_only=True):
    """What only this shell is told.

    Attributes:
        folder: Of the bot: its store stands there if no setting says otherwise.
        shards: Addresses of several `legato run`, in place of a queue.
        share_port: Several gateways may listen at the same address.
        verbose: Log everything.
        drain_s: How long an end may take.
    """

    folder: Path
    shards: tuple[str, ...] = ()
    share_port: bool = False
    verbose: bool = False
    drain_s: float = DRAIN_S


def gateway(app: App, settings: Settings, options: Options) -> int:
    """Takes webhooks until a signal comes; returns the exit code.

    Raises:
        ConfigError: It cannot run like this.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_Gate(app, settings, options).main())


class _Gate:
    """One run, from its start to its end."""

    def __init__(self, app: App, settings: Settings, options: Options) -> None:
        app.finish()
        if bool(options.shards) == bool(settings.queue):
            raise ConfigError(
                "say where updates go: --queue amqp://... (or LEGATO_QUEUE) for workers, or --shards "
                "http://...,http://... for several `legato run`"
            )
        self._app = app
        self._settings = settings
        self._options = options
        self._clock = SystemClock()
        self._monitoring = Monitoring(settings, self._clock, "gateway", app.name)
        self._platforms = hosted_platforms(settings, app.prefixes, self._clock)
        self._router = Router(app.triggers, app.dialogs)
        self._idle = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def main(self) -> int:
        stopping = Stopping()
        level = logging.DEBUG if self._options.verbose else logging.INFO
        host, port = self._settings.listen or DEFAULT_LISTEN
        with (
            logging_to(self._secrets, level, log_form(self._settings, "gateway")),
            stopping.signals(),
            bound(host, port, shared=self._options.share_port) as listener,
        ):
            await self._served(stopping, listener)
        if stopping.error is not None:
            raise stopping.error
        return 0

    def _secrets(self) -> list[str]:
        found = [*self._settings.secrets, *self._monitoring.secrets]
        for platform in self._platforms:
            found += platform.secrets
        return found

    # -- its parts ----------------------------------------------------------------------------

    def _store(self) -> Store:
        url = self._settings.store or f"sqlite:///{self._options.folder / 'legato.db'}"
        return make_store(url, shared=True)

    def _balancer(self, http: Transport) -> Balancer:
        """Raises ConfigError if shards cannot find out that requests are authentic."""
        key = self._settings.key
        if key:
            signature("", b"", key, 0)
        shards = Shards(self._options.shards)
        found = Balancer(self._platforms, self._router, shards, http, self._clock, key=key)

        async def some() -> bool:
            return bool(await found.healthy())

        self._monitoring.health.add("shards", some)
        return found

    def _gateway(self, queue: Queue, acks: Acks) -> Gateway:
        async def taken() -> bool:
            return queue.ready

        self._monitoring.health.add("queue", taken)
        watched = self._monitoring.queue(queue)
        return Gateway(
            self._platforms, self._router, watched, acks, self._clock, key=self._settings.key
        )

    # -- running ------------------------------------------------------------------------------

    async def _served(self, stopping: Stopping, listener: socket.socket) -> None:
        http, store = Transport(), self._store()
        acks = Acks(http, self._clock, RelaySettings().acks, self._idle.set)
        queue: Queue | None = None
        server: Serving | None = None
        try:
            ingress: Ingress
            if self._options.shards:
                ingress = self._balancer(http)
            else:
                queue = make_queue(self._settings.queue, self._app.name)
                ingress = self._gateway(queue, acks)
                self._spawn(self._again("the broker", queue.open), stopping)
            self._watch(ingress)
            self._spawn(self._prepare(ingress, store, http, stopping), stopping)
            await stopping.unless(self._prepared(ingress, queue))
            names = [platform.name for platform in self._platforms]
            server = Serving(
                self._monitoring.asgi(ingress, names), listener, drain_s=self._options.drain_s
            )
            server.start(stopping)
            await stopping.unless(server.up())
            self._greet(listener)
            with rare_collections():
                await stopping.wait()
        except Stopped:
            pass
        finally:
            await self._end(server, acks)
            if queue is not None:
                await queue.close()
            await http.close()
            await store.close()
            await self._monitoring.close()
            log.info("stopped")

    def _watch(self, ingress: Ingress) -> None:
        ingress.waiting.update(platform.name for platform in self._platforms)

        async def loaded() -> bool:
            return not ingress.waiting

        self._monitoring.health.add("settings", loaded)
        self._monitoring.add(ingress.samples)

    def _greet(self, listener: socket.socket) -> None:
        for platform in self._platforms:
            way = platform.way(self._settings.public_url) if self._settings.public_url else ""
            log.info("%s bot %s: %s", platform.name, platform.bot, way or "webhook as it is set")
        log.info("listening: %s/", url_of(listener))

    async def _end(self, server: Serving | None, acks: Acks) -> None:
        log.info("stopping: finishing what is under way")
        self._monitoring.health.draining = True
        if server is not None:
            server.refuse()
            await server.ended()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(ACKS_S):
                while acks.busy:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.info("some buttons were not acknowledged in time")
        await acks.close()

    async def _prepared(self, ingress: Ingress, queue: Queue | None) -> None:
        """Returns once updates can be taken, or START_S have passed."""
        until = self._clock.monotonic() + START_S
        while ingress.waiting or (queue is not None and not queue.ready):
            if self._clock.monotonic() > until:
                return
            await self._clock.sleep(0.01)

    # -- in the background --------------------------------------------------------------------

    def _spawn(self, work: Awaitable[None], stopping: Stopping) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.append(task)

        def done(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                stopping.fail(error)

        task.add_done_callback(done)

    async def _again(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        await patiently(what, work, clock=self._clock, log=log, away=(Unavailable, StoreError))

    async def _prepare(
        self, ingress: Ingress, store: Store, http: Transport, stopping: Stopping
    ) -> None:
        """Loads what the store knows of each platform, sets webhooks, and keeps looking.

        Where a platform must be listened to in spite of its webhooks, whoever listens sets it up.
        """
        await self._again("the store", store.open)
        url = self._settings.public_url
        for platform in self._platforms:
            await self._again("the store", partial(platform.load, store))
            ingress.waiting.discard(platform.name)
            if url and not platform.listens(url):
                self._spawn(self._set_up(platform, store, http), stopping)
        while True:
            await self._clock.sleep(LOAD_AGAIN_S)
            for platform in self._platforms:
                try:
                    await platform.remember(store)
                    await platform.load(store)
                except StoreError as error:
                    log.debug("the store is away, which does no harm here: %s", error)

    async def _set_up(self, platform: Platform, store: Store, http: Transport) -> None:
        url = self._settings.public_url
        await self._again(platform.name, partial(platform.setup, http, store, url))


__all__ = ["Options", "gateway"]
