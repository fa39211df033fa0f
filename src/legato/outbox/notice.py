"""What the log says while messages cannot be delivered."""

from __future__ import annotations

import logging

from legato.abc import Clock, Verdict
from legato.model.records import OutboxItem

log: logging.Logger = logging.getLogger("legato.relay")

EVERY_S = 10.0
"""How often it says so at most."""


class Notice:
    """Says now and then that messages wait, and why."""

    __slots__ = ("_at", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = -EVERY_S

    def again(self, item: OutboxItem, verdict: Verdict) -> None:
        """A message is tried again. That a platform sets a limit is nothing to be said."""
        now = self._clock.monotonic()
        if verdict.retry_after_s or now - self._at < EVERY_S:
            return
        self._at = now
        log.warning("%s to %s is tried again: %s", item.call.method, item.lane, verdict.error)


__all__ = ["Notice"]
