"""What a census counts, how often, and when it falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from legato.abc import Letter
from legato.deploy.census import COUNTS_S, DEPTHS_S, MOST, Census
from legato.errors import StoreUnavailable
from legato.model.events import Address
from legato.model.records import (
    DEAD,
    FAILED,
    WAITING,
    Call,
    Commit,
    Conversation,
    OutboxItem,
)
from legato.queues.memory import MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.conformance._queue_kit import until

PLACE = Address("test", "bot", "1", "1")


class Counting(MemoryStore):
    """Counts what it is asked for."""

    __slots__ = ("asked", "away")

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.away = False

    async def find(self, **asked: Any) -> list[Conversation]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        assert asked["limit"] == MOST
        assert asked["status"] != WAITING, "a million of them may wait"
        return await super().find(**asked)


async def parked(store: MemoryStore, number: int, status: str) -> None:
    row = Conversation(f"test:bot:{number}:{number}:", "d", "", 1, 0, status, 0, b"{}", 1)
    items = (OutboxItem(0, PLACE.lane, PLACE, row.key, 1, "", Call("send"), state=DEAD),)
    await store.commit(
        Commit(at_ms=1, key=row.key, row=row, birth=b"{}", outbox=items if number == 1 else ())
    )


def numbers(census: Census) -> dict[tuple[str, ...], object]:
    return {(s.name.removeprefix("legato_"), *s.labels): s.value for s in census.samples()}


@asynccontextmanager
async def counting(census: Census) -> AsyncIterator[None]:
    task = asyncio.create_task(census.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_needs_an_operator_is_counted_and_what_waits_is_not() -> None:
    store = Counting()
    for number, status in enumerate((FAILED, FAILED, WAITING), 1):
        await parked(store, number, status)
    census = Census(store, FakeClock())

    async with counting(census):
        await until(lambda: numbers(census))

    assert numbers(census) == {
        ("outbox_items", "dead"): 1,
        ("outbox_items", "unknown"): 0,
        ("conversations", "running"): 0,
        ("conversations", "failed"): 2,
        ("conversations", "held"): 0,
    }


async def test_it_counts_now_and_then_however_often_it_is_asked() -> None:
    store, clock = Counting(), FakeClock()
    census = Census(store, clock)

    async with counting(census):
        await until(lambda: store.asked == 3)
        for _ in range(100):
            numbers(census)
        clock.advance(COUNTS_S)
        await until(lambda: store.asked == 6)


async def test_only_the_process_whose_turn_it_is_counts() -> None:
    store, clock = Counting(), FakeClock()
    turns = [False, True]

    async def ours() -> bool:
        return turns.pop(0)

    census = Census(store, clock, ours=ours)
    async with counting(census):
        await until(lambda: turns == [True])
        assert (store.asked, numbers(census)) == (0, {})
        clock.advance(DEPTHS_S)
        await until(lambda: numbers(census))


async def test_old_numbers_are_not_shown_while_the_store_is_away() -> None:
    store, clock = Counting(), FakeClock()
    census = Census(store, clock)

    async with counting(census):
        await until(lambda: numbers(census))
        store.away = True
        for _ in range(4):
            before = store.asked
            clock.advance(COUNTS_S)
            await until(lambda: store.asked > before)  # noqa: B023 # awaited at once
        assert numbers(census) == {}
        store.away = False
        clock.advance(COUNTS_S)
        await until(lambda: numbers(census))


async def test_queues_are_looked_at_by_generation_and_shard() -> None:
    clock = FakeClock()
    queue = MemoryQueue()
    await queue.open()
    await queue.declare(3, 2)
    await queue.publish([Letter("1", 1, b""), Letter("2", 3, b"")])

    async def generations() -> list[tuple[int, int]]:
        return [(3, 2)]

    census = Census(Counting(), clock, queue=queue, generations=generations)
    async with counting(census):
        await until(lambda: ("queue_depth", "3", "1") in numbers(census))
        await queue.publish([Letter("3", 0, b"")])
        clock.advance(DEPTHS_S)
        await until(lambda: numbers(census)["queue_depth", "3", "0"] == 1)

    assert numbers(census)["queue_depth", "3", "1"] == 2
    assert numbers(census)["queue_consumers", "3", "1"] == 0
    await queue.close()
