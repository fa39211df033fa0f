"""Leases that processes of a test share, each by a way of its own that can break."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from legato.abc import Clock, Leases
from legato.errors import StoreUnavailable


class SharedLeases(Leases):
    """What a server would keep: holder and end by name."""

    __slots__ = ("_clock", "_held")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}

    def holder(self, name: str) -> str:
        """Who holds a name now, "" for nobody."""
        holder, until = self._held.get(name, ("", 0.0))
        return holder if until > self._clock.monotonic() else ""

    async def hold(self, holder: str, names: Collection[str], ttl_s: float) -> frozenset[str]:
        ours = frozenset(name for name in names if self.holder(name) in ("", holder))
        self._held |= dict.fromkeys(ours, (holder, self._clock.monotonic() + ttl_s))
        return ours

    async def release(self, holder: str, names: Collection[str]) -> None:
        for name in names:
            if self.holder(name) == holder:
                del self._held[name]

    async def holders(self, prefix: str) -> Mapping[str, str]:
        return {n: self.holder(n) for n in self._held if n.startswith(prefix) and self.holder(n)}


class Way(Leases):
    """The way of one process to them.

    Attributes:
        down: Calls fail.
        stuck: Calls never return.
    """

    __slots__ = ("_shared", "down", "stuck")

    def __init__(self, shared: SharedLeases) -> None:
        self._shared = shared
        self.down = False
        self.stuck = False

    async def _go(self) -> None:
        if self.stuck:
            await asyncio.sleep(1e6)
        await asyncio.sleep(0.001)
        if self.down:
            raise StoreUnavailable("the store is away")

    async def hold(self, holder: str, names: Collection[str], ttl_s: float) -> frozenset[str]:
        await self._go()
        return await self._shared.hold(holder, names, ttl_s)

    async def release(self, holder: str, names: Collection[str]) -> None:
        await self._go()
        await self._shared.release(holder, names)

    async def holders(self, prefix: str) -> Mapping[str, str]:
        await self._go()
        return await self._shared.holders(prefix)
