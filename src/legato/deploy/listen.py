"""`legato listen`: holds the connections that a bot needs, where gateways and workers (or a cloud
function) do the rest.

Telegram's long polling and Twitch's sockets are held by one of however many such processes there are. What
comes goes into the queue, or to the webhook of a function, and the platform is told that it was taken only
after that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from secrets import token_hex

from msgspec import Struct

from legato.abc import Leases, Platform, Queue, Store
from legato.app.app import App
from legato.app.router import Router
from legato.app.settings import Settings
from legato.deploy.carrying import Carrier, ToQueue, ToWebhook
from legato.deploy.clock import SystemClock
from legato.deploy.election import Election
from legato.deploy.lifecycle import Stopped, Stopping
from legato.deploy.listener import ENDED, HELD, Listener
from legato.deploy.logs import log_form
from legato.deploy.measures import Sample
from legato.deploy.monitoring import Monitoring
from legato.deploy.parts import hosted_platforms, make_queue, make_store
from legato.deploy.patience import patiently
from legato.deploy.serving import Serving, bound, url_of
from legato.deploy.shell import logging_to, loop_factory
from legato.deploy.transport import Transport
from legato.errors import ConfigError

log: logging.Logger = logging.getLogger("legato.listen")


class Options(Struct, frozen=True, kw_only=True):
    """What only this shell is told.

    Attributes:
        folder: Of the bot: its store stands there if no setting says otherwise.
        to: Where updates go: an amqp:// address or the https:// address of a webhook; "" = LEGATO_QUEUE.
        name: Of this process, in logs; "" = the machine's.
        heartbeat_s: How often it says that it lives: whoever dies is followed within three of them.
        verbose: Log everything.
    """

    folder: Path
    to: str = ""
    name: str = ""
    heartbeat_s: float = 1.0
    verbose: bool = False


def listen(app: App, settings: Settings, options: Options) -> int:
    """Listens until a signal comes; returns the exit code.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_Listen(app, settings, options).main())


class _Listen:
    """One run, from its start to its end."""

    def __init__(self, app: App, settings: Settings, options: Options) -> None:
        app.finish()
        if not 0.1 <= options.heartbeat_s <= 60:
            raise ConfigError("--heartbeat is a number of seconds from 0.1 to 60")
        self._app = app
        self._settings = settings
        self._options = options
        self._clock = SystemClock()
        self._to = options.to or settings.queue
        self._monitoring = Monitoring(settings, self._clock, "listen", app.name)
        self._platforms = hosted_platforms(settings, app.prefixes, self._clock)
        for platform in self._platforms:
            platform.offer(app.triggers.offered())

    async def main(self) -> int:
        stopping = Stopping()
        level = logging.DEBUG if self._options.verbose else logging.INFO
        form = log_form(self._settings, "listen")
        with logging_to(self._secrets, level, form), stopping.signals(), self._socket() as listener:
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
        url = self._settings.store or f"sqlite:///{self._options.folder / 'legato.db'}"
        return make_store(url, shared=True)

    def _carrier(self, http: Transport) -> Carrier:
        """Where updates go.

        Raises:
            ConfigError: Nobody says where, or it is no address.
        """
        scheme = self._to.partition("://")[0]
        if scheme in ("http", "https"):
            return ToWebhook(self._to, self._settings.key, http, self._clock)
        if not self._to:
            raise ConfigError(
                "say where updates go: --to amqp://... (or LEGATO_QUEUE), or --to https://... of a function"
            )
        queue: Queue = self._monitoring.queue(make_queue(self._to, self._app.name))
        router = Router(self._app.triggers, self._app.dialogs)
        return ToQueue(queue, router, http, self._clock)

    def _election(self, store: Store) -> Election:
        holder = f"{self._options.name or socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
        leases = store if isinstance(store, Leases) else None
        if leases is None:
            log.warning(
                "this store knows no leases: no other process may listen for this bot beside this one"
            )
        return Election(leases, self._clock, holder, self._options.heartbeat_s)

    def _listened(self) -> list[Platform]:
        """The platforms that need a connection of ours.

        Raises:
            ConfigError: None does.
        """
        found = [p for p in self._platforms if p.listens(self._settings.public_url)]
        if not found:
            raise ConfigError(
                "LEGATO_PUBLIC_URL is set, so updates come by webhook: there is nothing to listen to"
            )
        return found

    # -- running ------------------------------------------------------------------------------

    async def _served(self, stopping: Stopping, listening: socket.socket | None) -> None:
        http = Transport()
        store, carrier, listener, server = self._store(), self._carrier(http), None, None
        try:
            platforms = self._listened()
            if listening is not None:
                server = self._status(listening, stopping)
            await stopping.unless(self._again("the store", store.open))
            for platform in platforms:
                await stopping.unless(self._again("the store", partial(platform.load, store)))
                carrier.check(platform)
            await stopping.unless(self._again("where updates go", carrier.open))
            listener = Listener(
                self._app.name,
                platforms,
                self._election(store),
                carrier=carrier,
                store=self._monitoring.store(store),
                http=http,
                public_url=self._settings.public_url,
                failed=stopping.fail,
            )
            self._watch(listener, carrier)
            listener.start()
            await stopping.wait()
        except Stopped:
            pass
        finally:
            await self._end(listener, server)
            for part in (carrier, http, store, self._monitoring):
                await part.close()

    async def _again(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        await patiently(what, work, clock=self._clock, log=log)

    async def _end(self, listener: Listener | None, server: Serving | None) -> None:
        if listener is not None:
            log.info("stopping: giving every connection up")
        self._monitoring.health.draining = True
        if server is not None:
            server.refuse()
        if listener is not None:
            await listener.close()
            log.info("stopped; %d updates were taken", listener.updates)
        if server is not None:
            await server.ended()

    # -- its state ----------------------------------------------------------------------------

    def _status(self, listening: socket.socket, stopping: Stopping) -> Serving:
        """Serves metrics and health."""
        server = Serving(self._monitoring.asgi(), listening)
        server.start(stopping)
        log.info("metrics and health: %s/", url_of(listening))
        return server

    def _watch(self, listener: Listener, carrier: Carrier) -> None:
        async def listens() -> bool:
            return ENDED not in listener.states.values()

        async def takes() -> bool:
            return carrier.ready

        def samples() -> Iterator[Sample]:
            yield Sample("legato_updates_total", listener.updates)
            yield Sample("legato_refused_updates_total", listener.refused)
            for platform, state in listener.states.items():
                yield Sample("legato_held_connections", int(state == HELD), (platform,))

        self._monitoring.health.add("connections", listens)
        self._monitoring.health.add("queue", takes)
        self._monitoring.add(samples)


__all__ = ["Options", "listen"]
