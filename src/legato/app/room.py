"""Who may run beside whom while it is sought who ends the process: many together, or one alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from legato.abc import Clock
from legato.app.tasks import cancelled

Turnstile = deque[asyncio.Future[None]]

SETTLE_S = 1.0
"""Whoever goes in alone waits so long for what was begun freely right before."""


async def _nothing() -> None:
    """Nobody is told."""


class Room:
    """Company goes in together, a loner when nobody is inside; they take turns when both wait.

    Belongs to one event loop.

    Args:
        clock: What time is measured with.

    Attributes:
        free: How many are under way that began outside, while it was calm.
        outlived: How many have stayed longer than they were given, and go on outside.
    """

    __slots__ = (
        "_alone",
        "_clock",
        "_companions",
        "_company_next",
        "_inside",
        "_latest",
        "_loners",
        "_settled",
        "_stays",
        "free",
        "outlived",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inside = 0
        self._alone = False
        self._company_next = False
        self._companions: Turnstile = deque()
        self._loners: Turnstile = deque()
        self._latest = float("-inf")
        self._settled: asyncio.Future[None] | None = None
        self._stays: dict[Stay, None] = {}  # in order: simulations must go the same way again
        self.free: int = 0
        self.outlived: int = 0

    @property
    def calm(self) -> bool:
        """Nobody is or wants to be alone: whoever is no suspect need not come in, but `begins`."""
        return not self._alone and not self._loners

    def begins(self) -> None:
        """Something begins outside. Costs next to nothing."""
        self.free += 1
        self._latest = self._clock.monotonic()

    def ends(self) -> None:
        """It is over."""
        self.free -= 1
        if not self.free and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    async def enter(
        self, *, alone: bool, seconds: float, outlived: Callable[[], Awaitable[None]] = _nothing
    ) -> Stay:
        """Returns once there is room. The stay is to be ended; after so many seconds `outlived` is
        called, and then others have the room.
        """
        if self.calm and not (alone and self._inside):
            self._admit(alone=alone)
        else:
            await self._wait(alone=alone)
        if alone and self.free:
            await self._settle()
        stay = Stay(self, self._clock, seconds, outlived, alone=alone)
        self._stays[stay] = None
        if alone or self._loners or self._companions:
            stay.hurry()
        return stay

    async def _wait(self, *, alone: bool) -> None:
        waiting = self._loners if alone else self._companions
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        for stay in self._stays:
            stay.hurry()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave(alone=alone)  # just let in
            elif turn in waiting:
                waiting.remove(turn)
                self._next()
            raise

    async def _settle(self) -> None:
        """Lets what began outside come to its end, if it is fast."""
        seconds = SETTLE_S - (self._clock.monotonic() - self._latest)
        if seconds <= 0:
            return
        self._settled = asyncio.get_running_loop().create_future()
        limit = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({self._settled, limit}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self.leave(alone=True)
            raise
        finally:
            self._settled = None
            limit.cancel()

    def leave(self, *, alone: bool, stay: Stay | None = None) -> None:
        """Makes room."""
        if stay is not None:
            self._stays.pop(stay, None)
        if alone:
            self._alone = False
            self._company_next = True
        else:
            self._inside -= 1
        self._next()

    def _admit(self, *, alone: bool) -> None:
        if alone:
            self._alone = True
        else:
            self._inside += 1

    def _next(self) -> None:
        if self._alone:
            return
        if not self._inside and not (self._companions and self._company_next):
            self._let_in(self._loners, alone=True)
        if not self._alone and (not self._loners or (not self._inside and self._company_next)):
            self._company_next = False
            while self._let_in(self._companions, alone=False):
                continue

    def _let_in(self, waiting: Turnstile, *, alone: bool) -> bool:
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                self._admit(alone=alone)  # at once: it is never free in between
                turn.set_result(None)
                return True
        return False


class Stay:
    """The time that one piece of work spends in the room. It is measured once somebody waits for room, and
    from the beginning for who is alone.

    Attributes:
        alone: Nobody else goes in meanwhile.
    """

    __slots__ = ("_clock", "_left", "_limit", "_outlived", "_room", "_until", "alone")

    def __init__(
        self,
        room: Room,
        clock: Clock,
        seconds: float,
        outlived: Callable[[], Awaitable[None]],
        *,
        alone: bool,
    ) -> None:
        self.alone: bool = alone
        self._room = room
        self._clock = clock
        self._outlived = outlived
        self._until = clock.monotonic() + seconds
        self._left = False
        self._limit: asyncio.Task[None] | None = None

    def hurry(self) -> None:
        """Its time begins to matter. Idempotent."""
        if self._limit is None and not self._left:
            self._limit = asyncio.create_task(self._run_out())

    async def _run_out(self) -> None:
        await self._clock.sleep(self._until - self._clock.monotonic())
        self._room.outlived += 1
        try:
            await self._outlived()
            self._leave()
            await asyncio.Event().wait()  # until its end
        finally:
            self._room.outlived -= 1

    async def end(self) -> None:
        """The work is over. Idempotent."""
        try:
            if self._limit is not None:
                await cancelled([self._limit])
        finally:  # also if we are let go of just now, or nobody would ever come in again
            self._leave()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._room.leave(alone=self.alone, stay=self)


__all__ = ["Room", "Stay"]
