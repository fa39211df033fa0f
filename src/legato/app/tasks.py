"""The tasks of a runtime: all are known, failures are told, and a lost slot ends its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from legato.errors import StoreCorrupt, StoreError, Unavailable
from legato.model.ordered import Ordered

Task = asyncio.Task[Any]

log: logging.Logger = logging.getLogger("legato.runtime")


class Tasks:
    """Runs coroutines beside, for one event loop.

    Attributes:
        running: Those under way.
    """

    __slots__ = ("_slots", "running")

    def __init__(self) -> None:
        self.running: Ordered[Task] = Ordered()
        self._slots: dict[Task, int] = {}

    def spawn(self, work: Coroutine[Any, Any, Any], slot: int = -1) -> Task:
        """Runs `work`.

        Args:
            work: What to do. An Exception that it raises is logged, unless the store or the queue could not now.
            slot: The slot that it is done for, -1 for none: `cancel` finds it by that.
        """
        task = asyncio.get_running_loop().create_task(work)
        self.running.add(task)
        if slot >= 0:
            self._slots[task] = slot
        task.add_done_callback(self._done)
        return task

    def _done(self, task: Task) -> None:
        self.running.discard(task)
        self._slots.pop(task, None)
        error = None if task.cancelled() else task.exception()
        expected = isinstance(error, StoreError | Unavailable) and not isinstance(
            error, StoreCorrupt
        )
        if isinstance(error, Exception) and not expected:
            log.error("an update failed", exc_info=error)

    def cancel(self, slots: Collection[int]) -> None:
        """Ends what is done for these slots."""
        for task, slot in list(self._slots.items()):
            if slot in slots:
                task.cancel()

    async def drained(self) -> None:
        """Returns once none is under way."""
        while self.running:
            await asyncio.wait(set(self.running))

    async def wait(self, deadline_s: float) -> None:
        """Waits for those under way now, at most so long."""
        if self.running:
            await asyncio.wait(set(self.running), timeout=deadline_s)

    async def close(self) -> None:
        """Ends all."""
        await cancelled([*self.running])


async def cancelled(tasks: Sequence[Task]) -> None:
    """Cancels tasks and waits until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def raise_common(over: Collection[Task]) -> None:
    """Raises what is the matter of all, if it ended one of these tasks: the store is away, the process ends.
    A bug in one of them, or damage to what it is about, was logged by `Tasks`, and a cancelled one has lost its
    slot.
    """
    for task in over:
        error = None if task.cancelled() else task.exception()
        own = isinstance(error, StoreCorrupt) or not isinstance(error, StoreError)
        if error is not None and not (own and isinstance(error, Exception)):
            raise error


__all__ = ["Tasks", "cancelled", "raise_common"]
