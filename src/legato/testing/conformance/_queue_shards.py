"""The part of the queue's conformance suite that is about generations of shards."""

from __future__ import annotations

import asyncio

import pytest

from legato.abc.queue import Letter, Queue
from legato.errors import Unavailable
from legato.testing.conformance._queue_kit import (
    QueueSuite,
    Reader,
    bodies,
    letter,
    on_queue,
    until,
)


class ShardsConformance(QueueSuite):
    """Slots, shards, generations."""

    @on_queue
    async def test_a_letter_goes_by_its_slot(self, queue: Queue) -> None:
        """Slot s waits in shard s % N."""
        await queue.declare(1, 4)
        slots = (0, 1, 2, 3, 4, 5, 1022, 1023)
        await queue.publish([letter(slot, str(slot)) for slot in slots])
        for shard in range(4):
            reader = await Reader.of(queue, 1, shard, acks=True)
            await reader.has(2)
            assert [one.slot for one in reader.letters] == [s for s in slots if s % 4 == shard]
            assert bodies(reader.letters) == [str(s) for s in slots if s % 4 == shard]

    @on_queue
    async def test_the_first_declaration_routes_and_later_ones_do_not(self, queue: Queue) -> None:
        """They keep what is there, too."""
        await queue.declare(1, 2)
        await queue.publish([letter(1, "a")])
        await queue.declare(1, 2)
        await queue.declare(2, 4)
        await queue.declare(2, 4)
        await queue.publish([letter(1, "b")])
        assert await self.ready(queue, 1, 2) == [0, 2]
        assert await self.ready(queue, 2, 4) == [0, 0, 0, 0]

    @on_queue
    async def test_two_processes_may_declare_at_once(self, queue: Queue) -> None:
        """As on the first start of a cluster."""
        other = await self.another()
        await asyncio.gather(queue.declare(1, 4), other.declare(1, 4))
        await asyncio.gather(queue.publish([letter(5, "a")]), other.publish([letter(5, "b")]))
        assert await self.ready(queue, 1, 4) == [0, 2, 0, 0]

    @on_queue
    async def test_routing_moves_to_another_generation(self, queue: Queue) -> None:
        """Both ways, and a second time without effect."""
        await queue.declare(1, 2)
        await queue.declare(2, 4)
        await queue.publish([letter(3, "old")])
        for _ in range(2):
            await queue.route(2, 4, (1, 2))
        await queue.publish([letter(3, "new"), letter(2, "new")])
        assert await self.ready(queue, 1, 2) == [0, 1]
        assert await self.ready(queue, 2, 4) == [0, 0, 1, 1]
        await queue.declare(3, 1)
        await queue.route(3, 1, (2, 4))
        await queue.publish([letter(3, "newest")])
        assert await self.ready(queue, 2, 4) == [0, 0, 1, 1]
        assert await self.ready(queue, 3, 1) == [1]

    @on_queue
    async def test_a_letter_published_during_a_move_is_somewhere(self, queue: Queue) -> None:
        """It may be in both generations, but each of them has what it has in order."""
        publisher = await self.another()
        await queue.declare(1, 2)
        await queue.declare(2, 4)
        sent: list[str] = []
        moving = asyncio.create_task(queue.route(2, 4, (1, 2)))
        while not moving.done() or len(sent) < 40:
            batch = [letter(slot, f"{len(sent)}.{slot}") for slot in range(8)]
            await publisher.publish(batch)
            sent += bodies(batch)
        await moving
        came: set[str] = set()
        for generation, shards in ((1, 2), (2, 4)):
            await queue.end(generation, shards)
            for shard in range(shards):
                reader = await Reader.of(queue, generation, shard, acks=True)
                await until(lambda of=reader: of.letters and of.letters[-1].kind == "end")  # type: ignore[misc]
                there = bodies(reader.letters[:-1])
                for slot in range(8):
                    places = [sent.index(body) for body in there if body.endswith(f".{slot}")]
                    assert places == sorted(places)
                came |= set(there)
        assert came == set(sent)

    @on_queue
    async def test_the_end_is_the_last_letter_of_each_queue(self, queue: Queue) -> None:
        """It comes to each shard of the generation once."""
        await queue.declare(1, 2)
        await queue.publish([letter(0, "a"), letter(1, "b")])
        await queue.end(1, 2)
        for shard, body in ((0, "a"), (1, "b")):
            reader = await Reader.of(queue, 1, shard, acks=True)
            await reader.has(2)
            assert bodies(reader.letters) == [body, ""]
            assert [one.kind for one in reader.letters] == ["event", "end"]

    @on_queue
    async def test_only_an_empty_generation_can_be_dropped(self, queue: Queue) -> None:
        """Twice, if one likes; and what is gone cannot be consumed."""
        await queue.declare(1, 2)
        await queue.declare(2, 2)
        await queue.publish([letter(1, "a")])
        await queue.route(2, 2, (1, 2))
        with pytest.raises(Unavailable):
            await queue.drop(1, 2)
        reader = await Reader.of(queue, 1, 1, acks=True)
        await reader.has(1)
        with pytest.raises(Unavailable):
            await queue.drop(1, 2)
        await reader.consumer.close()
        await until_none_consumes(queue, 1, 2)
        for _ in range(2):
            await queue.drop(1, 2)
        with pytest.raises(Unavailable):
            await queue.consume(1, 0, print)
        await queue.publish([Letter("b", 1, b"b")])

    @on_queue
    async def test_depths_count_letters_and_consumers(self, queue: Queue) -> None:
        """By shard; a queue that is not there is empty."""
        await queue.declare(1, 2)
        await queue.publish([letter(1, str(n)) for n in range(self.prefetch + 5)])
        depths = await queue.depths(1, 2)
        assert [(one.ready, one.consumers) for one in depths] == [(0, 0), (self.prefetch + 5, 0)]
        assert len({one.queue for one in depths}) == 2
        reader = await Reader.of(queue, 1, 1)
        await reader.has(self.prefetch)
        assert [one.consumers for one in await queue.depths(1, 2)] == [0, 1]
        assert [(one.ready, one.consumers) for one in await queue.depths(9, 1)] == [(0, 0)]

    async def ready(self, queue: Queue, generation: int, shards: int) -> list[int]:
        """How many letters wait, by shard."""
        return [depth.ready for depth in await queue.depths(generation, shards)]


async def until_none_consumes(queue: Queue, generation: int, shards: int) -> None:
    """Waits until the broker knows that consumers have gone."""
    async with asyncio.timeout(60):
        while any(d.consumers for d in await queue.depths(generation, shards)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
