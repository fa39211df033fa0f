"""Whether a process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from legato.abc import Clock, Store
from legato.deploy.measures import Sample

Check = Callable[[], Awaitable[bool]]
"""Whether one thing is as it must be. May raise, which is as False, and may take any time."""

FRESH_S = 1.0
"""So long a result is given again: however many ask, the store is asked once a second."""
PATIENCE_S = 2.0
"""A check that takes longer has failed."""

log: logging.Logger = logging.getLogger("legato.health")


class Health:
    """Readiness as a set of checks. That it answers at all is the proof that the loop turns.

    Args:
        role: "run", "gateway", "worker" or "listen".
        clock: Time.

    Attributes:
        draining: Set once the process is about to end: it is not ready any more.
    """

    def __init__(self, role: str, clock: Clock) -> None:
        self._role = role
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._failing: list[str] = ["not asked yet"]
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()
        self.draining: bool = False

    def add(self, name: str, check: Check) -> None:
        """Asks `check`, too, from now on."""
        self._checks[name] = check

    def add_store(self, store: Store) -> None:
        """The store is to answer a small read."""

        async def answers() -> bool:
            await store.get("health", "ready")
            return True

        self.add("store", answers)

    async def failing(self) -> list[str]:
        """Names of the checks that fail, none of them found out longer than FRESH_S ago; empty if it
        is ready.
        """
        if self.draining:
            return ["draining"]
        async with self._lock:
            if self._clock.monotonic() - self._asked_at >= FRESH_S:
                passed = await asyncio.gather(*(self._passes(name) for name in self._checks))
                checked = zip(self._checks, passed, strict=True)
                self._failing = [name for name, good in checked if not good]
                self._asked_at = self._clock.monotonic()
        return self._failing

    async def _passes(self, name: str) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._checks[name]()
        except Exception as error:  # noqa: BLE001 # whatever it is: it cannot do its work
            log.debug("not ready: %s: %s", name, error)
            return False

    def samples(self) -> Iterator[Sample]:
        """What it said last."""
        ready = not self.draining and not self._failing
        yield Sample("legato_ready", int(ready), (self._role,))


__all__ = ["FRESH_S", "PATIENCE_S", "Check", "Health"]
