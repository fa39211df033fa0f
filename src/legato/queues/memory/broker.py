"""A queue in memory, for tests and simulations: several "processes" of one loop share one broker.

It behaves as RabbitMQ does where that matters: one active consumer a queue, prefetch, what was not
acknowledged comes back in its old place and marked, acks of a dead connection do nothing. Deliveries
are made from the event loop, one queue after another, so a simulated loop chooses how they interleave.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from legato.abc.queue import Depth, Letter
from legato.errors import Unavailable
from legato.model.shards import SLOTS

if TYPE_CHECKING:
    from legato.queues.memory.queue import MemoryConsumer, MemoryQueue

Meddle = Callable[[Sequence[Letter]], tuple[Sequence[Letter], bool]]
"""What becomes of one publish: the letters that are stored of it, and whether that is confirmed."""


class Held(Struct):
    """A letter in a queue. `order` counts all letters of the broker."""

    order: int
    letter: Letter
    redelivered: bool = False


class Line:
    """One queue: what waits in it, and who would like to have it; the first of them gets it."""

    __slots__ = ("consumers", "pumping", "ready")

    def __init__(self) -> None:
        self.ready: deque[Held] = deque()
        self.consumers: list[MemoryConsumer] = []
        self.pumping: bool = False

    def pump(self) -> None:
        """Delivers soon what can be delivered."""
        if not self.pumping:
            self.pumping = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def leave(self, consumer: MemoryConsumer) -> None:
        """What the consumer has not acknowledged goes back to its old place, marked."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)
        for held in consumer.unacked.values():
            held.redelivered = True
        # There is one consumer at a time, so all that it had stood before all that waits.
        self.ready.extendleft(reversed(consumer.unacked.values()))
        consumer.unacked = {}
        self.pump()

    def _deliver(self) -> None:
        self.pumping = False
        if self.consumers and self.consumers[0].wants() and self.ready:
            held = self.ready.popleft()
            self.pump()
            self.consumers[0].give(held)


class MemoryBroker:
    """What a broker keeps, and the faults that it can be told to have.

    Attributes:
        meddle: Called with the letters of each publish, if set: what it returns happens to them.
            `lambda letters: (letters, False)` loses the confirm, `lambda letters: ((), False)` the
            letters, `lambda letters: ([*letters, *letters], True)` stores them twice.
    """

    def __init__(self) -> None:
        self.meddle: Meddle | None = None
        self.queues: list[MemoryQueue] = []
        self._lines: dict[tuple[str, int, int], Line] = {}
        self._bound: dict[tuple[str, int], list[Line]] = {}
        self._order = 0
        self._blocked = False
        self._down = False
        self._stuck: list[tuple[MemoryQueue, Sequence[Letter], asyncio.Future[bool]]] = []

    # -- faults -------------------------------------------------------------------------------

    def block(self) -> None:
        """As a memory alarm does: publishes are not read any more. Consumers go on."""
        self._blocked = True

    def unblock(self) -> None:
        """Reads on. What was published meanwhile is stored now, though nobody waits for it."""
        self._blocked = False
        stuck, self._stuck = self._stuck, []
        for queue, letters, routed in stuck:
            found = self.store(queue, letters)
            if not routed.done():
                routed.set_result(found)

    def stop(self) -> None:
        """Away: every connection breaks, every call raises Unavailable. The letters are kept."""
        self._down = True
        for queue in self.queues:
            queue.disconnect()

    def start(self) -> None:
        """There again: consumers subscribe again, in the order in which they came."""
        self._down = False
        for queue in self.queues:
            queue.reconnect()

    # -- what queues call ---------------------------------------------------------------------

    def check(self) -> None:
        """Raises Unavailable while the broker is away."""
        if self._down:
            raise Unavailable("the broker is out of reach")

    async def accept(self, queue: MemoryQueue, letters: Sequence[Letter]) -> bool:
        """Stores letters, and later confirms that; False: one of them has no queue to go to."""
        if not self._blocked:
            routed = self.store(queue, letters)
            await asyncio.sleep(0)  # the way to the broker and back
            return routed
        if any(known is queue for known, _, _ in self._stuck):
            raise Unavailable("the broker blocks publishers: it is short of memory or disk")
        # The first publish of each publisher learns it only by waiting.
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._stuck.append((queue, letters, waiting))
        try:
            async with asyncio.timeout(queue.timeout_s):
                return await waiting
        except TimeoutError:
            raise Unavailable("the broker did not confirm in time") from None

    def store(self, queue: MemoryQueue, letters: Sequence[Letter]) -> bool:
        """Puts letters into the queues that their slots are bound to; False: one has none."""
        routed = True
        for letter in letters:
            lines = self._bound.get((queue.app, letter.slot), [])
            routed = routed and bool(lines)
            for line in lines:
                self.put(line, letter)
        return routed

    def put(self, line: Line, letter: Letter) -> None:
        """Puts a letter at the end of one queue."""
        self._order += 1
        line.ready.append(Held(self._order, letter))
        line.pump()

    def line(self, app: str, generation: int, shard: int) -> Line:
        """A queue; Unavailable if it is not declared."""
        self.check()
        found = self._lines.get((app, generation, shard))
        if found is None:
            raise Unavailable(f"the queue legato.{app}.{generation}.{shard} is not declared")
        return found

    def declare(self, app: str, generation: int, shard: int) -> None:
        """Makes a queue, if it is missing."""
        self._lines.setdefault((app, generation, shard), Line())

    def depth(self, app: str, generation: int, shard: int) -> Depth:
        """How full a queue is; one that is not declared is empty."""
        line = self._lines.get((app, generation, shard), Line())
        name = f"legato.{app}.{generation}.{shard}"
        return Depth(name, len(line.ready), len(line.consumers))

    def drop(self, app: str, generation: int, shard: int) -> None:
        """Deletes a queue with its bindings."""
        gone = self._lines.pop((app, generation, shard), None)
        for slot in range(SLOTS):
            self.unbind(app, slot, gone)

    def routes(self, app: str) -> bool:
        """Whether any slot is bound."""
        return any(self._bound.get((app, slot)) for slot in range(SLOTS))

    def bind(self, app: str, slot: int, line: Line) -> None:
        """Letters of a slot go to this queue, too."""
        lines = self._bound.setdefault((app, slot), [])
        if line not in lines:
            lines.append(line)

    def unbind(self, app: str, slot: int, line: Line | None) -> None:
        """They go there no longer."""
        self._bound[app, slot] = [one for one in self._bound.get((app, slot), []) if one != line]
