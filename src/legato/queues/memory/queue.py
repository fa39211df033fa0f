"""The connection of one "process" to the broker in memory, and what it is handed there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from legato.abc.queue import Consumer, Delivery, Depth, Letter, Queue, Take
from legato.errors import Unavailable
from legato.model.shards import slots_of
from legato.queues.memory.broker import Held, Line, MemoryBroker


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
        self._consumers: list[MemoryConsumer] = []
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
        consumer = MemoryConsumer(self, self.broker.line(self.app, generation, shard), take)
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

    def forget(self, consumer: MemoryConsumer) -> None:
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


class MemoryConsumer(Consumer):
    """A subscription. `lives` counts its connections: acks of an earlier one do nothing."""

    __slots__ = ("_attached", "_line", "_queue", "_stopped", "_take", "lives", "unacked")

    def __init__(self, queue: MemoryQueue, line: Line, take: Take) -> None:
        self.unacked: dict[int, Held] = {}
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

    def give(self, held: Held) -> None:
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

    def __init__(self, consumer: MemoryConsumer, held: Held) -> None:
        self.letter = held.letter
        self.redelivered = held.redelivered
        self._consumer = consumer
        self._order = held.order
        self._life = consumer.lives

    def ack(self) -> None:
        self._consumer.ack(self._order, self._life)


__all__ = ["MemoryConsumer", "MemoryQueue"]
