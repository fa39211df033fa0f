"""How a process ends: by a signal, by itself or by a failure; once, and in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Private: it was asked to stop before it had started."""


class Stopping:
    """The one place that knows whether, and why, the process is to end.

    Attributes:
        error: The failure that ends it, None if it ends in peace.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._asked = asyncio.Event()

    @property
    def asked(self) -> bool:
        """Whether it is to end."""
        return self._asked.is_set()

    def stop(self) -> None:
        """Asks for the end. Idempotent."""
        self._asked.set()

    def fail(self, error: BaseException) -> None:
        """Asks for the end because of `error`; the first one counts."""
        self.error = self.error or error
        self._asked.set()

    async def wait(self) -> None:
        """Returns once the end was asked for."""
        await self._asked.wait()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Does `work`, but no longer than until the end is asked for.

        Raises:
            Stopped: The end was asked for first; `work` was cancelled.
        """
        task = asyncio.create_task(work)
        asked = asyncio.create_task(self.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            for one in (task, asked):
                one.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask for the end; the second one does not wait for it.

        The handlers are Python's and not the loop's: they run even while a dialog that never awaits
        keeps the loop.
        """
        loop = asyncio.get_running_loop()
        count = 0

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal count
            count += 1
            if count > 1:
                os.write(2, b"legato: stopped at once; the next start goes on from the store\n")
                os._exit(128 + number)
            loop.call_soon_threadsafe(self.stop)

        before = {number: signal.signal(number, handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


__all__ = ["Stopped", "Stopping"]
