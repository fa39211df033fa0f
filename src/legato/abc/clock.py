"""Time as a service, so that tests and simulations can own it."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Clock(ABC):
    """Wall time and sleeping. Everything that is stored uses `now_ms`."""

    __slots__ = ()

    @abstractmethod
    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch (UTC). May jump, as wall clocks do."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds since some point; never jumps."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds` of monotonic time (at once if <= 0)."""
