"""Leases in memory, and a store of several "processes" of one loop that has them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from legato.abc import Clock, Leases
from legato.errors import StoreUnavailable
from legato.stores.memory import MemoryStore


class MemoryLeases(Leases):
    """Names with holders, for as long as `clock` says.

    Attributes:
        away: Every call raises StoreUnavailable.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock: Clock = clock
        self.away: bool = False
        self._held: dict[str, tuple[str, float]] = {}

    async def hold(self, holder: str, names: Collection[str], ttl_s: float) -> frozenset[str]:
        self._check()
        now = self.clock.monotonic()
        got = set()
        for name in names:
            owner, until = self._held.get(name, ("", now))
            if owner == holder or until <= now:
                self._held[name] = (holder, now + ttl_s)
                got.add(name)
        return frozenset(got)

    async def release(self, holder: str, names: Collection[str]) -> None:
        self._check()
        for name in names:
            if self._held.get(name, ("", 0.0))[0] == holder:
                del self._held[name]

    async def holders(self, prefix: str) -> Mapping[str, str]:
        self._check()
        now = self.clock.monotonic()
        return {
            name: holder
            for name, (holder, until) in self._held.items()
            if name.startswith(prefix) and until > now
        }

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the leases are away")


class SharedStore(MemoryStore, MemoryLeases):
    """A MemoryStore that several workers share: it is Leases, too, as Postgres is."""

    def __init__(self, clock: Clock) -> None:
        MemoryStore.__init__(self)
        MemoryLeases.__init__(self, clock)


__all__ = ["MemoryLeases", "SharedStore"]
