"""Finds the timers that are due, and wakes their conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from legato.abc import Clock, Store
from legato.app.knobs import FIRST_PAUSE_S
from legato.app.share import WHOLE, Share
from legato.app.tasks import raise_common
from legato.model.records import Conversation

ALL = 2**63 - 1
PAGE = 500
MOST_PASSED_OVER = 20 * PAGE
"""So many conversations that are being woken, or cannot be, hide nobody behind them."""
LONGEST_PAUSE_S = 300.0
"""Between tries of one that cannot be woken for a bug: each try writes a traceback into the log."""


class Stuck(NamedTuple):
    """What could not be woken: where it stood, until when it is left alone, and how long that is."""

    at: tuple[int, int, int]
    until: float
    pause_s: float


class Alarm:
    """Invariant: a conversation that is being woken is not woken a second time.

    One that a bug keeps from being woken (a row that cannot be read) is left alone for growing times, as
    long as it stands where it stood.

    Args:
        store, clock: Where the timers are, and what time it is.
        ours: Whether this process runs the bot of a conversation.
        wake: Begins to wake one conversation.
        patience_s: A Turn that takes longer (a slow step) goes on by itself: it holds up no other
            timer.
        share: Whose timers they are.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ours: Callable[[Conversation], bool],
        wake: Callable[[Conversation], asyncio.Task[None]],
        patience_s: float,
        *,
        share: Share = WHOLE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ours = ours
        self._wake = wake
        self._patience_s = patience_s
        self._share = share
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._stuck: dict[str, Stuck] = {}

    async def ring(
        self,
        most: int = ALL,
        *,
        at_once: int = ALL,
        go_on: Callable[[], bool] = lambda: True,
    ) -> int:
        """Wakes what is due, earliest first; returns how many conversations that were.

        Args:
            most: So many at most.
            at_once: So many are being woken at the same time, also those that take long.
            go_on: Whether there is time for more.
        """
        rung: set[str] = set()
        passed_by = len(self._waking) + len(self._stuck)
        while len(rung) < most:
            room = min(PAGE, at_once - len(self._waking))
            if room <= 0:
                await asyncio.wait(self._waking.values(), return_when=asyncio.FIRST_COMPLETED)
                continue
            if not go_on():
                break
            room = min(room, most - len(rung))
            limit = room + min(passed_by, MOST_PASSED_OVER)
            rows = await self._due(limit)
            passed_over = self._waking.keys() | rung
            fresh = [
                row
                for row in rows
                if row.key not in passed_over and not self._is_stuck(row) and self._ours(row)
            ]
            before, passed_by = passed_by, max(passed_by, len(rows) - len(fresh))
            if fresh:
                await self._all(fresh[:room])
                rung.update(row.key for row in fresh[:room])
            elif passed_by <= before:
                break
            if len(rows) < limit and len(fresh) <= room:
                break
        return len(rung)

    async def _due(self, limit: int) -> list[Conversation]:
        slots = self._share.slots
        if slots is None:
            return await self._store.due(self._clock.now_ms(), limit)
        if not slots or not self._share.good():
            return []
        return await self._store.due(self._clock.now_ms(), limit, slots=slots)

    def _is_stuck(self, row: Conversation) -> bool:
        stuck = self._stuck.get(row.key)
        if stuck is None:
            return False
        if stuck.at != _at(row):
            del self._stuck[row.key]
            return False
        return self._clock.monotonic() < stuck.until

    async def _all(self, rows: list[Conversation]) -> None:
        tasks = []
        for row in rows:
            task = self._waking[row.key] = self._wake(row)
            task.add_done_callback(partial(self._over, row))
            tasks.append(task)
        done, _ = await asyncio.wait(tasks, timeout=self._patience_s)
        raise_common(done)

    def _over(self, row: Conversation, task: asyncio.Task[None]) -> None:
        self._waking.pop(row.key, None)
        if task.cancelled() or task.exception() is None:
            self._stuck.pop(row.key, None)
            return
        if len(self._stuck) >= MOST_PASSED_OVER:
            self._stuck.clear()
        before = self._stuck.get(row.key)
        pause_s = FIRST_PAUSE_S
        if before is not None and before.at == _at(row):
            pause_s = min(LONGEST_PAUSE_S, before.pause_s * 2)
        self._stuck[row.key] = Stuck(_at(row), self._clock.monotonic() + pause_s, pause_s)


def _at(row: Conversation) -> tuple[int, int, int]:
    return row.epoch, row.head, row.wake_ms


__all__ = ["ALL", "Alarm"]
