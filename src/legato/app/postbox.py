"""Events that are acknowledged before their Turns are over: they lie in the store's mailbox meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence

from legato.abc import Clock, Store
from legato.app.dispatch import Dispatcher
from legato.app.knobs import FIRST_PAUSE_S, LONGEST_PAUSE_S
from legato.app.lanes import Lanes
from legato.app.tasks import Task, Tasks
from legato.engine import journal
from legato.engine.turns import Outcome
from legato.errors import StoreError, Unavailable
from legato.model.events import AnyEvent
from legato.model.records import Commit, Mail

log: logging.Logger = logging.getLogger("legato.runtime")

BYTES_AT_ONCE = 1_000_000
"""Of mail in one commit: what any store takes."""


class Postbox:
    """Puts events into the mailboxes of their lanes, and sees them through.

    Attributes:
        in_hand: Ids of events in a mailbox that this process is working on.
    """

    __slots__ = ("_clock", "_dispatcher", "_lanes", "_store", "_tasks", "in_hand")

    def __init__(
        self, store: Store, clock: Clock, dispatcher: Dispatcher, lanes: Lanes, tasks: Tasks
    ) -> None:
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._lanes = lanes
        self._tasks = tasks
        self.in_hand: set[str] = set()

    def bundles(self, events: Sequence[AnyEvent]) -> list[list[AnyEvent]]:
        """Events, in order, in bundles that the store takes at once."""
        return bundled(events, self._store.mail_at_once)

    async def deposit(self, events: Sequence[AnyEvent]) -> None:
        """Keeps a bundle of events, in order. Those that are known already are ignored.

        Raises:
            StoreError: None of them is kept.
        """
        lane = self._dispatcher.router.lane
        mails = tuple(Mail(event.id, lane(event), journal.encode(event)) for event in events)
        await self._store.commit(Commit(at_ms=self._clock.now_ms(), deposit=mails))

    async def take(self, late: Sequence[tuple[AnyEvent, Task]]) -> None:
        """Keeps events whose Turns take long, and sees to it that they come to an end: no platform
        repeats them once this returns.

        If it raises, or the process dies in the middle, the first ones are kept. Then the platform repeats all of
        them, and what is kept is known: each counts once, in its place.

        Raises:
            StoreError: Some of them are not kept.
        """
        for event, task in late:
            task.set_name(self._name(event))
        start = 0
        for events in self.bundles([event for event, _ in late]):
            end = start + len(events)
            await self._take(late[start:end])
            start = end

    async def _take(self, late: Sequence[tuple[AnyEvent, Task]]) -> None:
        self.in_hand.update(event.id for event, _ in late)
        try:
            await self.deposit([event for event, _ in late])
        except BaseException:
            self.in_hand.difference_update(event.id for event, _ in late)
            raise
        for event, task in late:
            self._tasks.spawn(self._see_through(event, task)).set_name(self._name(event))

    def _name(self, event: AnyEvent) -> str:
        """What is worked on, for people."""
        return f"{self._dispatcher.router.lane(event)} (update {event.id})"

    async def _see_through(self, event: AnyEvent, work: Awaitable[Outcome]) -> None:
        lane = self._dispatcher.router.lane(event)
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                try:
                    if not (await work).taken:
                        await self._lanes.run(lane, lambda: self._dispatcher.apply_mail(event))
                except (StoreError, Unavailable) as error:
                    log.warning("update %s is tried again in %g s: %s", event.id, pause_s, error)
                else:
                    return
                await self._clock.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                work = self._lanes.run(lane, lambda: self._dispatcher.dispatch(event))
        finally:
            self.in_hand.discard(event.id)


def bundled(events: Sequence[AnyEvent], most: int) -> list[list[AnyEvent]]:
    """Events, in order, in bundles of so many at most, and of BYTES_AT_ONCE unless it is a single one."""
    bundles: list[list[AnyEvent]] = []
    size = 0
    for event in events:
        length = len(journal.encode(event))
        size += length
        if not bundles or len(bundles[-1]) == most or size > BYTES_AT_ONCE:
            bundles.append([])
            size = length
        bundles[-1].append(event)
    return bundles


__all__ = ["Postbox", "bundled"]
