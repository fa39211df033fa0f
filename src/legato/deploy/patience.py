"""Waiting, at a start, for what is away: a store, a broker, a platform."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from legato.abc import Clock
from legato.errors import StoreUnavailable, Unavailable

PAUSES_S = (1, 2, 5, 10, 30, 60)
AWAY: tuple[type[Exception], ...] = (Unavailable, StoreUnavailable)


def pause_s(tries: int) -> int:
    """So long to wait after so many failures in a row, the first being number 0."""
    return PAUSES_S[min(tries, len(PAUSES_S) - 1)]


async def patiently(
    what: str,
    work: Callable[[], Awaitable[object]],
    *,
    clock: Clock,
    log: logging.Logger,
    away: tuple[type[Exception], ...] = AWAY,
) -> None:
    """Does something that may fail for a while, until it is done.

    Args:
        what: Named in the log, as in "the store".
        work: Called until it raises nothing.
        clock: Time.
        log: Told of each failure, and of the end of them.
        away: The errors that pass by themselves.
    """
    tries = 0
    while True:
        try:
            await work()
        except away as error:
            log.warning("%s: %s; trying again in %d s", what, error, pause_s(tries))
            await clock.sleep(pause_s(tries))
            tries += 1
        else:
            if tries:
                log.info("%s can be reached", what)
            return


__all__ = ["AWAY", "patiently", "pause_s"]
