"""How many shards a cluster has, and how that number changes while it runs.

The store remembers one Layout under ("queue", app). It changes by compare-and-swap: version n + 1 is
written by a commit that consumes the update id of that version, which only one can do. So any number of
processes may run any of this at once and die at any line: whoever calls `resize` again goes on from the
phase that is written.

A move from generation g to g + 1: declare the new queues; route every slot to them and no longer to the
old ones (a letter published meanwhile may be in both, and is found to be a duplicate); wait until
publishes that the broker routed before are in; put an end letter into each old queue; wait until workers
have met it everywhere. A new queue is consumed only when all old ones that could hold letters of its
slots are drained: that keeps each chat's order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct, json
from msgspec.structs import replace

from legato.abc import Clock, Store
from legato.abc.queue import Delivery, Queue
from legato.errors import ConfigError, StoreUnavailable, Unavailable
from legato.model.records import COMMITTED, Commit
from legato.model.shards import SHARDS, check_shards, slots_of

SPACE = "queue"
FOUND, DECLARE, ROUTE, END, DRAIN, STEADY = "found", "declare", "route", "end", "drain", "steady"
SETTLE_S = 3.0
"""Longer than a publisher waits for its confirm: what it published before is in the queue by then, or was
reported as failed, and is published again."""
POLL_S = 0.5
TRIES = 1000

log: logging.Logger = logging.getLogger("legato.topology")


class Layout(Struct, frozen=True, kw_only=True):
    """Which queues there are.

    Attributes:
        version: Counts the changes of this value.
        generation, shards: The newest generation of queues, and how many there are of it.
        phase: Of the move from `old`; "steady" if there is none, "found" before the first one is made.
        old: (generation, shards) that is being left.
        drained: Its shards whose end letter was met.
    """

    version: int
    generation: int
    shards: int
    phase: str = STEADY
    old: tuple[int, int] | None = None
    drained: tuple[int, ...] = ()

    @property
    def units(self) -> int:
        """How many parts the cluster's work falls into now: shard i of either generation lies wholly
        in part i % units, so whoever has a part has all queues of its slots. All of them are
        `slots_of(part, units)`.
        """
        return min(self.shards, self.old[1]) if self.old else self.shards

    @property
    def generations(self) -> list[tuple[int, int]]:
        """(generation, shards) of all queues there are, the older first."""
        return [*([self.old] if self.old else []), (self.generation, self.shards)]

    def queues(self, unit: int | None = None) -> list[tuple[int, int]]:
        """The (generation, shard) that may be consumed now: of one unit, or all."""
        if self.phase == FOUND:
            return []
        drained = set(self.drained)
        found: list[tuple[int, int]] = []
        if self.old:
            generation, shards = self.old
            found = [(generation, shard) for shard in range(shards) if shard not in drained]
        found += [
            (self.generation, shard)
            for shard in range(self.shards)
            if drained.issuperset(self.feeders(shard))
        ]
        return [q for q in found if unit is None or q[1] % self.units == unit]

    def feeders(self, shard: int) -> range:
        """The old shards that may hold letters of a new one's slots."""
        if self.old is None:
            return range(0)
        shards = self.old[1]
        return range(shard % shards, shards, self.shards)

    def slots(self, generation: int, shard: int) -> range:
        """The slots of one queue."""
        return slots_of(shard, dict(self.generations)[generation])

    @property
    def is_drained(self) -> bool:
        """Whether the old queues have been left by all."""
        return self.old is not None and len(self.drained) == self.old[1]


Told = Callable[[Layout], None]
"""Hears of a move's progress."""


