"""What every Queue must do. A subclass of some lines runs all of it on another queue.

class TestMyQueue(QueueConformance):
    async def make_queue(self) -> Queue:
        return MyQueue(..., prefetch=self.prefetch)   # all of one test see the same letters

    async def kill(self, queue: Queue) -> None: ...   # as SIGKILL of its process
    async def cut(self, queue: Queue) -> None: ...    # its connection breaks and comes back
"""

from __future__ import annotations

import asyncio
import random

import pytest

from legato.abc.queue import Letter, Queue
from legato.errors import Unavailable
from legato.testing.conformance._queue_kit import Reader, bodies, letter, on_queue, until
from legato.testing.conformance._queue_shards import ShardsConformance


class QueueConformance(ShardsConformance):
    """Every sentence of `legato.abc.queue`, as a test."""

    # -- life ---------------------------------------------------------------------------------

    @on_queue
    async def test_open_and_close_may_be_called_twice(self, queue: Queue) -> None:
        """And a closed queue may be opened again."""
        await queue.open()
        await queue.close()
        await queue.close()
        await queue.open()
        await queue.declare(1, 1)
        await queue.publish([letter(0)])

    @on_queue
    async def test_a_closed_queue_is_unavailable(self, queue: Queue) -> None:
        """Whatever is asked of it."""
        await queue.declare(1, 1)
        await queue.close()
        for call in (
            queue.publish([letter(0)]),
            queue.consume(1, 0, print),
            queue.declare(1, 1),
            queue.route(1, 1),
            queue.end(1, 1),
            queue.drop(1, 1),
            queue.depths(1, 1),
        ):
            with pytest.raises(Unavailable):
                await call

    # -- letters ------------------------------------------------------------------------------

    @on_queue
    async def test_letters_arrive_whole_and_in_order(self, queue: Queue) -> None:
        """All fields of them, none of them marked."""
        sent = [
            Letter("telegram:1:77", 0, b'{"a": 1}', "event", 1_700_000_000_123, "00-ab-cd-01"),
            Letter("telegram:1:78", 0, b"raw", "dead", 1_700_000_000_124),
            Letter("ends", 0, b"", "event"),
        ]
        await queue.declare(1, 1)
        await queue.publish(sent)
        reader = await Reader.of(queue, 1, 0)
        await reader.has(3)
        assert reader.letters == sent
        assert not any(delivery.redelivered for delivery in reader.deliveries)

    @on_queue
    async def test_a_thousand_letters_of_odd_bytes_arrive_as_they_were(self, queue: Queue) -> None:
        """NUL, lone surrogates, frames' ends, nothing at all, more than one frame holds."""
        chance = random.Random(7)  # nosec B311 # the same letters in each run
        sent = []
        for number in range(1000):
            body = chance.randbytes(chance.choice((0, 1, 7, 8, 206, 500, 4096)))
            odd = chance.choice(("", "\0", "\ud800", "\U0001f600", "\xce", "'", "ü" * 300))
            sent.append(Letter(f"{number}:{odd}", 0, body, at_ms=number, trace=odd))
        sent += [
            Letter("large", 0, chance.randbytes(300_000)),
            Letter("one frame", 0, b"\xce" * (131_072 - 8)),
            Letter("one more", 0, b"\xce" * (131_072 - 7)),
        ]
        await queue.declare(1, 1)
        for begin in range(0, len(sent), 100):
            await queue.publish(sent[begin : begin + 100])
        reader = await Reader.of(queue, 1, 0, acks=True)
        await reader.has(len(sent))
        assert reader.letters == sent

    @on_queue
    async def test_to_publish_nothing_does_nothing(self, queue: Queue) -> None:
        """Even before there are queues."""
        await queue.publish([])

    @on_queue
    async def test_a_letter_without_a_queue_is_refused(self, queue: Queue) -> None:
        """Or it would be confirmed, and gone."""
        with pytest.raises(Unavailable):
            await queue.publish([letter(0)])

    @on_queue
    async def test_publishers_side_by_side_lose_nothing(self, queue: Queue) -> None:
        """Each one's letters stay in its order."""
        other = await self.another()
        await queue.declare(1, 1)
        publishers = [queue, other] * 5

        async def publish(who: int) -> None:
            for number in range(0, 40, 4):
                batch = [letter(0, f"{who}.{n}") for n in range(number, number + 4)]
                await publishers[who].publish(batch)

        await asyncio.gather(*(publish(who) for who in range(10)))
        reader = await Reader.of(queue, 1, 0, acks=True)
        await reader.has(400)
        for who in range(10):
            mine = [body for body in bodies(reader.letters) if body.startswith(f"{who}.")]
            assert mine == [f"{who}.{n}" for n in range(40)]

    # -- acks, deaths -------------------------------------------------------------------------

    @on_queue
    async def test_what_is_acknowledged_does_not_come_again(self, queue: Queue) -> None:
        """And what is not, does: in its order, marked."""
        await queue.declare(1, 1)
        await queue.publish([letter(0, str(n)) for n in range(5)])
        reader = await Reader.of(queue, 1, 0)
        await reader.has(5)
        for number in (0, 3, 1):  # out of order, and one of them twice
            reader.deliveries[number].ack()
        reader.deliveries[3].ack()
        await reader.consumer.close()
        again = await Reader.of(queue, 1, 0, acks=True)
        await again.has(2)
        assert bodies(again.letters) == ["2", "4"]
        assert all(delivery.redelivered for delivery in again.deliveries)
        await again.consumer.close()
        await self.empty(queue)

    @on_queue
    async def test_a_death_gives_the_letters_to_another_in_the_old_order(
        self, queue: Queue
    ) -> None:
        """Before those that were never handed out; and again after the second death."""
        await queue.declare(1, 1)
        for _ in range(2):
            victim = await self.another()
            reader = await Reader.of(victim, 1, 0)
            await queue.publish([letter(0, "a"), letter(0, "b")])
            await until(lambda reader=reader: bodies(reader.letters)[-1:] == ["b"])  # type: ignore[misc]
            await self.kill(victim)
            while (await queue.depths(1, 1))[0].consumers:  # noqa: ASYNC110  # until the broker knows
                await asyncio.sleep(0.02)
        await queue.publish([letter(0, "c")])
        heir = await Reader.of(queue, 1, 0, acks=True)
        await heir.has(5)
        assert bodies(heir.letters) == ["a", "b", "a", "b", "c"]
        assert [one.redelivered for one in heir.deliveries] == [True] * 4 + [False]

    @on_queue
    async def test_a_standby_takes_over_when_the_active_one_dies(self, queue: Queue) -> None:
        """It goes on by itself, in order."""
        await queue.declare(1, 1)
        victim = await self.another()
        reader = await Reader.of(victim, 1, 0)
        standby = await Reader.of(queue, 1, 0, acks=True)
        await queue.publish([letter(0, str(n)) for n in range(10)])
        await reader.has(10)
        assert not standby.letters
        reader.deliveries[0].ack()
        await reader.acked()
        await self.kill(victim)
        await queue.publish([letter(0, "10")])
        await until(lambda: bodies(standby.letters)[-1:] == ["10"])
        # An ack just before death may be lost with it.
        assert bodies(standby.letters)[-10:] == [str(n) for n in range(1, 11)]

    @on_queue
    async def test_a_consumer_survives_its_connection(self, queue: Queue) -> None:
        """Acks of the dead one do no harm: those letters come again."""
        await queue.declare(1, 1)
        other = await self.another()
        reader = await Reader.of(queue, 1, 0)
        await other.publish([letter(0, str(n)) for n in range(3)])
        await reader.has(3)
        await self.cut(queue)
        await reader.has(6)
        for delivery in reader.deliveries[:3]:
            delivery.ack()
        await other.publish([letter(0, "3")])
        await reader.has(7)
        assert bodies(reader.letters) == ["0", "1", "2", "0", "1", "2", "3"]
        assert [one.redelivered for one in reader.deliveries] == [False] * 3 + [True] * 3 + [False]
        for delivery in reader.deliveries[3:]:
            delivery.ack()
        await reader.consumer.close()
        await self.empty(queue)

    @on_queue
    async def test_letters_outlive_all_clients(self, queue: Queue) -> None:
        """They wait for whoever comes."""
        await queue.declare(1, 1)
        await queue.publish([letter(0, "a")])
        await queue.close()
        reader = await Reader.of(await self.another(), 1, 0, acks=True)
        await reader.has(1)

    # -- consumers ----------------------------------------------------------------------------

    @on_queue
    async def test_only_one_consumer_is_active(self, queue: Queue) -> None:
        """The first; the second follows when it has closed, and gets what was not acknowledged."""
        await queue.declare(1, 1)
        other = await self.another()
        first = await Reader.of(queue, 1, 0)
        second = await Reader.of(other, 1, 0)
        await queue.publish([letter(0, str(n)) for n in range(5)])
        await first.has(5)
        assert not second.letters
        first.deliveries[0].ack()
        await first.consumer.close()
        await first.consumer.close()
        await second.has(4)
        assert bodies(second.letters) == ["1", "2", "3", "4"]

    @on_queue
    async def test_a_stopped_consumer_takes_no_more_but_keeps_its_place(self, queue: Queue) -> None:
        """What it has can be acknowledged; nobody overtakes it until it has closed."""
        await queue.declare(1, 1)
        other = await self.another()
        first = await Reader.of(queue, 1, 0)
        second = await Reader.of(other, 1, 0)
        await queue.publish([letter(0, str(n)) for n in range(3)])
        await first.has(3)
        await first.consumer.stop()
        await first.consumer.stop()
        await queue.publish([letter(0, "3")])
        for delivery in first.deliveries:
            delivery.ack()
        await asyncio.sleep(0.1)
        assert len(first.letters) == 3
        assert not second.letters
        await first.consumer.close()
        await second.has(1)
        assert bodies(second.letters) == ["3"]

    @on_queue
    async def test_no_more_than_prefetch_are_ahead_of_their_acks(self, queue: Queue) -> None:
        """Each ack, in whatever order, makes room for one."""
        await queue.declare(1, 1)
        await queue.publish([letter(0, str(n)) for n in range(self.prefetch + 3)])
        reader = await Reader.of(queue, 1, 0)
        await reader.has(self.prefetch)
        await asyncio.sleep(0.1)
        assert len(reader.letters) == self.prefetch
        for number, last in ((5, 1), (0, 2), (self.prefetch, 3)):
            reader.deliveries[number].ack()
            await reader.has(self.prefetch + last)
        assert bodies(reader.letters) == [str(n) for n in range(self.prefetch + 3)]

    @on_queue
    async def test_a_queue_that_is_not_there_cannot_be_consumed(self, queue: Queue) -> None:
        """It is declared first, by whoever decides on the shards."""
        with pytest.raises(Unavailable):
            await queue.consume(7, 0, print)

    async def empty(self, queue: Queue) -> None:
        """Waits until the only queue holds nothing."""
        for _ in range(3000):
            if (await queue.depths(1, 1))[0].ready == 0:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"letters are left: {await queue.depths(1, 1)}")
