"""People who write all the time, and workers who read them, while a cluster's queues are moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from legato.abc import Clock, Store
from legato.abc.queue import Consumer, Delivery, Letter, Queue
from legato.deploy.topology import Layout, Topology
from legato.errors import Unavailable

Known = Callable[[Layout], list[tuple[int, int]]]


def by_the_rule(layout: Layout) -> list[tuple[int, int]]:
    """Only queues that may be consumed now."""
    return layout.queues()


def at_once(layout: Layout) -> list[tuple[int, int]]:
    """The naive way: a new queue does not wait for old ones."""
    return [*layout.queues(), *((layout.generation, shard) for shard in range(layout.shards))]


class People:
    """Each has a slot of its own and writes numbers in order, one after the other was confirmed."""

    def __init__(self, queue: Queue, count: int, clock: Clock, pause_s: float) -> None:
        self.sent: dict[int, int] = dict.fromkeys(range(count), 0)
        self.quiet = False
        self._queue = queue
        self._clock = clock
        self._pause_s = pause_s

    async def write(self, person: int) -> None:
        """Until `quiet`; what is not confirmed is published again."""
        while not self.quiet:
            number = self.sent[person]
            letter = Letter(f"{person}:{number}", person, str(number).encode())
            try:
                await self._queue.publish([letter])
            except Unavailable:
                await self._clock.sleep(0.1)
                continue
            self.sent[person] += 1
            await self._clock.sleep(self._pause_s)

    async def all(self) -> None:
        """Everybody."""
        await asyncio.gather(*map(self.write, self.sent))


class Workers:
    """Read the queues that `rule` gives, drop duplicates, and remember what came in which order.

    Attributes:
        read: What came of each person, in order.
        wrong: (person, number) that came before an earlier one.
    """

    def __init__(
        self, queue: Queue, topology: Topology, clock: Clock, *, rule: Known = by_the_rule,
        work_s: float = 0.0, look_s: float = 0.05,
    ) -> None:  # fmt: skip
        self.read: dict[int, int] = {}
        self.wrong: list[tuple[int, int]] = []
        self.duplicates = 0
        self.seen: set[str] = set()
        self._queue = queue
        self._topology = topology
        self._clock = clock
        self._rule = rule
        self._work_s = work_s
        self._look_s = look_s
        self._readers: dict[tuple[int, int], tuple[Consumer, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                layout = await self._topology.layout()
                if layout is not None:
                    await self._follow(set(self._rule(layout)))
                await self._clock.sleep(self._look_s)
        finally:
            await self._follow(set())

    async def _follow(self, queues: set[tuple[int, int]]) -> None:
        for gone in set(self._readers) - queues:
            consumer, task = self._readers.pop(gone)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await consumer.close()
        for new in queues - set(self._readers):
            inbox: asyncio.Queue[Delivery] = asyncio.Queue()
            try:
                consumer = await self._queue.consume(*new, inbox.put_nowait)
            except Unavailable:
                continue  # it is not there yet, or the broker is away: at the next look
            task = asyncio.create_task(self._work(new, inbox))
            self._readers[new] = consumer, task

    async def _work(self, queue: tuple[int, int], inbox: asyncio.Queue[Delivery]) -> None:
        while True:
            delivery = await inbox.get()
            letter = delivery.letter
            if letter.kind == "end":
                await self._topology.drained(*queue)
                delivery.ack()
                continue
            if self._work_s:
                await self._clock.sleep(self._work_s)
            self._apply(letter)
            delivery.ack()

    def _apply(self, letter: Letter) -> None:
        if letter.id in self.seen:
            self.duplicates += 1
            return
        self.seen.add(letter.id)
        person, number = letter.slot, int(letter.body)
        if number != self.read.get(person, 0):
            self.wrong.append((person, number))
        self.read[person] = max(self.read.get(person, 0), number + 1)

    async def has_read(self, people: People) -> None:
        """Waits until everything that was confirmed has come."""
        async with asyncio.timeout(90):
            while len(self.seen) < sum(people.sent.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


class Died(BaseException):
    """The process that resizes is gone."""


class Dying:
    """Stands before a queue or store whose process dies around its n-th call.

    Args:
        calls: Counts calls; shared by all that die together.
        before: Whether the call that kills is still made.
    """

    def __init__(self, inner: Queue | Store, calls: list[int], *, before: bool) -> None:
        self._inner = inner
        self._calls = calls
        self._before = before

    def __getattr__(self, name: str) -> object:
        return partial(self._call, name)

    async def _call(self, name: str, *arguments: object) -> object:
        self._calls[0] -= 1
        if self._calls[0] == 0 and self._before:
            raise Died
        answer = await getattr(self._inner, name)(*arguments)
        if self._calls[0] == 0:
            raise Died
        return answer
