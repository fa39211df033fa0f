"""Hands updates on to the sink: of each viewer in each channel in order, all viewers side by side."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from legato.abc import Clock, Sink
from legato.errors import Malformed, StoreUnavailable, Unavailable

log: logging.Logger = logging.getLogger("legato.twitch")

MOST = 5_000
"""Updates that wait (or are worked on) at most; while there are more, nothing is read."""
AT_ONCE = 256
"""Updates that are worked on at the same time. With all of them at once, one round of the event loop would
take seconds, and what else comes over the connection would be read as rarely."""
KNOWN = 10_000
"""Ids of updates remembered, so that two connections at once hand each on once."""
DRAIN_S = 2.0
"""How long what has come is handed on at the end."""
BACKOFF_S = 0.5
BACKOFF_LIMIT_S = 4.0
"""It waits for something of our own, and whoever wrote it waits, too."""


class Inbox:
    """The updates that have come and are not taken yet. Belongs to one event loop.

    Those of different viewers are offered in the order in which they came, but one that is offered
    again (the store was away) does not hold up the others.

    Args:
        sink: Takes them.
        clock: Time.

    Attributes:
        malformed: Unreadable ones that were passed over.
    """

    __slots__ = (
        "_clock",
        "_closing",
        "_failure",
        "_gate",
        "_known",
        "_lanes",
        "_lost",
        "_room",
        "_sink",
        "_tasks",
        "_waiting",
        "malformed",
    )

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._lanes: dict[str, deque[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[str, None] = {}
        self._waiting = 0
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._room = asyncio.Event()
        self._room.set()
        self._failure: BaseException | None = None
        self._closing = False
        self._lost = 0
        self.malformed: int = 0

    async def put(self, update_id: str, viewer: str, body: bytes) -> None:
        """Takes an update; returns at once unless too many wait.

        Args:
            update_id: One that was put before is passed over. "" is always new.
            viewer: Whose updates are in order.
            body: The update.

        Raises:
            BaseException: What the sink raised that is no matter of this update, an earlier time.
        """
        if update_id and update_id in self._known:
            return
        await self._room.wait()
        if self._failure is not None:
            raise self._failure
        if update_id:
            self._known[update_id] = None
            if len(self._known) > KNOWN:
                del self._known[next(iter(self._known))]
        self._waiting += 1
        if self._waiting >= MOST:
            self._room.clear()
        lane = self._lanes.get(viewer)
        if lane is not None:
            lane.append(body)
            return
        self._lanes[viewer] = deque((body,))
        task = asyncio.create_task(self._serve(viewer))
        self._tasks.add(task)
        task.add_done_callback(self._served)

    async def close(self) -> None:
        """Hands on what has come, since nobody would send it again, as far as the sink takes it at once
        and for a short time; then stops. Idempotent.
        """
        self._closing = True
        tasks = list(self._tasks)
        if tasks and self._failure is None:
            await asyncio.wait(tasks, timeout=DRAIN_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._lost:
            log.warning("%d messages of Twitch came and could not be taken", self._lost)
            self._lost = 0

    async def _serve(self, viewer: str) -> None:
        lane = self._lanes[viewer]
        try:
            while lane and await self._offer(lane[0]):
                lane.popleft()
                self._done(1)
        finally:
            self._lost += len(lane)
            self._done(len(lane))
            del self._lanes[viewer]

    def _done(self, count: int) -> None:
        self._waiting -= count
        if self._waiting < MOST:
            self._room.set()

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    async def _offer(self, body: bytes) -> bool:
        """Hands an update on; False: it was not taken, and there is no time to try again."""
        pause_s = BACKOFF_S
        while True:
            try:
                async with self._gate:
                    await self._sink(body)
            except Malformed as error:
                self.malformed += 1
                log.error("an update of Twitch cannot be read and is passed over: %s", error)  # noqa: TRY400
                return True
            except (Unavailable, StoreUnavailable) as error:
                if self._closing:
                    return False
                wait_s = max(pause_s, float(getattr(error, "retry_after_s", 0)))
                log.warning("an update of Twitch waits (%s), for %g s", error, wait_s)
                await self._clock.sleep(wait_s)
                pause_s = min(BACKOFF_LIMIT_S, pause_s * 2)
            else:
                return True
