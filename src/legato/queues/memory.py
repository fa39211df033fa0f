"""A queue in memory, for tests and simulations: several "processes" of one loop share one broker.

It behaves as RabbitMQ does where that matters: one active consumer a queue, prefetch, what was not
acknowledged comes back in its old place and marked, acks of a dead connection do nothing. Deliveries
are made from the event loop, one queue after another, so a simulated loop chooses how they interleave.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from legato.abc.queue import Consumer, Delivery, Depth, Letter, Queue, Take
from legato.errors import Unavailable
from legato.model.shards import SLOTS, slots_of

Meddle = Callable[[Sequence[Letter]], tuple[Sequence[Letter], bool]]
"""What becomes of one publish: the letters that are stored of it, and whether that is confirmed."""


class _Held(Struct):
    """A letter in a queue. `order` counts all letters of the broker."""

    order: int
    letter: Letter
    redelivered: bool = False


class _Line:
    """One queue: what waits in it, and who would like to have it; the first of them gets it."""

    __slots__ = ("consumers", "pumping", "ready")

    def __init__(self) -> None:
        self.ready: deque[_Held] = deque()
        self.consumers: list[_MemoryConsumer] = []
        self.pumping: bool = False

    def pump(self) -> None:
        """Delivers soon what can be delivered."""
        if not self.pumping:
            self.pumping = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def leave(self, consumer: _MemoryConsumer) -> None:
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
        self._lines: dict[tuple[str, int, int], _Line] = {}
        self._bound: dict[tuple[str, int], list[_Line]] = {}
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

    def put(self, line: _Line, letter: Letter) -> None:
        """Puts a letter at the end of one queue."""
        self._order += 1
        line.ready.append(_Held(self._order, letter))
        line.pump()

    def line(self, app: str, generation: int, shard: int) -> _Line:
        """A queue; Unavailable if it is not declared."""
        self.check()
        found = self._lines.get((app, generation, shard))
        if found is None:
            raise Unavailable(f"the queue legato.{app}.{generation}.{shard} is not declared")
        return found

    def declare(self, app: str, generation: int, shard: int) -> None:
        """Makes a queue, if it is missing."""
        self._lines.setdefault((app, generation, shard), _Line())

    def depth(self, app: str, generation: int, shard: int) -> Depth:
        """How full a queue is; one that is not declared is empty."""
        line = self._lines.get((app, generation, shard), _Line())
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

    def bind(self, app: str, slot: int, line: _Line) -> None:
        """Letters of a slot go to this queue, too."""
        lines = self._bound.setdefault((app, slot), [])
        if line not in lines:
            lines.append(line)

    def unbind(self, app: str, slot: int, line: _Line | None) -> None:
        """They go there no longer."""
        self._bound[app, slot] = [one for one in self._bound.get((app, slot), []) if one != line]


class MemoryQueue(Queue):
    """The connection of one process to a MemoryBroker.

    Args:
        broker: Shared by all "processes" of a test.
        app: Queues and routing of one app are not seen by another.
        prefetch: So many letters of a queue are handed out ahead of their acks.
        timeout_s: So long a publish waits for its confirm.
    """

    __slots__ = ("_consumers", "_dead", "_open", "app", "broker", "prefetch", "timeout_s")

    def __init__(
        self,
        broker: MemoryBroker | None = None,
        app: str = "bot",
        *,
        prefetch: int = 200,
        timeout_s: float = 1.8,
    ) -> None:
        self.broker: MemoryBroker = broker or MemoryBroker()
        self.app: str = app
        self.prefetch: int = prefetch
        self.timeout_s: float = timeout_s
        self._consumers: list[_MemoryConsumer] = []
        self._open = False
        self._dead = False

    # -- faults -------------------------------------------------------------------------------

    def die(self) -> None:
        """As SIGKILL of its process: consumers end, its letters go to others, it is of no more use."""
        self._dead = True
        self._end()

    def cut(self) -> None:
        """Its connection breaks and is there again: what it has not acknowledged comes again."""
        self.disconnect()
        self.reconnect()

    def disconnect(self) -> None:
        """Its connection breaks; nothing is delivered until `reconnect`."""
        for consumer in self._consumers:
            consumer.detach()

    def reconnect(self) -> None:
        """Its consumers subscribe again, behind those of others."""
        for consumer in self._consumers:
            consumer.attach()

    # -- Queue --------------------------------------------------------------------------------

    async def open(self) -> None:
        self._check_alive()
        self.broker.check()
        if not self._open:
            self._open = True
            self.broker.queues.append(self)

    async def close(self) -> None:
        self._end()

    async def publish(self, letters: Sequence[Letter]) -> None:
        self._check()
        if not letters:
            return
        letters = tuple(letters)
        stored, confirmed = self.broker.meddle(letters) if self.broker.meddle else (letters, True)
        routed = await self.broker.accept(self, stored)
        self._check()
        if not confirmed:
            raise Unavailable("the connection broke before the broker's confirm came")
        if not routed:
            raise Unavailable("unroutable: no queue is bound to the letter's slot")

    async def consume(self, generation: int, shard: int, take: Take) -> Consumer:
        self._check()
        consumer = _MemoryConsumer(self, self.broker.line(self.app, generation, shard), take)
        self._consumers.append(consumer)
        consumer.attach()
        return consumer

    async def declare(self, generation: int, shards: int) -> None:
        self._check()
        for shard in range(shards):
            self.broker.declare(self.app, generation, shard)
        if not self.broker.routes(self.app):
            self._bind(generation, shards)

    async def route(self, generation: int, shards: int, old: tuple[int, int] | None = None) -> None:
        self._check()
        self._bind(generation, shards)
        if old is None:
            return
        await asyncio.sleep(0)  # between the two a letter goes to both
        self._check()
        for shard in range(old[1]):
            line = self.broker.line(self.app, old[0], shard)
            for slot in slots_of(shard, old[1]):
                self.broker.unbind(self.app, slot, line)

    async def end(self, generation: int, shards: int) -> None:
        self._check()
        for shard in range(shards):
            line = self.broker.line(self.app, generation, shard)
            self.broker.put(line, Letter(f"end:{generation}:{shard}", shard, b"", "end"))

    async def drop(self, generation: int, shards: int) -> None:
        for depth in await self.depths(generation, shards):
            if depth.ready or depth.consumers:
                raise Unavailable(f"the queue {depth.queue} is still in use")
        for shard in range(shards):
            self.broker.drop(self.app, generation, shard)

    async def depths(self, generation: int, shards: int) -> list[Depth]:
        self._check()
        return [self.broker.depth(self.app, generation, shard) for shard in range(shards)]

    # -- inside -------------------------------------------------------------------------------

    def forget(self, consumer: _MemoryConsumer) -> None:
        """A consumer was closed."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def _bind(self, generation: int, shards: int) -> None:
        for shard in range(shards):
            line = self.broker.line(self.app, generation, shard)
            for slot in slots_of(shard, shards):
                self.broker.bind(self.app, slot, line)

    def _end(self) -> None:
        self.disconnect()
        self._consumers = []
        if self._open:
            self._open = False
            self.broker.queues.remove(self)

    def _check_alive(self) -> None:
        if self._dead:
            raise Unavailable("the process of this queue is dead")

    def _check(self) -> None:
        self._check_alive()
        if not self._open:
            raise Unavailable("the queue is closed")
        self.broker.check()


