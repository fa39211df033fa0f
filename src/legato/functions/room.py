"""How many processes all functions together may have, and whose turn it is when that is not enough."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from legato.errors import ConfigError

if TYPE_CHECKING:
    from legato.functions.pool import Pool

FAIR_S = 1.0
"""Who waits longer than this for room gets the next process that is free, whosever it is."""


class Room:
    """So many processes may all functions together have; a free one of any goes for one that is needed.

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ConfigError("there must be room for one process at least")
        self._left = size
        self.pools: list[Pool] = []

    def take(self) -> bool:
        """Whether a place was free; if not, one is made free, and whoever waits is told later."""
        if self._left > 0:
            self._left -= 1
            return True
        self._make_room()
        return False

    def give(self) -> None:
        """A place is free again: for whoever has waited longest."""
        for one in sorted(self.pools, key=lambda each: each.waits_since):
            if one.next_starts():
                return
        self._left += 1

    def owes(self, pool: Pool) -> bool:
        """Whether somebody waits for a place, longer than whoever waits for `pool`, and for long."""
        if self._left > 0:
            return False
        longest = min((one.waits_since for one in self.pools if one.wants_room), default=math.inf)
        return longest < min(pool.waits_since, time.monotonic() - FAIR_S)

    def offer(self) -> None:
        """A process is free now: if another function waits for its place, it goes."""
        if self._left <= 0 and any(pool.wants_room for pool in self.pools):
            self._make_room()

    def _make_room(self) -> None:
        free = [(pool.oldest(), pool) for pool in self.pools]
        found = [(one.since, pool, one) for one, pool in free if one is not None]
        if found:
            _, pool, container = min(found, key=lambda item: item[0])
            pool.evict(container)


__all__ = ["Room"]
