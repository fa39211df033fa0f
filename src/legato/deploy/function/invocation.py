"""The time that one invocation of a function has. Nothing runs once it is over: the machine stands still."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection
from typing import Any

import legato
from legato.abc import Clock
from legato.app.tasks import cancelled
from legato.engine.term import Term

MARGIN_S = 0.5
"""Kept for answering, of the time that is left."""
GUARD_S = 2.0
"""No step is started when less than this is left, or less than a quarter of all the time."""
GRACE_MS = 2000
"""An interrupted Turn is gone on with so long after the end of its invocation."""
_KNOWN = (os.path.dirname(legato.__file__), os.path.dirname(asyncio.__file__))  # noqa: PTH120  # pathlib is slow to import

log: logging.Logger = logging.getLogger("legato.function")

Alarm = Callable[[str, int], None]


class Invocation(Term):
    """The term of Turns in a function. One per process; `begin` starts the next.

    Args:
        clock: Time.
        alarm: Told of conversations that are to be woken at a time.

    Attributes:
        until: When the answer must be on its way, by the clock's monotonic seconds.
    """

    __slots__ = ("_alarm", "_clock", "_guard_s", "_until_ms", "until")

    def __init__(self, clock: Clock, alarm: Alarm | None = None) -> None:
        self._clock = clock
        self._alarm = alarm
        self._guard_s = self.until = 0.0
        self._until_ms = 0

    def begin(self, budget_s: float) -> None:
        """An invocation begins; it has so many seconds."""
        self.until = self._clock.monotonic() + max(0.0, budget_s - MARGIN_S)
        self._guard_s = min(GUARD_S, budget_s / 4)
        self._until_ms = self._clock.now_ms() + round(budget_s * 1000) + GRACE_MS

    @property
    def left_s(self) -> float:
        """Seconds until the answer must be on its way."""
        return max(0.0, self.until - self._clock.monotonic())

    def may_begin(self) -> bool:
        return self.left_s > self._guard_s

    def until_ms(self) -> int:
        return self._until_ms

    def alarm(self, key: str, wake_ms: int) -> None:
        if self._alarm is not None:
            self._alarm(key, wake_ms)


async def ended(turns: Collection[asyncio.Task[Any]]) -> None:
    """Ends what may not outlast the invocation: Turns that had no time left, and tasks of the bot's own.

    A Turn that is cut off is gone on with in a later invocation, from its last commit.
    """
    for task in turns:
        log.error(
            "%s did not end within the invocation and is gone on with in a later one: give the function "
            "more time, or its steps a limit (timeout=)",
            task.get_name(),
        )
    strays = [task for task in asyncio.all_tasks() if _is_stray(task)]
    for task in strays:
        log.error(
            "%s was still running when the invocation ended, and is cancelled: the machine stands still "
            "between invocations. Await it in a step (chat.run)",
            getattr(task.get_coro(), "__qualname__", task.get_name()),
        )
    await cancelled([*turns, *strays])


def _is_stray(task: asyncio.Task[Any]) -> bool:
    """Whether it was started by code that is not Legato's."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and not str(code.co_filename).startswith(_KNOWN)


__all__ = ["GRACE_MS", "MARGIN_S", "Invocation", "ended"]
