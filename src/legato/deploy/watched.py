"""A store and a queue whose calls are told to an observer. Where nobody observes, none is made."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterator, Sequence
from typing import TypeVar

from msgspec.structs import replace

from legato.abc import Clock, Consumer, Delivery, Depth, Letter, Queue, Store, Take
from legato.abc.observer import Observer, current_trace
from legato.deploy.measures import Sample
from legato.model.records import Commit, Committed, Conversation, Loaded, Mail, OutboxItem, Settled

T = TypeVar("T")


class WatchedStore(Store):
    """A store whose calls are told.

    Args:
        store: Does the work.
        observer: Is told of each call.
    """

    __slots__ = ("_observer", "_store")

    def __init__(self, store: Store, observer: Observer) -> None:
        self._store = store
        self._observer = observer

    async def _told(self, operation: str, work: Awaitable[T]) -> T:
        began = self._observer.begin_store(operation)
        failed: BaseException | None = None
        try:
            return await work
        except BaseException as error:
            failed = error
            raise
        finally:
            self._observer.end_store(began, operation, failed)
            failed = None  # a traceback that holds itself would outlive the call

    @property
    def mail_at_once(self) -> int:
        return self._store.mail_at_once

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def load(self, key: str) -> Loaded | None:
        return await self._told("load", self._store.load(key))

    async def commit(self, commit: Commit) -> Committed:
        return await self._told("commit", self._store.commit(commit))

    async def settle(self, settled: Sequence[Settled]) -> None:
        await self._told("settle", self._store.settle(settled))

    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        return await self._told("due", self._store.due(now_ms, limit, slots=slots))

    async def outbox(
        self,
        *,
        states: Sequence[str],
        after: int = 0,
        limit: int = 1000,
        key: str = "",
        slots: Collection[int] | None = None,
    ) -> list[OutboxItem]:
        work = self._store.outbox(states=states, after=after, limit=limit, key=key, slots=slots)
        return await self._told("outbox", work)

    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        work = self._store.mail(key=key, after=after, limit=limit, slots=slots)
        return await self._told("mail", work)

    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        work = self._store.find(status=status, dialog=dialog, after=after, limit=limit, slots=slots)
        return await self._told("find", work)

    async def get(self, space: str, name: str) -> bytes | None:
        return await self._told("get", self._store.get(space, name))


class Hand:
    """What one shard has handed to this process.

    Attributes:
        letters: Deliveries not acknowledged yet, oldest first, with the time each was taken in.
        taken, acked, redelivered: Counters since the start.
    """

    __slots__ = ("acked", "letters", "redelivered", "taken")

    def __init__(self) -> None:
        self.letters: dict[Delivery, int] = {}
        self.taken: int = 0
        self.acked: int = 0
        self.redelivered: int = 0

    def forget(self, letter_id: str) -> None:
        """A letter is not in this hand any more; it may be on its way back to it."""
        for delivery in [d for d in self.letters if d.letter.id == letter_id]:
            del self.letters[delivery]


class _Watched(Delivery):
    """A delivery whose acknowledgement is counted, once."""

    __slots__ = ("_delivery", "_hand")

    def __init__(self, delivery: Delivery, hand: Hand) -> None:
        self.letter = letter = delivery.letter
        self.redelivered = delivery.redelivered
        self._delivery = delivery
        self._hand = hand
        hand.taken += 1
        if delivery.redelivered:
            hand.redelivered += 1
            hand.forget(letter.id)  # as its connection may have broken meanwhile
        hand.letters[self] = letter.at_ms

    def ack(self) -> None:
        self._delivery.ack()
        if self._hand.letters.pop(self, None) is not None:
            self._hand.acked += 1


class _WatchedConsumer(Consumer):
    """A consumer whose letters are out of this process's hand once it is closed."""

    __slots__ = ("_consumer", "_hand")

    def __init__(self, consumer: Consumer, hand: Hand) -> None:
        self._consumer = consumer
        self._hand = hand

    async def stop(self) -> None:
        await self._consumer.stop()

    async def close(self) -> None:
        await self._consumer.close()
        self._hand.letters.clear()


class WatchedQueue(Queue):
    """A queue whose publishes are told, and whose deliveries are counted by shard.

    Args:
        queue: Does the work.
        observer: Is told of each publish; the trace it sets goes with the letters.
        clock: Time.

    Attributes:
        hands: What was handed out, by (generation, shard).
    """

    __slots__ = ("_clock", "_observer", "_queue", "hands")

    def __init__(self, queue: Queue, observer: Observer, clock: Clock) -> None:
        self._queue = queue
        self._observer = observer
        self._clock = clock
        self.hands: dict[tuple[int, int], Hand] = {}

    @property
    def ready(self) -> bool:
        """See Queue."""
        return self._queue.ready

    async def open(self) -> None:
        await self._queue.open()

    async def close(self) -> None:
        await self._queue.close()

    async def publish(self, letters: Sequence[Letter]) -> None:
        count = len(letters)
        began = self._observer.begin_publish(count)
        failed: BaseException | None = None
        try:
            if trace := current_trace():
                letters = [replace(letter, trace=trace) for letter in letters]
            await self._queue.publish(letters)
        except BaseException as error:
            failed = error
            raise
        finally:
            self._observer.end_publish(began, count, failed)
            failed = None

    async def consume(self, generation: int, shard: int, take: Take) -> Consumer:
        hand = self.hands.setdefault((generation, shard), Hand())

        def watched(delivery: Delivery) -> None:
            take(_Watched(delivery, hand))

        return _WatchedConsumer(await self._queue.consume(generation, shard, watched), hand)

    async def declare(self, generation: int, shards: int) -> None:
        await self._queue.declare(generation, shards)

    async def route(self, generation: int, shards: int, old: tuple[int, int] | None = None) -> None:
        await self._queue.route(generation, shards, old)

    async def end(self, generation: int, shards: int) -> None:
        await self._queue.end(generation, shards)

    async def drop(self, generation: int, shards: int) -> None:
        await self._queue.drop(generation, shards)

    async def depths(self, generation: int, shards: int) -> list[Depth]:
        return await self._queue.depths(generation, shards)

    def samples(self) -> Iterator[Sample]:
        """What the shards have handed out."""
        now_ms = self._clock.now_ms()
        for (generation, shard), hand in self.hands.items():
            label = (str(generation), str(shard))
            oldest_ms = next(iter(hand.letters.values()), now_ms)
            yield Sample("legato_taken_letters_total", hand.taken, label)
            yield Sample("legato_acked_letters_total", hand.acked, label)
            yield Sample("legato_shard_letters", len(hand.letters), label)
            yield Sample("legato_shard_oldest_seconds", max(0, now_ms - oldest_ms) / 1000, label)
        redelivered = sum(hand.redelivered for hand in self.hands.values())
        yield Sample("legato_redelivered_letters_total", redelivered)


__all__ = ["Hand", "WatchedQueue", "WatchedStore"]
