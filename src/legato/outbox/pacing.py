"""Limits by a sliding window: at most so many messages to a chat within any so many seconds.

Some platforms punish whoever exceeds such a limit (Twitch ignores a bot for half an hour), so it must
hold over a crash, too: who was here before may have used the window. Writing down every message would
cost a commit each. So a chat of which a quarter of the window is used is written down with every
message, before that is sent; of the others, only the fact that something was sent at all. After a
start shortly after such a fact a chat counts what is written down, and one quarter as used.
All times but those in the store are seconds of the monotonic clock.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Collection, Iterable

import msgspec

from legato.abc import Clock, Store
from legato.errors import StoreError
from legato.model.records import Commit
from legato.model.shards import slot_of_lane
from legato.outbox.limits import TICK_S

log: logging.Logger = logging.getLogger("legato.relay")

Window = tuple[int, float]
"""(messages, seconds)."""
SPACE = "pace"
"""Where the store keeps it: by lane the times of messages, in milliseconds; and ANY."""
ANY = "any"
"""Until when something may have been sent to some chat."""
QUARTER = 4
ARRIVES_S = 2.0
"""So long after it was written down a message of an earlier process has arrived."""
SWEEP_SIZE = 1024


class Sent:
    """What was sent to one chat.

    Attributes:
        times: When, the latest last; only as far back as the window reaches.
    """

    __slots__ = ("times",)

    def __init__(self, times: Iterable[float] = ()) -> None:
        self.times: deque[float] = deque(times)

    def ready_at(self, window: Window, now: float) -> float:
        """When the next message may be sent; a time that has passed means: now."""
        count, span_s = window
        while self.times and self.times[0] <= now - span_s:
            self.times.popleft()
        late = len(self.times) - count
        return self.times[late] + span_s if late >= 0 else 0.0


class Pacing:
    """The windows of all chats, by lane. Memory is bounded by the chats that are not idle.

    Args:
        store: Where it is written down.
        clock: Time.
    """

    __slots__ = ("_any_until", "_before", "_chats", "_clock", "_start", "_store", "_sweep_size")

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._start = clock.monotonic()
        self._before: float | None = None  # until when somebody else may have sent something
        self._any_until = -math.inf
        self._chats: dict[str, Sent] = {}
        self._sweep_size = SWEEP_SIZE

    def __len__(self) -> int:
        return len(self._chats)

    async def admit(self, lane: str, window: Window) -> float:
        """Takes a place in the window: 0.0 if there is one, else when there will be.

        Args:
            lane: The chat.
            window: Its limit as it is now.
        """
        sent = self._chats.get(lane)
        if sent is None:
            sent = await self._begin(lane, window)
        count, span_s = window
        now = self._clock.monotonic()
        ready_at = sent.ready_at(window, now)
        if ready_at > now + TICK_S:
            return ready_at
        sent.times.append(now)
        puts: list[tuple[str, str, bytes | None]] = []
        if now >= self._any_until:
            self._any_until = now + span_s / 2
            puts.append((SPACE, ANY, msgspec.json.encode(self._wall_ms(self._any_until))))
        if len(sent.times) > count // QUARTER:
            times = [self._wall_ms(at) for at in sent.times]
            puts.append((SPACE, lane, msgspec.json.encode(times)))
        if puts:
            await self._write(tuple(puts))
        return 0.0

    def landed(self, lane: str) -> None:
        """The message for which the last place was taken has arrived only now. The platform may count
        it from now on: so does the window.
        """
        sent = self._chats.get(lane)
        if sent is not None and sent.times:
            sent.times[-1] = self._clock.monotonic()

    def take_over(self, slots: Collection[int]) -> None:
        """Chats of these slots were another process's until now: what it sent there counts."""
        self._start = self._clock.monotonic()
        self._before = None
        self._chats = {
            lane: sent for lane, sent in self._chats.items() if slot_of_lane(lane) not in slots
        }

    # -- over a restart -----------------------------------------------------------------------

    async def _begin(self, lane: str, window: Window) -> Sent:
        count, span_s = window
        sent = Sent()
        start = self._start
        if self._clock.monotonic() < start + span_s:
            if self._before is None:
                kept = await self._kept(ANY)
                until = self._monotonic(msgspec.json.decode(kept)) if kept else -math.inf
                self._before = min(until, self._start)
            if self._before > start - span_s:
                sent = await self._inherited(lane, count, span_s, self._before)
        if len(self._chats) >= self._sweep_size:
            self._sweep(span_s)
        return self._chats.setdefault(lane, sent)

    async def _inherited(self, lane: str, count: int, span_s: float, before: float) -> Sent:
        """What others sent to a chat until `before`."""
        kept = await self._kept(lane)
        walls = msgspec.json.decode(kept, type=list[int]) if kept else []
        times = [min(self._monotonic(ms) + ARRIVES_S, self._start) for ms in walls]
        quarter = count // QUARTER
        # As long as more than a quarter was used, every message was written down.
        known = self._monotonic(walls[-quarter - 1]) + span_s if len(walls) > quarter else -math.inf
        if known <= before:
            times += [before] * quarter
        return Sent(sorted(times))

    async def _kept(self, name: str) -> bytes | None:
        try:
            return await self._store.get(SPACE, name)
        except StoreError as error:  # then it is not known: a quarter counts as used
            log.warning("what was sent before is not known: %s", error)
            return msgspec.json.encode(self._clock.now_ms()) if name == ANY else None

    async def _write(self, puts: tuple[tuple[str, str, bytes | None], ...]) -> None:
        try:
            await self._store.commit(Commit(at_ms=self._clock.now_ms(), puts=puts))
        except StoreError as error:  # only a crash within the next seconds would want it
            log.warning("the store did not take what was sent: %s", error)

    def _wall_ms(self, at: float) -> int:
        return self._clock.now_ms() + round((at - self._clock.monotonic()) * 1000)

    def _monotonic(self, wall_ms: int) -> float:
        """A wall time of an earlier process."""
        return self._clock.monotonic() + (wall_ms - self._clock.now_ms()) / 1000

    def _sweep(self, span_s: float) -> None:
        """Forgets chats that nothing was sent to for so long that they can begin anew."""
        old = self._clock.monotonic() - span_s
        if self._start < old:
            self._chats = {
                lane: sent
                for lane, sent in self._chats.items()
                if sent.times and sent.times[-1] > old
            }
        self._sweep_size = max(SWEEP_SIZE, 2 * len(self._chats))
