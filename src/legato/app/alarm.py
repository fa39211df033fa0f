"""Finds the timers that are due, and wakes their conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from legato.abc import Clock, Store
from legato.app.share import WHOLE, Share
from legato.app.tasks import raise_common
from legato.model.records import Conversation

PAGE = 500


class Alarm:
    """Invariant: a conversation that is being woken is not woken a second time.

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
        self._waking: set[str] = set()

    async def ring(self) -> int:
        """Wakes what is due, earliest first; returns how many conversations that were."""
        rung: set[str] = set()
        while rows := await self._due():
            passed_over = self._waking | rung
            fresh = [row for row in rows if row.key not in passed_over and self._ours(row)]
            if fresh:
                await self._all(fresh)
                rung.update(row.key for row in fresh)
            if len(rows) < PAGE or not fresh:
                break
        return len(rung)

    async def _due(self) -> list[Conversation]:
        slots = self._share.slots
        if slots is None:
            return await self._store.due(self._clock.now_ms(), PAGE)
        if not slots or not self._share.good():
            return []
        return await self._store.due(self._clock.now_ms(), PAGE, slots=slots)

    async def _all(self, rows: list[Conversation]) -> None:
        tasks = []
        for row in rows:
            self._waking.add(row.key)
            task = self._wake(row)
            task.add_done_callback(partial(self._over, row.key))
            tasks.append(task)
        done, _ = await asyncio.wait(tasks, timeout=self._patience_s)
        raise_common(done)

    def _over(self, key: str, task: asyncio.Task[None]) -> None:
        self._waking.discard(key)