class _MemoryConsumer(Consumer):
    """A subscription. `lives` counts its connections: acks of an earlier one do nothing."""

    __slots__ = ("_attached", "_line", "_queue", "_stopped", "_take", "lives", "unacked")

    def __init__(self, queue: MemoryQueue, line: _Line, take: Take) -> None:
        self.unacked: dict[int, _Held] = {}
        self.lives: int = 0
        self._queue = queue
        self._line = line
        self._take = take
        self._attached = False
        self._stopped = False

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        self._stopped = True
        self.detach()
        self._queue.forget(self)

    def attach(self) -> None:
        """Subscribes, behind others."""
        if not self._attached and not self._stopped:
            self._attached = True
            self._line.consumers.append(self)
            self._line.pump()

    def detach(self) -> None:
        """The connection is gone."""
        self.lives += 1
        self._attached = False
        self._line.leave(self)

    def wants(self) -> bool:
        """Whether it takes one more."""
        return not self._stopped and len(self.unacked) < self._queue.prefetch

    def give(self, held: _Held) -> None:
        """Hands out one letter."""
        self.unacked[held.order] = held
        self._take(_MemoryDelivery(self, held))

    def ack(self, order: int, life: int) -> None:
        """The letter may be forgotten."""
        if life == self.lives and order in self.unacked:
            del self.unacked[order]
            self._line.pump()


class _MemoryDelivery(Delivery):
    __slots__ = ("_consumer", "_life", "_order")

    def __init__(self, consumer: _MemoryConsumer, held: _Held) -> None:
        self.letter = held.letter
        self.redelivered = held.redelivered
        self._consumer = consumer
        self._order = held.order
        self._life = consumer.lives

    def ack(self) -> None:
        self._consumer.ack(self._order, self._life)


__all__ = ["Meddle", "MemoryBroker", "MemoryQueue"]
