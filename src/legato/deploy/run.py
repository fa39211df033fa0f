"""`legato run`: everything in one process.

Every platform whose token is set runs: by webhook if there is a public address, else over a connection
of ours. Without any token a bot can be talked with at once, in the browser and in the terminal.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from legato.abc import Platform
from legato.app.app import App
from legato.app.settings import DEFAULT_LISTEN, Settings
from legato.deploy.clock import SystemClock
from legato.deploy.collector import rare_collections
from legato.deploy.http import Asgi, Endpoint
from legato.deploy.lifecycle import Stopped, Stopping
from legato.deploy.logs import log_form
from legato.deploy.monitoring import Monitoring
from legato.deploy.parts import is_shared, make_platforms, make_store
from legato.deploy.process import DRAIN_S, Process
from legato.deploy.serving import Serving, bound, url_of
from legato.deploy.shell import logging_to, loop_factory
from legato.deploy.sources import of_runtime
from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.platforms.web import Web

log: logging.Logger = logging.getLogger("legato.run")


class Options(Struct, frozen=True, kw_only=True):
    """What only this shell is told.

    Attributes:
        folder: Of the bot: its store stands there if no setting says otherwise.
        console: Talk in the terminal; None: only if there is nothing else, and it is one.
        verbose: Log everything.
        drain_s: How long an end may take.
    """

    folder: Path
    console: bool | None = None
    verbose: bool = False
    drain_s: float = DRAIN_S


def run(app: App, settings: Settings, options: Options) -> int:
    """Runs an App until a signal (or the end of the console's input) comes; returns the exit code.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_Run(app, settings, options).main())


class _Run:
    """One run, from its start to its end."""

    def __init__(self, app: App, settings: Settings, options: Options) -> None:
        self._app = app
        self._settings = settings
        self._options = options
        self._clock = SystemClock()
        self._monitoring = Monitoring(settings, self._clock, "run", app.name)
        self._platforms: list[Platform] = []
        self._web: Web | None = None
        self._ingress: Endpoint | None = None

    async def main(self) -> int:
        stopping = Stopping()
        self._choose()
        with (
            logging_to(self._secrets, self._level(), log_form(self._settings, "run")),
            stopping.signals(),
            self._socket() as listener,
        ):
            self._warn()
            await self._served(stopping, listener)
        if stopping.error is not None:
            raise stopping.error
        return 0

    def _secrets(self) -> list[str]:
        found = [*self._settings.secrets, *self._monitoring.secrets]
        for platform in self._platforms:
            found += platform.secrets
        return found

    def _level(self) -> int:
        if self._options.verbose:
            return logging.DEBUG
        return logging.WARNING if self._console else logging.INFO

    # -- what runs ----------------------------------------------------------------------------

    def _choose(self) -> None:
        """Decides which platforms run, and whether a server and the console do."""
        settings, prefixes = self._settings, self._app.prefixes
        self._platforms = make_platforms(settings, prefixes, self._clock)
        self._own = list(self._platforms)
        if settings.public_url and not self._own:
            raise ConfigError(
                "LEGATO_PUBLIC_URL is set, but no platform has a token: set TELEGRAM_TOKEN or "
                "TWITCH_CLIENT_ID"
            )
        at_terminal = sys.stdin is not None and sys.stdin.isatty()
        wanted = self._options.console
        self._console = bool(wanted) or (wanted is None and not self._own and at_terminal)
        if not self._own and not wanted:
            from legato.platforms.web import Web

            self._web = Web(self._clock, prefixes=prefixes)
            self._platforms.append(self._web)
        if self._console:
            from legato.platforms.console import Console

            settled = None if at_terminal else self._settled
            self._talk = Console(self._clock, prefixes=prefixes, settled=settled)
            self._platforms.append(self._talk)

    async def _settled(self) -> None:
        """Returns once everything said so far is answered, and the answers are shown."""
        await self._process.runtime.drained()
        await self._process.runtime.relay.flush(60.0)

    def _warn(self) -> None:
        """Of what is set, and of no use here."""
        for name, value in (
            ("LEGATO_QUEUE", self._settings.queue),
            ("LEGATO_TIMERS", self._settings.timers),
        ):
            if value:
                log.warning(
                    "%s is set and not used: legato run is all in one process. A queue of SQS (sqs://...) is for a "
                    "cloud function (legato deploy aws), a broker (amqp://...) for legato gateway and legato worker",
                    name,
                )

    def _store_url(self) -> str:
        return self._settings.store or f"sqlite:///{self._options.folder / 'legato.db'}"

    # -- running ------------------------------------------------------------------------------

    async def _served(self, stopping: Stopping, listener: socket.socket | None) -> None:
        store = self._monitoring.store(make_store(self._store_url()))
        self._process = process = Process(
            self._app,
            self._settings,
            store=store,
            platforms=self._platforms,
            clock=self._clock,
            failed=stopping.fail,
            shared=is_shared(self._store_url()),
            observer=self._monitoring.observer,
        )
        self._monitoring.add(lambda: of_runtime(process.runtime))
        server: Serving | None = None
        try:
            await stopping.unless(process.open())
            self._monitoring.count(store)
            if listener is not None:
                self._ingress = endpoint = self._endpoint(process)
                names = [platform.name for platform in self._own]
                app = self._monitoring.asgi(endpoint, names)
                server = Serving(app, listener)
                server.start(stopping)
            self._start_listening(process, stopping)
            self._greet(listener)
            with rare_collections():
                await stopping.wait()
        except Stopped:
            pass
        finally:
            await self._end(process, server)

    def _endpoint(self, process: Process) -> Endpoint:
        chat: Asgi | None = None
        if self._web is not None:
            from legato.deploy.webchat import WebChat

            host, _ = self._settings.listen or DEFAULT_LISTEN
            chat = WebChat(process.runtime, self._web, self._app.name, host)
        return Endpoint(process.runtime, chat, self._settings.key)

    def _start_listening(self, process: Process, stopping: Stopping) -> None:
        for platform in self._own:
            if platform.listens(self._settings.public_url):
                process.listen(platform)
        if self._console:
            process.listen(self._talk, stopping.stop)

    async def _end(self, process: Process, server: Serving | None) -> None:
        log.info("stopping: finishing what is under way")
        self._monitoring.health.draining = True
        if self._ingress is not None:
            self._ingress.draining = True
        if server is not None:
            server.refuse()
        left = await process.close(self._options.drain_s)
        if server is not None:
            if self._web is not None:
                self._web.close()
            await server.ended()
        await self._monitoring.close()
        if left:
            what = "message is" if left == 1 else "messages are"
            log.warning("%d %s not delivered yet: the next start goes on with that", left, what)
        else:
            log.info("stopped; nothing is left to be delivered")

    def _greet(self, listener: socket.socket | None) -> None:
        for platform in self._own:
            way = platform.way(self._settings.public_url)
            log.info("%s bot %s: %s", platform.name, platform.bot, way)
        if listener is not None:
            address = url_of(listener)
            what = "web chat" if self._web is not None else "listening"
            if self._console:  # where only warnings are logged
                sys.stderr.write(f"{what}: {address}/\n")
            else:
                log.info("%s: %s/", what, address)
        if self._console and sys.stdin.isatty():
            sys.stderr.write(f"Talk to {self._app.name}; /help lists commands, ctrl-D ends.\n")

    # -- the server ---------------------------------------------------------------------------

    @contextmanager
    def _socket(self) -> Iterator[socket.socket | None]:
        """The socket to serve on, taken first of all: a second process on this port must not touch
        the store, nor a platform's webhook.
        """
        settings = self._settings
        if self._web is None and not settings.public_url and settings.listen is None:
            yield None
            return
        host, port = settings.listen or DEFAULT_LISTEN
        with bound(host, port) as listener:
            yield listener


__all__ = ["Options", "run"]
