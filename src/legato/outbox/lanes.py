"""Queues in memory: one lane per chat of a bot, and the alarms of those that must wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

from legato.abc import Clock, Verdict
from legato.model.records import OutboxItem
from legato.outbox.limits import TICK_S

T = TypeVar("T")

IDLE = 0
"""Nobody works on the lane: it is empty or held."""
READY = 1
"""It waits for a worker."""
BUSY = 2
"""A worker is on it."""
PARKED = 3
"""It waits for an alarm or at a gate."""


class Asked:
    """A call whose result somebody waits for; stands in a lane like an item, but is not stored."""

    __slots__ = ("answer", "id", "item")

    def __init__(self, item: OutboxItem, answer: asyncio.Future[Verdict]) -> None:
        self.id: int = 0
        self.item: OutboxItem = item
        self.answer: asyncio.Future[Verdict] = answer

    def tell(self, verdict: Verdict) -> None:
        """Answers, unless who asked has gone."""
        if not self.answer.done():
            self.answer.set_result(verdict)


class Lane:
    """What is to be delivered to one chat, in order. The head stays in the queue until its fate
    is known.

    Attributes:
        holds: How many webhook replies to this chat are on their way: nothing is sent meanwhile.
        passed: Marks of the shared gates whose token the head holds already.
        moves: How often the head followed its chat to a new id.
        sending: The head is on its way to the platform.
        dropped: The head was let go of before its fate was known: whoever owned it since may have sent it.
        due: While it is parked: when it may go on, by the clock's monotonic seconds, or later.
        waiters: (id, future, until): done once nothing with an id up to this is queued, or once that cannot be until
            then.
    """

    __slots__ = (
        "dropped", "due", "holds", "moves", "name", "passed", "queue", "sending", "state", "waiters",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.queue: deque[OutboxItem | Asked] = deque()
        self.state: int = IDLE
        self.holds: int = 0
        self.passed: int = 0
        self.moves: int = 0
        self.sending: bool = False
        self.dropped: bool = False
        self.due: float = 0.0
        self.waiters: list[tuple[int, asyncio.Future[None], float]] = []

    def has_up_to(self, up_to: int) -> bool:
        """Whether an item with an id up to `up_to` is not settled yet."""
        return any(0 < entry.id <= up_to for entry in self.queue)

    def pop(self) -> None:
        """Takes the head out: its fate is known."""
        self.queue.popleft()
        self.passed = 0
        self.moves = 0
        self.dropped = False
        if self.waiters:
            self.wake()

    def holds_key(self, key: str) -> bool:
        """Whether something of this conversation is queued."""
        return any(
            (entry if isinstance(entry, OutboxItem) else entry.item).key == key
            for entry in self.queue
        )

    def replace(self, entries: list[OutboxItem | Asked]) -> None:
        """Makes `entries` the queue: the head and others are done with."""
        self.queue.clear()
        self.queue.extend(entries)
        self.passed = 0
        self.moves = 0
        self.dropped = False
        self.wake()

    def wake(self) -> None:
        """Tells the waiters whose items are all settled, and those who would wait for nothing."""
        still = []
        for up_to, future, until in self.waiters:
            if self.has_up_to(up_to) and not self.rests(until):
                still.append((up_to, future, until))
            elif not future.done():
                future.set_result(None)
        self.waiters = still

    def rests(self, until: float) -> bool:
        """Whether nothing of it is sent until then."""
        return self.state == PARKED and self.due > until


class Alarms(Generic[T]):
    """Rings for things at their time; one task however many wait."""

    __slots__ = ("_clock", "_heap", "_next", "_ring", "_serial", "_spawn", "_task")

    def __init__(
        self,
        clock: Clock,
        ring: Callable[[T], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._clock = clock
        self._ring = ring
        self._spawn = spawn
        self._heap: list[tuple[float, int, T]] = []
        self._serial = 0
        self._next = 0.0
        self._task: asyncio.Task[None] | None = None

    def set(self, due: float, what: T) -> None:
        """Rings for `what` at monotonic time `due`."""
        self._serial += 1
        heappush(self._heap, (due, self._serial, what))
        if self._task is not None:
            if self._next <= due:
                return
            self._task.cancel()
        self._next = due
        self._task = self._spawn(self._run())

    async def _run(self) -> None:
        heap = self._heap
        while heap:
            due = heap[0][0]
            wait = due - self._clock.monotonic()
            if wait > TICK_S / 2:
                self._next = due
                await self._clock.sleep(wait)
            else:
                self._ring(heappop(heap)[2])
        self._task = None
