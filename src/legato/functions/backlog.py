"""Events of one function that nobody waits for: of files, of a schedule, of an Invoke that does not wait.

As many are under way at once as the function may have processes; the others stand in a line of their own, so that
a thousand files at once take no request its place, and are not refused theirs. What fails comes again after a
while, as at AWS; that there is no process for it at the moment is no failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from legato.errors import ConfigError
from legato.functions.outcome import Outcome
from legato.functions.pool import Busy

MOST = 1000
"""So many events of one function may be under way, stand in line, or wait to be tried again."""
BUSY_S = 1.0
"""Between two tries where requests have taken all places."""

log: logging.Logger = logging.getLogger("legato.functions")


class Backlog:
    """The line of one function.

    Args:
        name: Of the function.
        at_once: So many are under way at the same time.
        invoke: Runs the function once.
        retries_s: An event that failed comes again after so long each time.

    Attributes:
        count: How many events it holds.
    """

    def __init__(
        self,
        name: str,
        at_once: int,
        invoke: Callable[[bytes], Awaitable[Outcome]],
        retries_s: tuple[float, ...],
    ) -> None:
        self.count: int = 0
        self._name = name
        self._turns = asyncio.Semaphore(at_once)
        self._invoke = invoke
        self._retries_s = retries_s
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def offer(self, event: bytes) -> bool:
        """Takes an event if there is room; returns whether it did."""
        if self._closed or self.count >= MOST:
            return False
        self.count += 1
        task = asyncio.create_task(self._kept(self._worked_on(event)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def put(self, event: bytes) -> None:
        """Takes an event as soon as there is room."""
        while not self._closed and not self.offer(event):
            self._room.clear()
            await self._room.wait()

    async def close(self) -> None:
        """Forgets what it holds."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _kept(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("%s: an event was lost", self._name)
        finally:
            self.count -= 1
            self._room.set()

    async def _worked_on(self, event: bytes) -> None:
        for pause_s in (*self._retries_s, None):
            why = await self._tried(event)
            if not why:
                return
            if pause_s is None:
                log.error("%s: an event was given up: %s", self._name, why)
                return
            log.warning(
                "%s: an event failed, and comes again in %.0f s: %s", self._name, pause_s, why
            )
            await asyncio.sleep(pause_s)

    async def _tried(self, event: bytes) -> str:
        """Why it failed, "" if it did not."""
        async with self._turns:
            while True:
                try:
                    outcome = await self._invoke(event)
                except Busy:
                    await asyncio.sleep(BUSY_S)
                except ConfigError as error:
                    return str(error)
                else:
                    ok = outcome.kind == "ok"
                    return "" if ok else outcome.body.decode("utf-8", "replace")[:500]


__all__ = ["Backlog"]
