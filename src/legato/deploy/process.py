"""The parts of one process that runs an App: opened in the right order, and closed in the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from legato.abc import Clock, Platform, Store
from legato.abc.observer import NOBODY, Observer
from legato.app.app import App
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.settings import Settings
from legato.app.share import WHOLE, Beside
from legato.deploy.patience import pause_s
from legato.deploy.transport import Transport
from legato.errors import ConfigError, Unavailable
from legato.model.shards import ALL_SLOTS

log: logging.Logger = logging.getLogger("legato.process")

DRAIN_S = 8.0
"""How long an end may take; `docker stop` kills after 10 s."""

Failed = Callable[[BaseException], None]


class Process:
    """One App with store, platforms and HTTP client. Belongs to one event loop.

    Args:
        app: The bot.
        settings: Everything that can be set.
        store: Where it lives; opened and closed here.
        platforms: Its adapters.
        clock: Time.
        failed: Called when the last platform refuses us later on (a token that was revoked).
        shared: Whether cloud functions may use the store, too.
        observer: Is told what happens.

    Attributes:
        runtime: The running App.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        *,
        store: Store,
        platforms: Sequence[Platform],
        clock: Clock,
        failed: Failed,
        shared: bool = False,
        observer: Observer = NOBODY,
    ) -> None:
        self._settings = settings
        self._store = store
        self._platforms = platforms
        self._clock = clock
        self._failed = failed
        self._http = Transport()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: set[Platform] = set()
        share = Beside(store, clock) if shared else WHOLE
        self.runtime: Runtime = Runtime(
            app,
            store=store,
            platforms=platforms,
            clock=clock,
            http=self._http,
            settings=RuntimeSettings(
                cache=settings.cache,
                webhook_reply=settings.webhook_reply,
                step_timeout_s=settings.step_timeout,
                observer=observer,
            ),
            share=share,
        )
        if isinstance(share, Beside):
            share.interrupted = lambda: self.runtime.relay.drop(ALL_SLOTS)

    async def open(self, *, set_up: bool = True) -> None:
        """Opens the store, sets the platforms up, then starts the runtime.

        In this order: with a wrong token nothing is sent, or each message that waits in the store
        would be refused for good.

        Args:
            set_up: False leaves the platforms as they are (webhooks that somebody else has set).

        Raises:
            ConfigError, StoreError: It cannot run like this.
        """
        await self._store.open()
        if set_up:
            await asyncio.gather(*(self._set_up(platform) for platform in self._platforms))
        else:
            for platform in self._platforms:
                await platform.load(self._store)
        await self.runtime.start()

    async def close(self, deadline_s: float = DRAIN_S) -> int:
        """Stops taking updates, finishes Turns, delivers; returns how many messages are left.

        Args:
            deadline_s: For all of this together.
        """
        await self.stop_listening()
        # The runtime spends its time twice: on Turns under way, then on deliveries.
        left = await self.runtime.stop(deadline_s / 2)
        await self._http.close()
        await self._store.close()  # if the runtime never started
        return left

    # -- platforms ----------------------------------------------------------------------------

    async def _set_up(self, platform: Platform) -> None:
        """Sets a platform up; one that is out of reach is tried again in the background."""
        try:
            await platform.setup(self._http, self._store, self._settings.public_url)
        except Unavailable as error:
            log.warning("%s; trying again", error)
            await platform.load(self._store)
            self._spawn(platform, self._set_up_later(platform))

    async def _set_up_later(self, platform: Platform) -> None:
        tries = 0
        while True:
            await self._clock.sleep(pause_s(tries))
            tries += 1
            try:
                await platform.setup(self._http, self._store, self._settings.public_url)
            except Unavailable as error:
                log.warning("%s; trying again", error)
            else:
                log.info("%s can be reached", platform.name)
                return

    def listen(self, platform: Platform, ended: Callable[[], None] | None = None) -> None:
        """Lets a platform hand its updates to the runtime from now on.

        Args:
            platform: Which one.
            ended: Called if it has no more of them.
        """

        async def sink(body: bytes) -> None:
            await self.runtime.receive(platform, body)

        async def listen() -> None:
            await platform.listen(sink, self._http, self._store)
            if ended is not None:
                ended()

        self._spawn(platform, listen())

    async def stop_listening(self) -> None:
        """Takes no more updates from connections of ours. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, platform: Platform, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(platform, done))

    def _done(self, platform: Platform, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if isinstance(error, ConfigError):
            self._refused.add(platform)
            if len(self._refused) < len(self._platforms):
                log.error("%s stops, the other platforms go on: %s", platform.name, error)
                return
        self._failed(error)


__all__ = ["DRAIN_S", "Process"]
