"""Holds the connections of a bot's platforms in a gateway's place: one process each at a time.

won the connection -> setup -> listen: raw update -> carrier (queue or webhook) -> the platform moves on
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from legato.abc import HttpClient, Platform, Store
from legato.deploy.carrying import Carrier
from legato.deploy.election import Election, Term, TermHttp
from legato.errors import ConfigError, StoreError, Unavailable

log: logging.Logger = logging.getLogger("legato.listen")

STANDBY, HELD, ENDED = "standby", "held", "ended"


class Listener:
    """The connections of one bot's platforms, as far as this process holds them.

    Args:
        name: Of the App.
        platforms: Those that need a connection of ours; loaded.
        election: Decides who holds which one.
        carrier: Takes the updates; open.
        store: Where the platforms keep what they need (accounts, secrets).
        http: What platforms send with.
        public_url: Where webhooks come to, "" if they do not.
        failed: Called when the last platform refuses us (a token that was revoked), or on a bug.

    Attributes:
        states: By platform: STANDBY, HELD or ENDED.
        updates: How many were taken and are safe.
        refused: How often one was not taken, and is offered again.
    """

    def __init__(
        self,
        name: str,
        platforms: Sequence[Platform],
        election: Election,
        *,
        carrier: Carrier,
        store: Store,
        http: HttpClient,
        public_url: str,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._name = name
        self._platforms = platforms
        self._election = election
        self._carrier = carrier
        self._store = store
        self._http = http
        self._public_url = public_url
        self._failed = failed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.states: dict[str, str] = {platform.name: STANDBY for platform in platforms}
        self.updates: int = 0
        self.refused: int = 0

    def start(self) -> None:
        """Contends for every connection from now on."""
        for platform in self._platforms:
            task = asyncio.create_task(self._contend(platform))
            self._tasks[platform.name] = task
            task.add_done_callback(partial(self._done, platform.name))

    async def close(self) -> None:
        """Gives every connection up; what was read and is not safe yet is carried on first, as far
        as a platform would not repeat it. Idempotent.
        """
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one connection -----------------------------------------------------------------------

    async def _contend(self, platform: Platform) -> None:
        name = f"listen:{self._name}:{platform.name}:{platform.bot}"
        await self._election.serve(name, partial(self._hold, platform))

    async def _hold(self, platform: Platform, term: Term) -> None:
        """Listens until the term is over."""
        http = TermHttp(self._http, term)
        self.states[platform.name] = HELD
        try:
            await platform.setup(http, self._store, self._public_url)
            log.info("%s bot %s: %s", platform.name, platform.bot, platform.way(self._public_url))
            await platform.listen(partial(self._take, platform, term), http, self._store)
        finally:
            self.states[platform.name] = STANDBY

    async def _take(self, platform: Platform, term: Term, body: bytes) -> None:
        """The platform's sink.

        Raises:
            Unavailable: The update is not safe: it is to be offered again.
        """
        try:
            if not term.good:
                # Whoever holds the connection now gets it from the platform, and in order.
                raise Unavailable("another process holds this connection now")
            await self._carrier.carry(platform, body)
        except Unavailable:
            self.refused += 1
            raise
        try:
            await platform.remember(self._store)
        except StoreError as error:
            log.debug("%s could not keep what it learned: %s", platform.name, error)
        self.updates += 1

    # -- the end of one -----------------------------------------------------------------------

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        self.states[name] = ENDED
        error = task.exception()
        if error is None:
            log.info("%s has nothing to listen to", name)
        elif isinstance(error, ConfigError) and set(self.states.values()) != {ENDED}:
            log.error("%s stops, the other platforms go on: %s", name, error)
        else:
            self._failed(error)


__all__ = ["ENDED", "HELD", "STANDBY", "Listener"]
