"""Which lane is sent to when: queues, workers, alarms and gates. Knows nothing of what is sent.

A worker is a task that takes one ready lane after another and ends when there is none. A lane
that must wait (backoff, a limit, a hold) keeps no worker, so it never holds up another chat.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from legato.abc import Clock
from legato.model.ordered import Ordered
from legato.model.records import OutboxItem, Settled
from legato.outbox.backlog import Backlog, is_broadcast
from legato.outbox.lanes import BUSY, IDLE, PARKED, READY, Alarms, Asked, Lane
from legato.outbox.limits import TICK_S, BotLimits, Gate, Pace
from legato.outbox.settler import Settler

BULK = "#bulk"
"""Ends the name of the lane in which a chat's broadcasts wait for their own budget."""

Deliver = Callable[[Lane, OutboxItem | Asked], Awaitable[None]]


class Dispatcher:
    """The lanes of a relay and the workers that empty them, at most `concurrency` at once.

    Args:
        clock: Time.
        deliver: Makes one try with a lane's head. Afterwards the head is popped, or the lane is
            parked, or the head is to be tried again at once. Never raises.
        settler: Is seen to whenever it has something to write.
        on_idle: Called whenever there may be nothing left to do.
        concurrency: How many lanes are sent to at once.

    Attributes:
        backlog: Is told of lanes of broadcasts. Set before anything is queued.
    """

    __slots__ = (
        "_alarms",
        "_bulk_lanes",
        "_clock",
        "_concurrency",
        "_deliver",
        "_on_idle",
        "_ready",
        "_settler",
        "_workers",
        "backlog",
        "lanes",
        "tasks",
    )

    def __init__(
        self,
        clock: Clock,
        deliver: Deliver,
        settler: Settler,
        *,
        on_idle: Callable[[], None],
        concurrency: int,
    ) -> None:
        self._clock = clock
        self._deliver = deliver
        self._settler = settler
        self._on_idle = on_idle
        self._concurrency = concurrency
        self._alarms: Alarms[Lane | Gate[Lane]] = Alarms(clock, self._ring, self.start)
        self._ready: deque[Lane] = deque()
        self._workers = 0
        self._bulk_lanes = 0
        self.backlog: Backlog
        self.lanes: dict[str, Lane] = {}
        self.tasks: Ordered[asyncio.Task[None]] = Ordered()
        """All that runs, for whoever must cancel it."""

    # -- lanes --------------------------------------------------------------------------------

    def enqueue(self, entry: OutboxItem | Asked) -> None:
        """Puts an entry at the end of its lane.

        Broadcasts have a lane of their own, so that a person's answers need not wait for a
        budget that thousands share. What a conversation says after a broadcast of its own stays
        behind it.
        """
        item = entry if isinstance(entry, OutboxItem) else entry.item
        name = item.lane
        if item.call.bulk:
            name += BULK
        elif self._bulk_lanes and item.key:
            bulk = self.lanes.get(name + BULK)
            if bulk is not None and bulk.holds_key(item.key):
                name += BULK
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.open(name)
        lane.queue.append(entry)
        if lane.state == IDLE and not lane.holds:
            self.make_ready(lane)

    def open(self, name: str) -> Lane:
        """The lane of that name, made if there is none."""
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name)
            if name.endswith(BULK):
                self._bulk_lanes += 1
                self.backlog.opened(name)
        return lane

    def forget(self, lane: Lane) -> None:
        """Drops an idle, empty lane."""
        del self.lanes[lane.name]
        if lane.name.endswith(BULK):
            self._bulk_lanes -= 1
            self.backlog.closed(lane.name)

    def waiting(self) -> list[OutboxItem]:
        """All items in memory. Broadcasts do not count: nobody waits for them."""
        entries = [entry for lane in self.lanes.values() for entry in lane.queue]
        items = [entry for entry in entries if isinstance(entry, OutboxItem)]
        return [item for item in items if not is_broadcast(item)]

    def make_ready(self, lane: Lane) -> None:
        """Hands the lane to the next free worker."""
        lane.state = READY
        self._ready.append(lane)
        if self._workers < self._concurrency:
            self._workers += 1
            self.tasks.add(asyncio.get_running_loop().create_task(self._work()))

    def park(self, lane: Lane, due: float) -> None:
        """Lets the lane wait until monotonic time `due`."""
        lane.state, lane.due = PARKED, due
        self._alarms.set(due, lane)
        if lane.waiters:
            lane.wake()

    # -- workers ------------------------------------------------------------------------------

    async def _work(self) -> None:
        ready = self._ready
        try:
            try:
                while ready:
                    lane = ready.popleft()
                    lane.state = BUSY
                    await self._serve(lane)
                    if ready:
                        self.settle_soon()
            finally:
                self._workers -= 1
            if self._settler.waiting:  # nothing else to do: here it saves a task
                await self._settler.drain()
        finally:
            task = asyncio.current_task()
            if task is not None:
                self.tasks.discard(task)
            self._on_idle()

    async def _serve(self, lane: Lane) -> None:
        """Sends the lane's entries until it is empty, held, parked, or another lane's turn."""
        queue = lane.queue
        while queue and not lane.holds:
            await self._deliver(lane, queue[0])
            if lane.state == PARKED:
                return
            if not queue:
                break
            self.settle_soon()
            if self._ready:  # one each, so that a long lane does not starve the others
                lane.state = READY
                self._ready.append(lane)
                return
        lane.state = IDLE
        if not queue and not lane.holds:
            self.forget(lane)

    # -- limits -------------------------------------------------------------------------------

    def admit(self, limits: BotLimits[Lane], pace: Pace, lane: Lane, item: OutboxItem) -> bool:
        """Takes the tokens that a send needs; without them the lane is parked.

        Args:
            limits: Those of the bot.
            pace: The one of the chat.
            lane: Whose head is to be sent.
            item: The head.
        """
        chat = item.place.chat
        now = self._clock.monotonic()
        ready_at = limits.chats.ready_at(chat, pace)
        if ready_at > now + TICK_S:
            self.park(lane, ready_at)
            return False
        if item.call.bulk and not self._pass(limits.bulk, lane, now):
            return False
        if not self._pass(limits.every, lane, now):
            return False
        limits.chats.take(chat, pace, now)
        lane.passed = 0
        return True

    def _pass(self, gate: Gate[Lane], lane: Lane, now: float) -> bool:
        if now + TICK_S >= gate.blocked_until and (
            lane.passed & gate.mark or (not gate.waiting and gate.take(now))
        ):
            lane.passed |= gate.mark
            return True
        lane.passed &= ~gate.mark
        lane.state, lane.due = PARKED, gate.ready_at()
        gate.waiting.append(lane)
        self._arm(gate)
        if lane.waiters:
            lane.wake()
        return False

    def _ring(self, what: Lane | Gate[Lane]) -> None:
        """An alarm's time has come: a lane may go on, or a gate has tokens again."""
        if isinstance(what, Lane):
            what.state = IDLE
            if not what.holds:
                self.make_ready(what)
            return
        what.armed = False
        for lane in what.release(self._clock.monotonic()):
            lane.passed |= what.mark
            self._ring(lane)
        self._arm(what)

    def _arm(self, gate: Gate[Lane]) -> None:
        if gate.waiting and not gate.armed:
            gate.armed = True
            self._alarms.set(gate.ready_at(), gate)

    # -- settling and tasks -------------------------------------------------------------------

    def settle_soon(self) -> None:
        """Sees to it that what the settler was given is written."""
        if self._settler.waiting:
            self.spawn(self.settle())

    async def settle(self) -> None:
        """Writes what there is to settle."""
        await self._settler.drain()
        self._on_idle()

    async def durably(self, settled: Settled) -> None:
        """Returns once the store has it."""
        future = self._settler.put_durably(settled)
        self.settle_soon()
        await future

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` beside."""
        _ = self.start(work)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` beside; `tasks` holds it until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
