"""How much a worker does at once.

A burst hands thousands of letters to a worker. If it worked on all of them side by side, none would be done soon,
its heartbeats would wait behind them, and its shards would go to others that have no more time than it has. So
only AT_ONCE Turns run at once, and letters beyond that wait in the broker. A Turn that takes long gives its seat
away: slow steps of some must not stop everybody else.
"""

from __future__ import annotations

import asyncio

from legato.abc import Clock

AT_ONCE = 64
"""More than what fills one commit to the store; few enough that a heartbeat hardly waits."""


class Seats:
    """All of them. Belongs to one event loop.

    Args:
        clock: Time.
        count: How many there are.
    """

    __slots__ = ("_clock", "_free", "_taken")

    def __init__(self, clock: Clock, count: int) -> None:
        self._clock = clock
        self._free = asyncio.Semaphore(count)
        self._taken: dict[Seat, float] = {}  # since when; the oldest first

    async def take(self, seat: Seat) -> None:
        """Waits until one is free; who came first gets it first."""
        await self._free.acquire()
        self._taken[seat] = self._clock.monotonic()

    def leave(self, seat: Seat) -> None:
        """Gives it back, if it was not given away."""
        if self._taken.pop(seat, None) is not None:
            self._free.release()

    def give_away(self, before: float) -> None:
        """Frees those that were taken before a time of the clock, whatever is done on them."""
        for seat, since in list(self._taken.items()):
            if since > before:
                return
            self.leave(seat)


class Seat:
    """One of them, for the length of a block (or for as long as it is not given away)."""

    __slots__ = ("_seats",)

    def __init__(self, seats: Seats) -> None:
        self._seats = seats

    async def __aenter__(self) -> None:
        await self._seats.take(self)

    async def __aexit__(self, *exc_info: object) -> None:
        self._seats.leave(self)


__all__ = ["AT_ONCE", "Seat", "Seats"]
