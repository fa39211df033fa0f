"""Counts what only the store and the broker know: now and then, in one process of a cluster at a time.

No row is counted that waits in peace: a million conversations at rest cost nothing here. What needs an
operator (dead messages, failed conversations) is counted up to MOST, which then stands for "that many or
more".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from legato.abc import Clock, Queue, Store
from legato.deploy.measures import Sample
from legato.errors import LegatoError
from legato.model.records import DEAD, FAILED, HELD, RUNNING, UNKNOWN

MOST = 1000
DEPTHS_S = 5.0
"""Between looks at the queues."""
COUNTS_S = 30.0
"""Between counts in the store."""
STALE = 3
"""So many looks late, a number is not shown any more: it would hide that nobody looks."""

Ours = Callable[[], Awaitable[bool]]
"""Whether this process is the one that counts, for the next few looks."""
Generations = Callable[[], Awaitable[list[tuple[int, int]]]]
"""The generations of queues in use: (generation, shards)."""

log: logging.Logger = logging.getLogger("legato.census")


class Census:
    """Counts by loops of its own; `samples` gives what they found last.

    Args:
        store: Is asked for what needs an operator.
        clock: Time.
        ours: Asked before each look; None: it is always this process.
        queue, generations: Where letters wait; None: there is no queue.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        ours: Ours | None = None,
        queue: Queue | None = None,
        generations: Generations | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ours = ours
        self._queue = queue
        self._generations = generations
        self._counts: tuple[float, list[Sample]] = (0.0, [])
        self._depths: tuple[float, list[Sample]] = (0.0, [])

    async def run(self) -> None:
        """Counts until it is cancelled."""
        loops = [self._every(COUNTS_S, self.count)]
        if self._queue is not None and self._generations is not None:
            loops.append(self._every(DEPTHS_S, self.look))
        await asyncio.gather(*loops)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            pause_s = seconds
            try:
                if self._ours is None or await self._ours():
                    await work()
                else:
                    pause_s = min(seconds, DEPTHS_S)  # whoever counted may be gone
            except LegatoError as error:
                log.debug("not counted: %s", error)
            except Exception:
                log.exception("a census failed")
            await self._clock.sleep(pause_s)

    async def count(self) -> None:
        """Counts in the store.

        Raises:
            StoreError: It cannot be read now.
        """
        found = []
        for state in (DEAD, UNKNOWN):
            items = await self._store.outbox(states=(state,), limit=MOST)
            found.append(Sample("legato_outbox_items", len(items), (state,)))
        for status in (RUNNING, FAILED, HELD):
            rows = await self._store.find(status=status, limit=MOST)
            found.append(Sample("legato_conversations", len(rows), (status,)))
        self._counts = self._clock.monotonic(), found

    async def look(self) -> None:
        """Looks how full the queues are.

        Raises:
            Unavailable, StoreError: The broker or the store is away.
        """
        assert self._queue is not None
        assert self._generations is not None
        found = []
        for generation, shards in await self._generations():
            for shard, depth in enumerate(await self._queue.depths(generation, shards)):
                labels = (str(generation), str(shard))
                found.append(Sample("legato_queue_depth", depth.ready, labels))
                found.append(Sample("legato_queue_consumers", depth.consumers, labels))
        self._depths = self._clock.monotonic(), found

    def samples(self) -> Iterator[Sample]:
        """What was found last, unless that is long ago."""
        now = self._clock.monotonic()
        for every_s, (at, found) in ((COUNTS_S, self._counts), (DEPTHS_S, self._depths)):
            if now - at <= every_s * STALE:
                yield from found


__all__ = ["COUNTS_S", "DEPTHS_S", "MOST", "Census"]
