"""Letters in hand, and the queues that they came from."""

from __future__ import annotations

import asyncio

from legato.abc.queue import Delivery
from legato.model.events import AnyEvent


class Source:
    """One queue that letters come from.

    Attributes:
        name: (generation, shard).
        hand: Letters in hand, by id.
        done: Set while there are none.
        lost: A letter was let go of without an ack: another process gets it.
    """

    __slots__ = ("done", "hand", "lost", "name")

    def __init__(self, generation: int, shard: int) -> None:
        self.name: tuple[int, int] = (generation, shard)
        self.hand: dict[str, Work] = {}
        self.lost: bool = False
        self.done: asyncio.Event = asyncio.Event()
        self.done.set()


class Work:
    """One letter in hand.

    Attributes:
        delivery: How it was handed out first.
        again: How it was handed out after that: a platform repeated it, and it stands in the queue twice,
            or its connection was lost meanwhile. All are acknowledged; with a dead connection that does
            no harm.
        source: Where it came from.
        event: What it says.
        kept: It lies in the mailbox, too, and is acknowledged.
        error: Why it failed last, if that was a bug outside of any dialog.
    """

    __slots__ = ("again", "delivery", "error", "event", "kept", "source")

    def __init__(self, delivery: Delivery, source: Source, event: AnyEvent) -> None:
        self.delivery: Delivery = delivery
        self.again: list[Delivery] = []
        self.source: Source = source
        self.event: AnyEvent = event
        self.kept: bool = False
        self.error: Exception | None = None
        source.hand[delivery.letter.id] = self
        source.done.clear()

    def ack(self) -> None:
        """It is dealt with."""
        if not self.kept:
            for delivery in (self.delivery, *self.again):
                delivery.ack()
        self._leave()

    def lose(self) -> None:
        """It is for another process (now)."""
        if not self.kept:
            self.source.lost = True
        self._leave()

    def _leave(self) -> None:
        hand = self.source.hand
        if hand.get(self.delivery.letter.id) is self:
            del hand[self.delivery.letter.id]
            if not hand:
                self.source.done.set()


__all__ = ["Source", "Work"]
