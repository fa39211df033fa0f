"""The processes of a cluster, as a chaos test handles them: started, killed, stopped, paused."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from tests.integration.run_kit import TOKEN
from tests.servers.nursery import Process, python

LOG_TAIL = 4000


class Part:
    """One process of the cluster.

    Attributes:
        name: For messages, and the name of its log file.
        born: How often it was started.
        lives: (start, end) of each life so far, in seconds of the loop.
    """

    def __init__(self, name: str, command: list[str], env: dict[str, str], folder: Path) -> None:
        self.name = name
        self.command = command
        self.env = env
        self.log = folder / f"{name}.log"
        self.born = 0
        self.paused = False
        self.process: Process | None = None

    async def start(self) -> None:
        """Starts it; it is up when it says so in its log."""
        self.born += 1
        with self.log.open("ab") as log:
            self.process = await python(
                *self.command, env=self.env, folder=self.log.parent, out=log
            )

    @property
    def alive(self) -> bool:
        """Whether it runs (or is paused)."""
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; returns its exit code."""
        return await self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: to everybody else it looks dead."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT: it goes on as if nothing had happened."""
        self.paused = False
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def _end(self, number: signal.Signals) -> int:
        process = self.process
        if process is None:
            return 0
        if self.paused and number is not signal.SIGKILL:
            self.resume()
        self._signal(number)
        self.paused = False
        try:
            async with asyncio.timeout(40):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"{self.name} does not end:\n{self.tail()}") from None

    def tail(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        text = self.log.read_text(errors="replace")
        assert TOKEN not in text, f"{self.name} logs the token"
        return text[-LOG_TAIL:]


async def until(what: Callable[[], bool], why: str, seconds: float = 60.0) -> None:
    """Returns once `what` holds."""
    try:
        async with asyncio.timeout(seconds):
            while not what():  # noqa: ASYNC110 # it may be anything, in another process too
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {why}") from None
