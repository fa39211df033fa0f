"""Takes up what an earlier process left behind: interrupted Turns, and mail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from legato.abc import Clock, Store
from legato.app.dispatch import Dispatcher
from legato.app.knobs import FIRST_PAUSE_S, LONGEST_PAUSE_S
from legato.app.lanes import Lanes
from legato.errors import StoreError, Unavailable
from legato.model.events import Address, AnyEvent
from legato.model.records import RUNNING, Conversation, Mail

log: logging.Logger = logging.getLogger("legato.runtime")

_event = msgspec.json.Decoder(AnyEvent)
PAGE = 500

Task = asyncio.Task[Any]


class Leftovers:
    """Invariant: what was left in a lane has its place there before anything that comes later.

    Args:
        store, clock: Where it lies, and how to wait.
        dispatcher, lanes: Who applies it, and in which order.
        ours: Whether this process runs the bot of a place.
        wake: Finishes the interrupted Turn of one conversation.
        spawn: Starts a task that the runtime knows of.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher,
        lanes: Lanes,
        *,
        ours: Callable[[Address], bool],
        wake: Callable[[Conversation], Awaitable[None]],
        spawn: Callable[[Awaitable[None]], Task],
    ) -> None:
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._lanes = lanes
        self._ours = ours
        self._wake = wake
        self._spawn = spawn

    async def take_up(self, patience_s: float | None) -> None:
        """Finishes interrupted Turns and applies mail, each conversation by itself.

        Args:
            patience_s: What takes longer (a slow step) goes on in the background: it holds up no
                other conversation. None waits for all of it.

        Raises:
            StoreError: The store cannot be read.
        """
        after = ""
        while rows := await self._store.find(status=RUNNING, after=after, limit=PAGE):
            await _over([self._spawn(self._wake(row)) for row in rows], patience_s)
            after = rows[-1].key
        last = ""
        while mails := await self._store.mail(after=last, limit=PAGE):
            last = mails[-1].id
            read = [(mail, _event.decode(mail.payload)) for mail in mails]
            ours = [(mail, event) for mail, event in read if self._ours(event.place)]
            await _over([self._spawn(self._apply(*letter)) for letter in ours], patience_s)

    async def _apply(self, mail: Mail, event: AnyEvent) -> None:
        """Applies one piece of mail. No platform repeats it, so it is tried until the store can."""
        lane = self._dispatcher.router.lane(event)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._lanes.run(lane, lambda: self._if_wanted(mail, event))
            except (StoreError, Unavailable) as error:
                log.warning("update %s is tried again in %g s: %s", event.id, pause_s, error)
            else:
                return
            await self._clock.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _if_wanted(self, mail: Mail, event: AnyEvent) -> None:
        if await self._dispatcher.wanted(mail, event):
            await self._dispatcher.apply_mail(event)


async def _over(tasks: list[Task], patience_s: float | None) -> None:
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=patience_s)
        for task in done:
            task.result()
