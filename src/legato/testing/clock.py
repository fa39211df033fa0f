"""A clock that tests own: time stands still until it is moved."""

from __future__ import annotations

import asyncio
import heapq

from legato.abc import Clock

START_MS = 1_800_000_000_000
"""2027-01-15 08:00:00 UTC: where a fake clock begins."""


class FakeClock(Clock):
    """Wall and monotonic time that move only by `advance` (and the wall by `jump`)."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._wall_ms = float(now_ms)
        self._monotonic = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ms(self) -> int:
        return int(self._wall_ms)

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._count, future))
        await future

    def advance(self, seconds: float) -> None:
        """Moves time forward and wakes whoever has slept long enough, in order."""
        target = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= target + 1e-9:
            when, _, future = heapq.heappop(self._sleepers)
            self._wall_ms += max(0.0, when - self._monotonic) * 1000
            self._monotonic = max(self._monotonic, when)
            if not future.done():
                future.set_result(None)
        self._wall_ms += (target - self._monotonic) * 1000
        self._monotonic = target

    def next_s(self) -> float | None:
        """Seconds until the next sleeper wakes, None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return max(0.0, self._sleepers[0][0] - self._monotonic) if self._sleepers else None

    def jump(self, seconds: float) -> None:
        """Moves only the wall clock, as NTP or an operator does."""
        self._wall_ms += seconds * 1000
