"""Limits by a sliding window: at most so many messages to a chat within any so many seconds.

Some platforms punish whoever exceeds such a limit (Twitch ignores a bot for half an hour), so it must
hold over a crash, too: who was here before may have used the window. Writing down every message would
cost a commit each. Instead, only a chat whose window is more than half used is marked in the store, at
most twice per window, before it is sent to, and so is the fact that anything is sent at all. For one
window after a start every chat has half of it and a marked one nothing, unless nothing was sent.
All times but the marks are seconds of the monotonic clock.
"""

from __future__ import annotations

import logging
import math
from collections import deque

from legato.abc import Clock, Store
from legato.errors import StoreError
from legato.model.records import Commit
from legato.outbox.limits import TICK_S

log: logging.Logger = logging.getLogger("legato.relay")

Window = tuple[int, float]
"""(messages, seconds)."""
SPACE = "pace"
"""Where the store keeps marks: by lane (or ANY), the wall time in milliseconds."""
ANY = "any"
"""The mark that tells that something was sent to some chat."""
SWEEP_SIZE = 1024


class Sent:
    """What was sent to one chat.

    Attributes:
        times: When, the latest last; only as far back as the window reaches.
        start: Up to when somebody else may have used half of the window.
        crowded: Up to when the other half.
        marked: When the store was last told that this chat is busy.
    """

    __slots__ = ("crowded", "marked", "start", "times")

    def __init__(self, start: float) -> None:
        self.times: deque[float] = deque()
        self.start: float = start
        self.crowded: float = -math.inf
        self.marked: float = -math.inf

    def ready_at(self, window: Window, now: float) -> float:
        """When the next message may be sent; a time that has passed means: now."""
        count, span_s = window
        while self.times and self.times[0] <= now - span_s:
            self.times.popleft()
        half = count // 2
        # As if the others had sent (count - half) messages at `crowded`, and half at `start`.
        late = len(self.times) - count
        if late >= 0:
            return self.times[late] + span_s
        if late + half >= 0:
            return self.start + span_s
        return self.crowded + span_s

    def crowds(self, window: Window, now: float) -> bool:
        """Whether one message more makes it more than half of the window."""
        count, span_s = window
        before = count // 2 if self.start > now - span_s else 0
        return len(self.times) + before + 1 > count // 2


class Pacing:
    """The windows of all chats, by lane. Memory is bounded by the chats that are not idle.

    Args:
        store: Keeps the marks.
        clock: Time.
    """

    __slots__ = ("_before", "_chats", "_clock", "_marked", "_start", "_store", "_sweep_size")

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._start = clock.monotonic()
        self._before: float | None = None  # until when somebody else may have sent something
        self._marked = -math.inf
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
        now = self._clock.monotonic()
        ready_at = sent.ready_at(window, now)
        if ready_at > now + TICK_S:
            return ready_at
        crowds = sent.crowds(window, now)
        sent.times.append(now)
        old = now - window[1] / 2
        marks = []
        if self._marked <= old:
            self._marked = now
            marks.append(ANY)
        if crowds and sent.marked <= old:
            sent.marked = now
            marks.append(lane)
        if marks:
            await self._mark(marks)
        return 0.0

    def landed(self, lane: str) -> None:
        """The message for which the last place was taken has arrived only now. The platform may count
        it from now on: so does the window.
        """
        sent = self._chats.get(lane)
        if sent is not None and sent.times:
            sent.times[-1] = self._clock.monotonic()

    async def _begin(self, lane: str, window: Window) -> Sent:
        span_s = window[1]
        sent = Sent(-math.inf)
        if self._clock.monotonic() < self._start + span_s:
            if self._before is None:
                self._before = await self._until(ANY, span_s)
            sent.start = self._before
            if sent.start > self._start - span_s:
                sent.crowded = await self._until(lane, span_s)
        if len(self._chats) >= self._sweep_size:
            self._sweep(span_s)
        return self._chats.setdefault(lane, sent)

    async def _until(self, mark: str, span_s: float) -> float:
        """Until when a mark that an earlier process left may have held; long ago if there is none."""
        try:
            kept = await self._store.get(SPACE, mark)
        except StoreError as error:
            log.warning("whether %s was busy is not known: %s", mark, error)
            return self._start
        if not kept:
            return -math.inf
        ago_s = (self._clock.now_ms() - int(kept)) / 1000
        # Until the next mark was due: half a window.
        return min(self._clock.monotonic() - ago_s + span_s / 2, self._start)

    async def _mark(self, marks: list[str]) -> None:
        now_ms = self._clock.now_ms()
        puts = tuple((SPACE, mark, str(now_ms).encode()) for mark in marks)
        try:
            await self._store.commit(Commit(at_ms=now_ms, puts=puts))
        except StoreError as error:  # only a crash within the next seconds would want it
            log.warning("the store did not take that %s is busy: %s", marks[-1], error)

    def _sweep(self, span_s: float) -> None:
        """Forgets chats that nothing was sent to for so long that they can begin anew."""
        now = self._clock.monotonic()
        old = now - 2 * max(span_s, 1.0)
        if self._start < old:
            self._chats = {
                lane: sent
                for lane, sent in self._chats.items()
                if sent.times and sent.times[-1] > old
            }
        self._sweep_size = max(SWEEP_SIZE, 2 * len(self._chats))
