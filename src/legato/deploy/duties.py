"""What a worker does with the parts of the work that it has: their timers, deliveries and queues."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from legato.abc import Clock, Consumer, Queue
from legato.app.actors import Actors, Source
from legato.app.knobs import FIRST_PAUSE_S, LONGEST_PAUSE_S
from legato.app.membership import Unit
from legato.app.runtime import Runtime
from legato.app.share import Part
from legato.app.tasks import Task, cancelled
from legato.deploy.topology import Layout, Topology
from legato.errors import StoreError, Unavailable
from legato.model.ordered import Ordered
from legato.model.shards import slots_of

log: logging.Logger = logging.getLogger("legato.worker")

Name = tuple[int, int]
"""(generation, shard) of a queue."""


class Duties:
    """See `legato.app.membership.Duties`. Belongs to one event loop.

    Args:
        runtime: Works on events and timers, and delivers.
        share: Of the runtime.
        queue, topology: Where letters come from, and in which queues they are now.
        drain_s: How long what is in hand of a part may take when it goes to another worker.
        told: Hears of each layout of the queues, before it is followed.

    Attributes:
        actors: Work on letters.
        consumers: Subscriptions, by the queue's name.
    """

    def __init__(
        self,
        runtime: Runtime,
        share: Part,
        queue: Queue,
        topology: Topology,
        *,
        drain_s: float,
        told: Callable[[Layout], None] = lambda layout: None,
    ) -> None:
        self._runtime = runtime
        self._share = share
        self._queue = queue
        self._topology = topology
        self._clock: Clock = runtime.clock
        self._drain_s = drain_s
        self._told = told
        self._layout: Layout | None = None
        self._units: set[Unit] = set()
        self._tasks: Ordered[Task] = Ordered()
        self._changing = asyncio.Lock()
        self.consumers: dict[Name, Consumer] = {}
        self.actors: Actors = Actors(runtime, self._ended)

    async def units(self) -> int:
        layout = await self._topology.layout()
        if layout is None:
            layout = await self._topology.ensure()
        changed = layout != self._layout
        self._layout = layout
        if changed:
            self._told(layout)
            self._spawn(self._follow())
        elif layout.is_drained:
            self._spawn(self._clean_up())
        return layout.units

    # -- taking up --------------------------------------------------------------------------------

    async def begin(self, units: Sequence[Unit]) -> None:
        slots = _slots(units)
        self._share.gain(slots)
        await self._until_done(lambda: self._runtime.gain(slots))
        self._units.update(units)
        await self._subscribe()

    async def _subscribe(self) -> None:
        await self._until_done(self._subscribe_once)

    async def _subscribe_once(self) -> None:
        """Consumes the queues of our units, and no others."""
        async with self._changing:
            layout = self._layout
            if layout is None:
                return
            wanted = [
                name
                for number, count in self._units
                if count == layout.units
                for name in layout.queues(number)
            ]
            for name in self.consumers.keys() - set(wanted):
                await self._close(name)
            for name in wanted:
                if name in self.consumers or not self._has(name, layout):
                    continue
                consumer = await self._queue.consume(*name, self.actors.taker(Source(*name)))
                if self._has(name, layout):
                    self.consumers[name] = consumer
                else:
                    await consumer.close()

    def _has(self, name: Name, layout: Layout) -> bool:
        """Whether the unit of a queue is still ours: it may be given up at any await."""
        return (name[1] % layout.units, layout.units) in self._units

    async def _close(self, name: Name) -> None:
        consumer = self.consumers.pop(name, None)
        if consumer is not None:
            await consumer.close()

    # -- giving up --------------------------------------------------------------------------------

    async def finish(self, unit: Unit) -> None:
        slots = _slots([unit])
        self._share.leave(slots)
        self._units.discard(unit)
        mine = [name for name in self.consumers if self._is_of(name, unit)]
        for consumer in [self.consumers[name] for name in mine]:
            await consumer.stop()
        if not await self.actors.drained(slots, self._drain_s):
            log.info("shard %d of %d goes to another worker with work in hand", *unit)
        await self._runtime.relay.emptied(slots, self._drain_s)
        for name in mine:
            await self._close(name)
        self._let_go(slots)
        # A send that is under way would be repeated by whoever comes next, if it is not marked before.
        await self._runtime.relay.emptied(slots, self._drain_s)

    def stop(self, units: Collection[Unit]) -> None:
        slots = _slots(units)
        self._units.difference_update(units)
        self._let_go(slots)
        for name in list(self.consumers):
            if any(self._is_of(name, unit) for unit in units):
                self._spawn(self.consumers.pop(name).close())

    def _let_go(self, slots: Collection[int]) -> None:
        self._share.lose(slots)
        self.actors.lose(slots)
        self._runtime.lose(slots)

    @staticmethod
    def _is_of(name: Name, unit: Unit) -> bool:
        return name[1] % unit[1] == unit[0]

    # -- queues that move -------------------------------------------------------------------------

    async def _ended(self, generation: int, shard: int) -> object:
        """The end of an old queue was met: nothing older is left of its slots."""
        self._layout = await self._topology.drained(generation, shard)
        self._spawn(self._follow())
        return None

    async def _follow(self) -> None:
        """The layout has changed: other queues may be consumed now."""
        await self._subscribe()
        await self._clean_up()

    async def _clean_up(self) -> None:
        layout = self._layout
        if layout is None or not layout.is_drained:
            return
        try:
            await self._topology.cleanup()
        except (StoreError, Unavailable) as error:
            log.info("old queues are not gone yet: %s", error)

    # -- its tasks --------------------------------------------------------------------------------

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does something that store or broker may refuse for a while."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await work()
            except (StoreError, Unavailable) as error:
                log.warning("%s; trying again in %g s", error, pause_s)
            else:
                return
            await self._clock.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def _spawn(self, work: Awaitable[None]) -> None:
        task: Task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: Task) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StoreError | Unavailable):
            log.error("a worker's queues could not be followed", exc_info=error)

    async def close(self) -> None:
        """Lets go of everything."""
        await cancelled([*self._tasks])
        for consumer in self.consumers.values():
            await consumer.close()
        self.consumers.clear()
        await self.actors.close()


def _slots(units: Collection[Unit]) -> frozenset[int]:
    return frozenset(slot for number, count in units for slot in slots_of(number, count))


__all__ = ["Duties"]
