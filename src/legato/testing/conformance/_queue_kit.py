"""What the queue's conformance suite reads and writes with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import Any

from legato.abc.queue import Consumer, Delivery, Letter, Queue

DEADLINE_S = 60.0


def letter(slot: int, body: str = "x") -> Letter:
    """A letter of a slot; its body is its text."""
    return Letter(f"id:{slot}:{body}", slot, body.encode())


def bodies(letters: Iterable[Letter]) -> list[str]:
    """The texts of letters."""
    return [one.body.decode() for one in letters]


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that others do."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 # what is watched belongs to whoever is tested
            await asyncio.sleep(0.005)


class Reader:
    """Consumes one queue and remembers all that it got."""

    def __init__(self, *, acks: bool = False) -> None:
        self.deliveries: list[Delivery] = []
        self.consumer: Consumer
        self._acks = acks

    @classmethod
    async def of(cls, queue: Queue, generation: int, shard: int, *, acks: bool = False) -> Reader:
        """Begins to consume."""
        reader = cls(acks=acks)
        reader.consumer = await queue.consume(generation, shard, reader.take)
        return reader

    def take(self, delivery: Delivery) -> None:
        """See `legato.abc.queue.Take`."""
        self.deliveries.append(delivery)
        if self._acks:
            delivery.ack()

    @property
    def letters(self) -> list[Letter]:
        """All that came, in order."""
        return [delivery.letter for delivery in self.deliveries]

    async def has(self, count: int) -> None:
        """Waits until so many came."""
        await until(lambda: len(self.deliveries) >= count)

    async def acked(self) -> None:
        """Gives acks time to leave this process."""
        await asyncio.sleep(0.05)


class QueueSuite:
    """Makes queues for a test, and closes them."""

    prefetch: int = 20
    opened: list[Queue]

    async def make_queue(self) -> Queue:
        """A queue with `prefetch`; those made in one test are processes on the same broker, which
        has nothing of earlier tests. The suite opens and closes them.
        """
        raise AssertionError("the subclass must say which queue is meant")

    async def kill(self, queue: Queue) -> None:
        """As SIGKILL of the process that has `queue`: its connections are gone. It is not used again."""
        raise AssertionError("the subclass must say how its queue dies")

    async def cut(self, queue: Queue) -> None:
        """Breaks the connections of `queue`; they can come back at once."""
        raise AssertionError("the subclass must say how its queue's connection breaks")

    async def another(self) -> Queue:
        """One more "process" on the same broker."""
        queue = await self.make_queue()
        self.opened.append(queue)
        await queue.open()
        return queue


def on_queue(test: Callable[[Any, Queue], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Runs a test of a QueueSuite with a queue, in an event loop of its own."""

    @wraps(test)
    def wrapped(self: QueueSuite) -> None:
        asyncio.run(_run(self))

    async def _run(self: QueueSuite) -> None:
        self.opened = []
        queue = await self.another()
        try:
            await test(self, queue)
        finally:
            for one in self.opened:
                await one.close()

    del wrapped.__wrapped__  # or pytest looks for a fixture "queue"
    return wrapped
