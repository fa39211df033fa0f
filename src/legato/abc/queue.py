"""The queue between what takes updates in and what works on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from msgspec import Struct


class Letter(Struct, frozen=True):
    """One event on its way to a worker.

    Attributes:
        id: The event's dedupe key.
        slot: Of its lane (`model.shards`): decides in which queue it waits.
        body: The encoded event; for kind "dead" the raw update that could not be read.
        kind: "event", "dead" (authentic but unreadable: to be kept for the operator) or "end" (the
            last letter of an old generation of queues; never seen by whoever works on events).
        at_ms: When it was taken in, by the clock of who took it.
        trace: W3C traceparent of the request that brought it, "" if nobody traces.
    """

    id: str
    slot: int
    body: bytes
    kind: str = "event"
    at_ms: int = 0
    trace: str = ""


class Delivery(ABC):
    """A letter handed to this process, until it is acknowledged."""

    __slots__ = ("letter", "redelivered")

    letter: Letter
    redelivered: bool
    """It was handed out before, and never acknowledged: whoever had it may have died of it."""

    @abstractmethod
    def ack(self) -> None:
        """It is dealt with and may be forgotten. Never waits; harmless if its connection is gone:
        it comes again then, and is found to be a duplicate.
        """


Take = Callable[[Delivery], None]
"""Takes one delivery, in the order of the queue; never waits and never raises."""


class Consumer(ABC):
    """Deliveries of one queue to this process. Survives a lost connection: the queue subscribes
    again, and what was not acknowledged comes again, marked as redelivered, in the old order.
    """

    __slots__ = ()

    @abstractmethod
    async def stop(self) -> None:
        """Takes no more deliveries; those handed out can still be acknowledged. It stays the active
        consumer until `close`, or another would overtake what is still worked on here. Idempotent.
        """

    @abstractmethod
    async def close(self) -> None:
        """Stops; what is not acknowledged goes to another consumer, in its old order. Idempotent."""


class Depth(Struct, frozen=True):
    """How full one queue is.

    Attributes:
        queue: Its name.
        ready: Letters that wait.
        consumers: Subscriptions to it.
    """

    queue: str
    ready: int
    consumers: int


class Queue(ABC):
    """Letters to shards, each in its own durable queue with one active consumer at a time.

    A generation is one set of queues; generation g of n shards has queues (g, 0) ... (g, n - 1).
    Publishers do not know of them: a letter goes by its slot, and the broker's own table says into
    which queue (`route` changes it). All methods may raise Unavailable: the broker is out of reach,
    blocks publishers, or did not confirm in time. Implementations must pass
    `legato.testing.conformance.queue.QueueConformance`.
    """

    __slots__ = ()

    @property
    def ready(self) -> bool:
        """Whether letters would be taken now, as far as this process knows: connected, not blocked.
        Default: True.
        """
        return True

    @abstractmethod
    async def open(self) -> None:
        """Connects; reconnects by itself from then on. Idempotent."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnects. Consumers end; what is not acknowledged goes to others. Idempotent."""

    @abstractmethod
    async def publish(self, letters: Sequence[Letter]) -> None:
        """Returns once the broker has all of them safely, in this order per slot. If it raises, any
        of them may be there or not: they are to be published again, and dedupe by their ids.

        Raises:
            Unavailable: Not confirmed within the queue's own timeout, refused, or unroutable.
        """

    @abstractmethod
    async def consume(self, generation: int, shard: int, take: Take) -> Consumer:
        """Hands the letters of one queue to `take` from now on, several ahead of their acks. Letters
        of kind "end" are handed out as well. The first may come before this returns.

        Raises:
            Unavailable: Also if the queue is not declared.
        """

    @abstractmethod
    async def declare(self, generation: int, shards: int) -> None:
        """Makes the queues of a generation, as far as they are missing; routes nothing to them,
        except if there was no routing at all. Idempotent.
        """

    @abstractmethod
    async def route(self, generation: int, shards: int, old: tuple[int, int] | None = None) -> None:
        """Lets letters go to this generation from now on, and no longer to the `old` one
        (generation, shards). A letter published meanwhile may be in both, but never in none.
        Idempotent: to be called again after a crash in between.
        """

    @abstractmethod
    async def end(self, generation: int, shards: int) -> None:
        """Puts a letter of kind "end" into each queue of a generation that gets no more letters; if
        it is called again, another one.
        """

    @abstractmethod
    async def drop(self, generation: int, shards: int) -> None:
        """Deletes the queues of a generation, if they are empty and nobody consumes them.

        Raises:
            Unavailable: One is not empty.
        """

    @abstractmethod
    async def depths(self, generation: int, shards: int) -> list[Depth]:
        """How full each queue of a generation is, by shard; one that does not exist is empty."""


__all__ = ["Consumer", "Delivery", "Depth", "Letter", "Queue", "Take"]
