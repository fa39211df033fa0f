"""The relay delivers what was committed: in order per lane, lanes side by side."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from legato.abc import Clock, HttpClient, Platform, Store, Verdict
from legato.abc.observer import Observer
from legato.errors import Unavailable
from legato.model.events import Address
from legato.model.records import DEAD, QUEUED, UNKNOWN, Call, OutboxItem, Settled
from legato.model.shards import slot_of
from legato.outbox.acks import Acks
from legato.outbox.backlog import Backlog
from legato.outbox.dispatch import BULK
from legato.outbox.lanes import IDLE, Asked
from legato.outbox.ours import Ours, abandon, emptied, lane_slot
from legato.outbox.recovery import Only, Recovery
from legato.outbox.sender import Lookup, OnGone, Sender
from legato.outbox.settings import RelaySettings, RelayStats

__all__ = ["Lookup", "OnGone", "Only", "Relay", "RelaySettings", "RelayStats"]

LOOK_S = 0.05


class Relay:
    """Sends outbox items and settles their fate. One per process; all methods in its event loop.

    Args:
        store: Where items live until they are sent.
        platforms: Adapters by (name, bot), or a function from a place to its adapter.
        http: The client the adapters send with.
        clock: Time.
        on_gone: Called once per conversation whose user cannot be reached, before the item is
            settled (so again after a crash in between). It may offer items and wait for lanes.
        settings: Knobs.
        ours: Which items are for this process; None: all are.
    """

    def __init__(
        self,
        store: Store,
        platforms: Mapping[tuple[str, str], Platform] | Lookup,
        http: HttpClient,
        clock: Clock,
        *,
        on_gone: OnGone,
        settings: RelaySettings | None = None,
        ours: Ours | None = None,
    ) -> None:
        lookup: Lookup = (
            platforms
            if callable(platforms)
            else lambda place: platforms.get((place.platform, place.bot))
        )
        self.settings: RelaySettings = settings or RelaySettings()
        settings = self.settings
        self._store = store
        self._clock = clock
        self._sender = Sender(
            store,
            lookup,
            http,
            clock,
            on_gone=on_gone,
            on_idle=self._check_idle,
            settings=settings,
        )
        self._sender.ours = self._ours = ours
        self._lanes = self._sender.dispatch
        self._recovery = Recovery(store, self._sender, self.known_ids, clock)
        self._backlog = self._lanes.backlog = self._recovery.backlog = Backlog(
            store,
            clock,
            settings.bulk_lanes,
            slots=lambda: None if ours is None else ours.slots,
            known=self.known_ids,
            take=self._recovery.take,
            spawn=lambda bot: self._lanes.spawn(self._backlog.refill(bot)),
        )
        self._acks = Acks(http, clock, settings.acks, self._check_idle)
        self._idle: dict[asyncio.Future[None], float] = {}
        self._closed = False

    @property
    def stats(self) -> RelayStats:
        """Counters since the start."""
        return self._sender.stats

    def watch(self, observer: Observer) -> None:
        """Tells `observer` of each send from now on."""
        self._sender.observer = observer

    # -- in -----------------------------------------------------------------------------------

    def offer(self, items: Sequence[OutboxItem]) -> None:
        """Queues items just committed (with their ids), in order. Never waits.

        Those that a recovery found in the store before are not queued again. Those of other processes
        are left to them: they find them in the store. After `close` nothing is taken: the items are
        in the store, for the next start.
        """
        if self._closed:
            return
        if self._ours is not None:
            items = [item for item in items if self._ours.owns(slot_of(item.place))]
        if self._recovery.running is not None:
            self._recovery.late.extend(items)
            return
        for item in items:
            if item.id not in self._recovery.found and not self._backlog.leaves(item):
                self._lanes.enqueue(item)

    def hold(self, lane: str) -> None:
        """Starts no send in `lane` until as many `release` calls: a webhook reply to that chat is
        on its way. A send already under way goes on: ask `idle` before choosing to reply.
        """
        self._lanes.open(lane).holds += 1

    def release(self, lane: str) -> None:
        """Undoes one `hold`. Harmless without one."""
        held = self._lanes.lanes.get(lane)
        if held is None or not held.holds:
            return
        held.holds -= 1
        if held.holds or held.state != IDLE:
            return
        if held.queue:
            self._lanes.make_ready(held)
        else:
            self._lanes.forget(held)

    def idle(self, lane: str) -> bool:
        """Whether nothing is queued, held or under way in `lane`: a webhook reply is in order."""
        known = self._lanes.lanes.get(lane)
        return self._recovery.running is None and (
            known is None or not (known.queue or known.holds)
        )

    def ack(self, call: Call, place: Address) -> None:
        """Sends `call` at once, outside the lanes. Failures are only logged; never waits."""
        bot = self._sender.bot(place)
        if bot is None or self._closed:
            return
        if self._clock.monotonic() < bot.limits.every.blocked_until:
            self.stats.expired += 1  # the platform told the whole bot to be silent
            return
        self._acks.send(bot.platform, call, place)

    async def call(
        self,
        call: Call,
        place: Address,
        delivery: str = "at_least_once",
        *,
        key: str = "",
        epoch: int = 0,
    ) -> Verdict:
        """Performs a call whose result is wanted, behind what is queued in the place's lane.

        Limits and retries are those of items, but nothing is stored. `key` and `epoch` say which
        conversation's refs the call may target.

        Returns:
            The final verdict: "sent", "refused" (also when it was given up), "gone" or "unknown".

        Raises:
            Unavailable: The relay was closed before the answer came.
        """
        item = OutboxItem(
            0, place.lane, place, key, epoch, "", call, delivery, created_ms=self._clock.now_ms()
        )
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        if self._closed:
            raise Unavailable("the relay is closed")
        asked = Asked(item, answer)
        if self._recovery.running is not None:
            self._recovery.late.append(asked)
        else:
            self._lanes.enqueue(asked)
        return await answer

    async def delivered(self, lane: str, up_to_id: int, within_s: float = math.inf) -> None:
        """Returns once the fate of all items of `lane` with an id up to `up_to_id` is known (sent,
        dead or unknown), or once that cannot be within so many seconds: the chat is to be left alone for longer.
        `up_to_id` is the id of the caller's own last item.

        Raises:
            Unavailable: The relay was closed before that.
        """
        until = self._clock.monotonic() + within_s
        while self._recovery.running is not None:
            await asyncio.shield(self._recovery.running)
        futures = []
        for name in (lane, lane + BULK):
            known = self._lanes.lanes.get(name)
            if known is None or not known.has_up_to(up_to_id) or known.rests(until):
                continue
            # an older broadcast may wait for hours; it matters only to those who stand behind it
            if name != lane and all(entry.id != up_to_id for entry in known.queue):
                continue
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            known.waiters.append((up_to_id, future, until))
            futures.append(future)
        for future in futures:
            await future

    # -- life ---------------------------------------------------------------------------------

    async def recover(
        self,
        only: Only | None = None,
        slots: Collection[int] | None = None,
        *,
        pages: int = 0,
        after: int = 0,
    ) -> int:
        """Takes over what the store holds as undelivered, by id; what is offered meanwhile goes behind it.
        Items this process knows already are left alone, so it may be repeated. Returns how many it took.

        Args:
            only: Which to take, those that no other living process is sending: that is for the caller to know. None:
                all but what an invocation of a function has committed and may be sending.
            slots: Only items of these, another process's until now; None: of all that are ours.
            pages: So many at most, from where the last one with a limit has ended; 0 = all.
            after: Only items with a larger id.

        If another recovery is under way, it is waited for; it is enough where nothing else is asked for.

        Raises:
            StoreUnavailable: The store cannot be read now; what came before that is queued.
        """
        return await self._recovery.run(only, slots, pages, after)

    async def retry(self, ids: Sequence[int]) -> int:
        """Queues DEAD and UNKNOWN items again, as if committed now; returns how many there were.
        Others are left alone.

        Raises:
            StoreUnavailable: The store cannot be read now.
        """
        count = 0
        for item_id in sorted(set(ids)):
            rows = await self._store.outbox(states=(DEAD, UNKNOWN), after=item_id - 1, limit=1)
            if not rows or rows[0].id != item_id or item_id in self.known_ids():
                continue
            self._sender.telling.add(item_id)  # known from here on: a second retry finds it taken
            try:
                await self._lanes.durably(Settled(item_id, QUEUED))
            finally:
                self._sender.telling.discard(item_id)
            now_ms = self._clock.now_ms()
            fresh = replace(
                rows[0], state=QUEUED, attempts=0, not_before_ms=0, error="", created_ms=now_ms
            )
            self._lanes.enqueue(fresh)
            count += 1
        return count

    @property
    def left(self) -> int:
        """Items and calls not settled durably yet."""
        queued = sum(len(lane.queue) for lane in self._lanes.lanes.values())
        return (
            queued
            + len(self._recovery.late)
            + len(self._sender.settler)
            + len(self._sender.telling)
        )

    def waiting(self) -> set[str]:
        """Lanes in which items wait, other than broadcasts."""
        return {item.lane for item in self._lanes.waiting()}

    def waiting_ids(self) -> set[int]:
        """The items that wait there."""
        return {item.id for item in self._lanes.waiting()}

    def known_ids(self) -> set[int]:
        """Ids of the items this process is responsible for."""
        lanes = self._lanes.lanes.values()
        ids = {e.id for a in lanes for e in list(a.queue)[a.dropped and not a.sending :]}
        return ids | self._sender.settler.ids() | self._sender.telling

    async def flush(self, deadline_s: float, *, give_up: bool = False) -> int:
        """Waits until nothing is left, or for `deadline_s`; returns how many items are left.

        Args:
            deadline_s: So long at most.
            give_up: Not for chats that are to be left alone for longer than that.
        """
        loop = asyncio.get_running_loop()
        until = self._clock.monotonic() + deadline_s if give_up else math.inf
        limit = loop.create_task(self._clock.sleep(deadline_s))
        try:
            while self._busy(until) and not limit.done():
                idle: asyncio.Future[None] = loop.create_future()
                self._idle[idle] = until
                try:
                    await asyncio.wait({idle, limit}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self._idle.pop(idle, None)
        finally:
            limit.cancel()
            await asyncio.wait({limit})
        return self.left

    def is_busy(self, within_s: float) -> bool:
        """Whether something is under way, or may be within so many seconds."""
        return self._busy(self._clock.monotonic() + within_s)

    def _busy(self, until: float) -> bool:
        """Whether something is under way, or may be until then."""
        sender = self._sender
        if self._acks.busy or self._recovery.late or len(sender.settler) or sender.telling:
            return True
        return any(lane.queue and not lane.rests(until) for lane in self._lanes.lanes.values())

    def drop(self, slots: Collection[int]) -> None:
        """Lets the items of these slots leave memory unsent: another process sends them. A send that
        is under way comes to its end, and its fate is written.
        """
        for lane in list(self._lanes.lanes.values()):
            if lane_slot(lane) in slots:
                abandon(lane)

    async def emptied(self, slots: Collection[int], deadline_s: float) -> bool:
        """Waits until nothing of these slots is left, and that is durable; False if `deadline_s` was
        not enough.
        """
        until = self._clock.monotonic() + deadline_s
        if not await emptied(self._lanes.lanes, slots, self._clock, deadline_s, LOOK_S):
            return False
        written = asyncio.ensure_future(self._sender.settler.written())
        self._lanes.settle_soon()
        await asyncio.sleep(0)
        while not written.done() and self._clock.monotonic() < until:
            await self._clock.sleep(LOOK_S)
        written.cancel()
        await asyncio.gather(written, return_exceptions=True)
        return not written.cancelled()

    def _check_idle(self) -> None:
        for future, until in list(self._idle.items()):
            if not self._busy(until):
                del self._idle[future]
                future.set_result(None)

    async def close(self) -> None:
        """Stops sending. What was not sent stays in the store; what was sent is written once
        more. Whoever waits gets Unavailable. Idempotent.
        """
        self._closed = self._recovery.closed = True
        sender = self._sender
        tasks = list(self._lanes.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._acks.close()
        entries: list[OutboxItem | Asked] = list(self._recovery.late)
        for lane in self._lanes.lanes.values():
            entries += lane.queue
            for _, future, _ in lane.waiters:
                if not future.done():
                    future.set_exception(Unavailable("the relay was closed"))
        self._lanes.lanes.clear()
        for entry in entries:
            if isinstance(entry, Asked) and not entry.answer.done():
                entry.answer.set_exception(Unavailable("the relay was closed"))
        if sender.settler.waiting:
            await sender.settler.write()