class Topology:
    """The layout of one app's queues. The queue and the store are open as long as it is used.

    Args:
        store, queue, app: Whose.
        clock: Time.
        shards: How many there are if nothing is decided yet.
        settle_s: See SETTLE_S.

    Raises:
        ConfigError: There cannot be so many shards.
    """

    def __init__(
        self,
        store: Store,
        queue: Queue,
        app: str,
        clock: Clock,
        *,
        shards: int = SHARDS,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._store = store
        self._queue = queue
        self._app = app
        self._clock = clock
        self._shards = _checked(shards)
        self._settle_s = settle_s

    # -- reading ------------------------------------------------------------------------------

    async def layout(self) -> Layout | None:
        """What is decided; None before the first `ensure`. Raises StoreUnavailable."""
        value = await self._store.get(SPACE, self._app)
        return None if value is None else json.decode(value, type=Layout)

    async def ensure(self) -> Layout:
        """Decides on the first generation if nobody has, and makes what queues are missing. To be
        called at each process's start; any number may do so at once.

        Raises:
            Unavailable, StoreUnavailable: To be called again.
        """
        layout = await self.layout()
        if layout is None:
            first = Layout(version=1, generation=1, shards=self._shards, phase=FOUND)
            await self._write(first)
            layout = await self._known()
        # The generation that is routed to comes first: a broker that lost all of it routes to that.
        generations = layout.generations
        if layout.phase in (END, DRAIN):
            generations = generations[::-1]
        elif layout.phase == DECLARE:
            generations = generations[:1]
        for generation, shards in generations:
            await self._queue.declare(generation, shards)
        if layout.phase == FOUND:
            await self._queue.route(layout.generation, layout.shards)
            await self._advance(layout, STEADY)
            layout = await self._known()
        return layout

    # -- moving -------------------------------------------------------------------------------

    async def drained(self, generation: int, shard: int) -> Layout:
        """Says that the end letter of an old queue was met and all before it is dealt with: to be
        called before that is acknowledged. Idempotent.

        Raises:
            StoreUnavailable: To be called again.
        """
        for _ in range(TRIES):
            layout = await self._known()
            if layout.old is None or layout.old[0] != generation or shard in layout.drained:
                return layout
            drained = tuple(sorted((*layout.drained, shard)))
            after = replace(layout, drained=drained, version=layout.version + 1)
            if await self._write(after):
                return after
        raise StoreUnavailable("the layout of the queues changes too fast")

    async def resize(self, to: int, told: Told | None = None) -> Layout:
        """Moves to so many shards, and returns when the old queues are gone. It can be called again
        after a crash, while another call runs, and for another number: then one move follows the other.

        Args:
            to: How many, a power of two.
            told: Hears of each step, and twice a second while workers drain the old queues.

        Raises:
            ConfigError: There cannot be so many.
            Unavailable, StoreUnavailable: It stands where it was; to be called again.
        """
        _checked(to)
        await self.ensure()
        ended = False
        while True:
            layout = await self._known()
            if told is not None:
                told(layout)
            if layout.old is None and layout.shards == to:
                return layout
            try:
                await self._step(layout, to, again=not ended)
            except Unavailable:
                if (await self._known()).version == layout.version:
                    raise
            else:
                ended = ended or layout.phase in (END, DRAIN)

    async def _step(self, layout: Layout, to: int, *, again: bool) -> None:
        """One step of a move; `again` if this call has put no end letters yet."""
        queue, old = self._queue, layout.old
        if old is None:
            after = Layout(
                version=layout.version + 1,
                generation=layout.generation + 1,
                shards=to,
                phase=DECLARE,
                old=(layout.generation, layout.shards),
            )
            await self._write(after)
        elif layout.phase == DECLARE:
            await queue.declare(layout.generation, layout.shards)
            await self._advance(layout, ROUTE)
        elif layout.phase == ROUTE:
            await queue.route(layout.generation, layout.shards, old)
            await self._clock.sleep(self._settle_s)
            if not await self._advance(layout, END):
                await self._take_back(layout)
        elif layout.phase == END:
            await queue.end(*old)
            await self._advance(layout, DRAIN)
        elif not layout.is_drained:
            if again:  # whoever began may have died, and the broker may have lost all that it had
                await queue.end(*old)
            await self._clock.sleep(POLL_S)
        elif not await self.cleanup():
            await self._clock.sleep(POLL_S)

    async def cleanup(self) -> bool:
        """Deletes the old queues if all are drained and nobody consumes them any more; returns whether
        that is done now. What is left in them is published anew: end letters apart, that is what
        publishers were told is not safe. Idempotent.
        """
        layout = await self._known()
        if layout.old is None or not layout.is_drained:
            return False
        generation, shards = layout.old
        depths = await self._queue.depths(generation, shards)
        if any(depth.consumers for depth in depths):
            return False
        for shard, depth in enumerate(depths):
            if depth.ready:
                await self._forward(generation, shard)
        await self._queue.drop(generation, shards)
        after = replace(layout, phase=STEADY, old=None, drained=(), version=layout.version + 1)
        return await self._write(after)

    async def _forward(self, generation: int, shard: int) -> None:
        arrived: list[Delivery] = []
        consumer = await self._queue.consume(generation, shard, arrived.append)
        try:
            while (await self._queue.depths(generation, shard + 1))[shard].ready or arrived:
                taken, arrived[:] = list(arrived), []
                await self._queue.publish([d.letter for d in taken if d.letter.kind != "end"])
                for delivery in taken:
                    delivery.ack()
                await self._clock.sleep(0.05)
        finally:
            await consumer.close()

    async def _take_back(self, layout: Layout) -> None:
        """Somebody else went on while this one routed. If they are further than a whole move, letters
        would go to a generation that was left, too.
        """
        now = await self._known()
        if now.generation != layout.generation and now.phase != DECLARE:
            log.warning("another process has resized the queues meanwhile")
            await self._queue.route(now.generation, now.shards, (layout.generation, layout.shards))

    # -- writing ------------------------------------------------------------------------------

    async def _known(self) -> Layout:
        layout = await self.layout()
        if layout is None:
            raise ConfigError("the store knows of no queues: run `legato queue declare`")
        return layout

    async def _advance(self, layout: Layout, phase: str) -> bool:
        return await self._write(replace(layout, phase=phase, version=layout.version + 1))

    async def _write(self, layout: Layout) -> bool:
        """Writes the next version; False if somebody else has written one."""
        commit = Commit(
            at_ms=self._clock.now_ms(),
            update_id=f"{SPACE}:{self._app}:{layout.version}",
            puts=((SPACE, self._app, json.encode(layout)),),
        )
        return (await self._store.commit(commit)).result == COMMITTED


def _checked(shards: int) -> int:
    try:
        return check_shards(shards)
    except ValueError as error:
        raise ConfigError(str(error)) from None


__all__ = ["DECLARE", "DRAIN", "END", "FOUND", "ROUTE", "STEADY", "Layout", "Told", "Topology"]
