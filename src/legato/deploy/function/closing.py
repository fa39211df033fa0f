"""Closing what a hanging store left behind, without keeping an answer waiting for it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from legato.app.tasks import cancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from legato.app.runtime import Runtime

END_S = 2.0

log: logging.Logger = logging.getLogger("legato.function")


class Closing:
    """What is being closed. Where that takes longer than the invocation has, it goes on in later ones."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        """Closes something, beside."""
        task = asyncio.get_running_loop().create_task(_closed(work))
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def wait(self, within_s: float) -> None:
        """Waits until all is closed, at most so long."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within_s)

    async def end(self) -> None:
        """Waits for a while, and lets go of what is not closed then."""
        await self.wait(END_S)
        await cancelled([*self._tasks])

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.debug("what was thrown away could not be closed", exc_info=error)


async def _closed(work: Coroutine[Any, Any, None]) -> None:
    await work  # in a task of ours: one of a store's own code would be taken for a stray


async def discarded(runtime: Runtime) -> None:
    """Throws a runtime away whose store may hang: nothing is finished, all is let go of."""
    try:
        await runtime.abandon()
        await runtime.trials.close()
    finally:
        await runtime.http.close()
        await runtime.store.close()


__all__ = ["Closing", "discarded"]
