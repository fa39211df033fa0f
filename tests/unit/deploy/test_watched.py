"""A watched store and a watched queue do what the ones inside do, and tell of it."""

from typing import Any

import pytest

from legato.abc import Delivery, Letter, Queue, Store
from legato.abc.observer import NOBODY, SCOPE, Observer, Scope
from legato.deploy.measures import Sample
from legato.deploy.watched import WatchedQueue, WatchedStore
from legato.errors import StoreUnavailable, Unavailable
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.conformance._queue_kit import until
from legato.testing.conformance.queue import QueueConformance
from legato.testing.conformance.store import StoreConformance


class TestWatchedStore(StoreConformance):
    runs_sql = False

    async def make_store(self) -> Store:
        return WatchedStore(MemoryStore(), NOBODY)


class TestWatchedQueue(QueueConformance):
    @pytest.fixture(autouse=True)
    def _broker(self) -> None:
        self.broker = MemoryBroker()
        self.inner: dict[int, MemoryQueue] = {}

    async def make_queue(self) -> Queue:
        inner = MemoryQueue(self.broker, prefetch=self.prefetch)
        queue = WatchedQueue(inner, NOBODY, FakeClock())
        self.inner[id(queue)] = inner
        return queue

    async def kill(self, queue: Queue) -> None:
        self.inner[id(queue)].die()

    async def cut(self, queue: Queue) -> None:
        self.inner[id(queue)].cut()


class Noting(Observer):
    """Notes calls; sets a trace for what is published."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def begin_store(self, operation: str) -> Any:
        return operation

    def end_store(self, began: Any, operation: str, error: BaseException | None) -> None:
        assert began == operation
        self.told.append((operation, type(error).__name__))

    def begin_publish(self, letters: int) -> Any:
        return SCOPE.set(Scope("", "the trace"))

    def end_publish(self, began: Any, letters: int, error: BaseException | None) -> None:
        SCOPE.reset(began)
        self.told.append((f"publish {letters}", type(error).__name__))


async def test_each_call_of_the_store_is_told_with_its_failure() -> None:
    class Away(MemoryStore):
        async def load(self, key: str) -> Any:
            raise StoreUnavailable("away")

    store = WatchedStore(Away(), noting := Noting())

    await store.get("a", "b")
    with pytest.raises(StoreUnavailable):
        await store.load("k")

    assert noting.told == [("get", "NoneType"), ("load", "StoreUnavailable")]


def letter(number: int, at_ms: int) -> Letter:
    return Letter(str(number), 0, b"x", at_ms=at_ms)


async def test_a_trace_goes_with_the_letters() -> None:
    broker = MemoryBroker()
    queue = WatchedQueue(MemoryQueue(broker), noting := Noting(), FakeClock())
    await queue.open()
    await queue.declare(1, 1)
    taken: list[Delivery] = []

    await queue.publish([letter(1, 0), letter(2, 0)])
    consumer = await queue.consume(1, 0, taken.append)
    await until(lambda: len(taken) == 2)
    await consumer.close()
    await queue.close()

    assert [one.letter.trace for one in taken] == ["the trace"] * 2
    assert noting.told == [("publish 2", "NoneType")]
    assert SCOPE.get() is None


async def test_a_publish_that_fails_is_told() -> None:
    broker = MemoryBroker()
    queue = WatchedQueue(MemoryQueue(broker), noting := Noting(), FakeClock())
    await queue.open()
    broker.stop()

    with pytest.raises(Unavailable):
        await queue.publish([letter(1, 0)])

    assert noting.told == [("publish 1", "Unavailable")]
    broker.start()
    await queue.close()


def by_name(queue: WatchedQueue) -> dict[str, object]:
    """The samples of shard 0 of generation 1."""
    found: dict[str, object] = {}
    for sample in queue.samples():
        assert isinstance(sample, Sample)
        assert sample.labels in ((), ("1", "0"))
        found[sample.name.removeprefix("legato_")] = sample.value
    return found


async def test_a_shard_tells_what_it_handed_out_and_how_old_the_oldest_is() -> None:
    clock = FakeClock()
    queue = WatchedQueue(inner := MemoryQueue(), NOBODY, clock)
    await queue.open()
    await queue.declare(1, 1)
    now_ms = clock.now_ms()
    taken: list[Delivery] = []
    consumer = await queue.consume(1, 0, taken.append)

    await queue.publish([letter(1, now_ms - 9000), letter(2, now_ms - 5000)])
    await until(lambda: len(taken) == 2)
    assert by_name(queue) == {
        "taken_letters_total": 2,
        "acked_letters_total": 0,
        "shard_letters": 2,
        "shard_oldest_seconds": 9,
        "redelivered_letters_total": 0,
    }

    taken[0].ack()
    taken[0].ack()
    assert by_name(queue)["acked_letters_total"] == 1
    assert by_name(queue)["shard_oldest_seconds"] == 5

    inner.cut()  # the second one comes again, and is still one letter
    await until(lambda: len(taken) == 3)
    assert by_name(queue)["shard_letters"] == 1
    assert by_name(queue)["redelivered_letters_total"] == 1

    await consumer.close()
    assert by_name(queue)["shard_letters"] == 0
    assert by_name(queue)["shard_oldest_seconds"] == 0
    await queue.close()
