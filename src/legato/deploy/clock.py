"""The machine's own time."""

from __future__ import annotations

import asyncio
import time

from legato.abc.clock import Clock


class SystemClock(Clock):
    """Time as it passes."""

    __slots__ = ()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


__all__ = ["SystemClock"]
