"""What lies undelivered in the store is taken over: at a start, with another process's chats, and now and
then, for what an operator has queued again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection

from msgspec.structs import replace

from legato.abc import Clock, Store
from legato.model.records import QUEUED, SENDING, UNKNOWN, OutboxItem, Settled
from legato.outbox.backlog import Backlog
from legato.outbox.caretaker import Claims, is_claimed
from legato.outbox.lanes import Asked
from legato.outbox.ours import wanted
from legato.outbox.sender import Sender
from legato.outbox.verdicts import careful

log: logging.Logger = logging.getLogger("legato.relay")

PAGE = 1000
DIED = "the process ended while it was being sent"

Only = Callable[[OutboxItem], bool]


class Recovery:
    """One recovery after the other.

    Args:
        store: Where it lies.
        sender: Who sends it.
        known: Ids of what this process has in memory.
        clock: Time.

    Attributes:
        backlog: Broadcasts that stay in the store.
        running: Done once the recovery that is under way has ended; None: none is.
        late: What was offered during it: it goes behind what the store holds.
        found: Ids that the last one found, perhaps before they were offered.
        closed: Nothing is taken any more.
    """

    __slots__ = (
        "_clock",
        "_known",
        "_newest",
        "_read_up_to",
        "_sender",
        "_store",
        "backlog",
        "closed",
        "found",
        "late",
        "running",
    )

    def __init__(
        self, store: Store, sender: Sender, known: Callable[[], set[int]], clock: Clock
    ) -> None:
        self._store = store
        self._clock = clock
        self._sender = sender
        self._known = known
        self._read_up_to = self._newest = 0  # ids, of recoveries with a limit
        self.backlog: Backlog
        self.running: asyncio.Future[None] | None = None
        self.late: list[OutboxItem | Asked] = []
        self.found: set[int] = set()
        self.closed: bool = False

    async def run(
        self, only: Only | None, slots: Collection[int] | None, pages: int, after: int = 0
    ) -> int:
        """See `Relay.recover`."""
        ours = self._sender.ours
        if slots is not None:
            self._sender.pacing.take_over(slots)
        while self.running is not None:
            await asyncio.shield(self.running)
            if slots is None and only is None:
                return 0
        if slots is None and ours is not None:
            slots = ours.slots
        if slots is not None and not slots:
            return 0
        self.running = asyncio.get_running_loop().create_future()
        seen = set[int]()
        self.found = set()  # what it held was offered long ago
        try:
            return await self._take_over(seen, only, slots, pages, after)
        finally:
            self.running.set_result(None)
            self.running = None
            late, self.late = self.late, []
            for entry in late:
                if isinstance(entry, Asked) or not (entry.id in seen or self.backlog.leaves(entry)):
                    self._sender.dispatch.enqueue(entry)

    async def _take_over(
        self,
        seen: set[int],
        only: Only | None,
        slots: Collection[int] | None,
        pages: int,
        after: int,
    ) -> int:
        ours = self._sender.ours
        if ours is not None and not await ours.ready():
            return 0
        seen |= self._known()  # some of it may have been let go of, to be ready
        limited, taken, resume = pages > 0, 0, 0
        claims = Claims(self._clock.now_ms())
        after = self._read_up_to if limited else after
        strangers: Counter[tuple[str, str]] = Counter()
        while True:
            page = await self._store.outbox(
                states=(QUEUED, SENDING), after=after, limit=PAGE, slots=slots
            )
            for item in page:
                after = item.id
                if item.id in seen or not wanted(ours, only or claims.free, item):
                    continue
                seen.add(item.id)
                if self._lost(item):
                    continue
                if self._sender.bot(item.place) is None:
                    strangers[item.place.platform, item.place.bot] += 1
                elif not self.backlog.leaves(item):
                    taken += 1
                    self.found.add(item.id)
                    self._sender.dispatch.enqueue(replace(item, state=QUEUED))
            if len(page) < PAGE:
                break
            pages -= 1
            if not pages:
                resume, after = after, max(after, self._newest)
        if limited:
            self._read_up_to, self._newest = resume, max(after, self._newest)
        for (name, bot_id), count in strangers.items():
            log.warning("%d messages wait for %s bot %s, which is not set up", count, name, bot_id)
        self._sender.dispatch.settle_soon()
        return taken

    def take(self, item: OutboxItem) -> None:
        """Queues what the backlog has found in the store, if it is (still) ours."""
        ours = self._sender.ours
        if self.closed or not wanted(ours, None, item) or is_claimed(item, self._clock.now_ms()):
            return
        if (ours is None or ours.sends(item)) and not self._lost(item):
            self._sender.dispatch.enqueue(replace(item, state=QUEUED))

    def _lost(self, item: OutboxItem) -> bool:
        """Whether the process before died in its only try: nobody knows whether it has arrived."""
        if item.state != SENDING or not careful(item, item.call):
            return False
        self._sender.settler.put(Settled(item.id, UNKNOWN, item.attempts + 1, error=DIED))
        self._sender.stats.unknown += 1
        return True


__all__ = ["Only", "Recovery"]
