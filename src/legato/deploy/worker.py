"""`legato worker`: works on the conversations of its share of a cluster's chats.

It takes letters from the queues of the shards that it holds leases for, fires their timers and sends
their messages. However many workers there are, they spread the shards among themselves; whoever dies is
followed within three heartbeats.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from secrets import token_hex

from msgspec import Struct

from legato.abc import Leases, Queue, Store
from legato.app.app import App
from legato.app.membership import Membership
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.settings import Settings
from legato.app.share import Part
from legato.deploy.clock import SystemClock
from legato.deploy.collector import rare_collections
from legato.deploy.duties import Duties
from legato.deploy.hang import watched
from legato.deploy.lifecycle import Stopped, Stopping
from legato.deploy.logs import JsonLines, log_form
from legato.deploy.measures import Sample
from legato.deploy.monitoring import Monitoring
from legato.deploy.parts import hosted_platforms, make_queue, make_store
from legato.deploy.patience import patiently
from legato.deploy.process import DRAIN_S
from legato.deploy.serving import Serving, bound, url_of
from legato.deploy.shell import logging_to, loop_factory
from legato.deploy.sources import of_runtime, of_worker
from legato.deploy.topology import Layout, Topology
from legato.deploy.transport import Transport
from legato.errors import ConfigError

log: logging.Logger = logging.getLogger("legato.worker")


class Options(Struct, frozen=True, kw_only=True):
    """What only this shell is told.

    Attributes:
        name: Of this process, in logs and leases; "" = the machine's.
        heartbeat_s: How often it renews its leases.
        verbose: Log everything.
        drain_s: How long an end may take.
    """

    name: str = ""
    heartbeat_s: float = 1.0
    verbose: bool = False
    drain_s: float = DRAIN_S


def worker(app: App, settings: Settings, options: Options) -> int:
    """Works until a signal comes; returns the exit code.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_Worker(app, settings, options).main())


class _Worker:
    """One run, from its start to its end."""

    def __init__(self, app: App, settings: Settings, options: Options) -> None:
        app.finish()
        if not 0.1 <= options.heartbeat_s <= 60:
            raise ConfigError("--heartbeat is a number of seconds from 0.1 to 60")
        if not settings.queue or settings.queue.startswith("memory:"):
            raise ConfigError(
                "say where updates come from: --queue amqp://... (or LEGATO_QUEUE); without a queue, "
                "`legato run` does it all in one process"
            )
        self._app = app
        self._settings = settings
        self._options = options
        self._clock = SystemClock()
        self._monitoring = Monitoring(settings, self._clock, "worker", app.name)
        self._platforms = hosted_platforms(settings, app.prefixes, self._clock)
        self._form = log_form(settings, "worker")

    async def main(self) -> int:
        stopping = Stopping()
        level = logging.DEBUG if self._options.verbose else logging.INFO
        with (
            logging_to(self._secrets, level, self._form),
            stopping.signals(),
            self._socket() as listener,
            watched(self._settings.hang_timeout),
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

    @contextmanager
    def _socket(self) -> Iterator[socket.socket | None]:
        with bound(*self._settings.listen) if self._settings.listen else nullcontext() as one:
            yield one

    # -- its parts ----------------------------------------------------------------------------

    def _store(self) -> Store:
        """The store.

        Raises:
            ConfigError: Several processes cannot share it.
        """
        store = make_store(self._settings.store or "memory://")
        if not isinstance(store, Leases):
            raise ConfigError(
                "workers share one store: set LEGATO_STORE (or --store) to postgresql://...; a store in "
                "a file or in memory serves `legato run` alone"
            )
        return store

    def _runtime(self, store: Store, share: Part, http: Transport) -> Runtime:
        settings = RuntimeSettings(
            cache=self._settings.cache,
            webhook_reply=False,  # the gateway has answered long since
            step_timeout_s=self._settings.step_timeout,
            observer=self._monitoring.observer,
        )
        return Runtime(
            self._app,
            store=self._monitoring.store(store),
            platforms=self._platforms,
            clock=self._clock,
            http=http,
            settings=settings,
            share=share,
        )

    # -- running ------------------------------------------------------------------------------

    async def _served(self, stopping: Stopping, listener: socket.socket | None) -> None:
        http, store = Transport(), self._store()
        queue: Queue = make_queue(self._settings.queue, self._app.name)
        share = Part(self._clock)
        runtime = self._runtime(store, share, http)
        topology = Topology(store, queue, self._app.name, self._clock, shards=self._settings.shards)
        watched = self._monitoring.queue(queue)
        drain_s = self._options.drain_s / 2
        duties = Duties(runtime, share, watched, topology, drain_s=drain_s, told=self._layout)
        membership = self._membership(store, share, duties)
        server: Serving | None = None
        try:
            if listener is not None:
                server = Serving(self._monitoring.asgi(), listener)
                server.start(stopping)
                log.info("metrics and health: %s/", url_of(listener))
            self._watch(runtime, queue, duties, membership)
            await stopping.unless(self._prepare(store, queue, topology, runtime))
            self._count(store, queue, topology, membership)
            membership.start()
            log.info("works for %s", ", ".join(f"{p.name} bot {p.bot}" for p in self._platforms))
            with rare_collections():
                await stopping.wait()
        except Stopped:
            pass
        finally:
            await self._end(runtime, duties, membership, server)
            for part in (queue, http, store, self._monitoring):
                await part.close()

    def _membership(self, leases: Store, share: Part, duties: Duties) -> Membership:
        assert isinstance(leases, Leases)
        name = self._options.name or socket.gethostname()
        return Membership(
            leases,
            self._clock,
            app=self._app.name,
            holder=f"{name}:{os.getpid()}:{token_hex(4)}",
            share=share,
            duties=duties,
            heartbeat_s=self._options.heartbeat_s,
        )

    def _layout(self, layout: Layout) -> None:
        if isinstance(self._form, JsonLines):
            self._form.shards = layout.shards

    async def _prepare(
        self, store: Store, queue: Queue, topology: Topology, runtime: Runtime
    ) -> None:
        """Connects, and makes what is missing; what is away is waited for."""
        await self._again("the store", store.open)
        for platform in self._platforms:
            await self._again("the store", partial(platform.load, store))
        await self._again("the broker", queue.open)
        await self._again("the queues", topology.ensure)
        await self._again("the store", runtime.start)

    async def _again(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        await patiently(what, work, clock=self._clock, log=log)

    async def _end(
        self, runtime: Runtime, duties: Duties, membership: Membership, server: Serving | None
    ) -> None:
        log.info("stopping: finishing what is under way")
        self._monitoring.health.draining = True
        if server is not None:
            server.refuse()
        await membership.close(self._options.drain_s / 2)
        await duties.close()
        left = await runtime.stop(self._options.drain_s / 4)
        if server is not None:
            await server.ended()
        log.info(
            "stopped%s",
            f"; {left} messages were in hand, another worker sends them" if left else "",
        )

    # -- its state ----------------------------------------------------------------------------

    def _watch(
        self, runtime: Runtime, queue: Queue, duties: Duties, membership: Membership
    ) -> None:
        health = self._monitoring.health

        async def connected() -> bool:
            return queue.ready

        async def leased() -> bool:
            return bool(membership.workers) and runtime.share.good()

        def samples() -> Iterator[Sample]:
            yield from of_runtime(runtime, duties.actors.busy)
            yield from of_worker(duties.actors, membership)

        health.add("queue", connected)
        health.add("leases", leased)
        self._monitoring.add(samples)

    def _count(
        self, store: Store, queue: Queue, topology: Topology, membership: Membership
    ) -> None:
        async def ours() -> bool:
            return any(number == 0 for number, _ in membership.units)

        async def generations() -> list[tuple[int, int]]:
            layout: Layout | None = await topology.layout()
            return layout.generations if layout is not None else []

        self._monitoring.count(store, ours=ours, queue=queue, generations=generations)


__all__ = ["Options", "worker"]
