"""`legato run` in a process of its own, as a test sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from legato.testing.fake_telegram import FakeTelegram
from tests.servers.nursery import Process

TOKEN = "4200:canary-of-the-token"  # of nobody
SECRET = "canary-of-the-secret"
EXAMPLES = Path(__file__).parents[2] / "examples"


def adder(folder: Path) -> Path:
    """The adder in a folder of its own: its store will stand beside it."""
    copy = folder / "adder.py"
    copy.write_bytes((EXAMPLES / "adder.py").read_bytes())
    return copy


class Bot:
    """A running bot. `output` is all that it wrote so far, stdout and stderr together."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.output = ""
        self._more = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while data := await stream.read(65536):
            async with self._more:
                self.output += data.decode()
                self._more.notify_all()

    async def says(self, text: str) -> str:
        """Waits until it wrote `text`; returns everything so far."""
        async with self._more, asyncio.timeout(20):
            while text not in self.output:
                assert not self._reading.done(), f"{text!r} is not in:\n{self.output}"
                await self._more.wait()
        return self.output

    def types(self, text: str) -> None:
        """Writes to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def gets(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    async def ends(self, number: signal.Signals | None = None) -> int:
        """Sends a signal, if any, and waits for the end; returns the exit code."""
        if number is not None:
            self.gets(number)
        async with asyncio.timeout(20):
            code = await self.process.wait()
            await self._reading
        assert "canary" not in self.output, self.output.replace("canary", "c****y")
        return code


def environment(telegram: FakeTelegram | None = None, **more: str) -> dict[str, str]:
    """The environment of a bot: nothing of ours but what Python needs."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "SYSTEMROOT"))}
    if telegram is not None:
        kept |= {"TELEGRAM_TOKEN": telegram.token, "TELEGRAM_API": telegram.api}
        kept |= {"TELEGRAM_SECRET": SECRET}
    return kept | more


@asynccontextmanager
async def running(
    *arguments: str | Path, folder: Path, env: dict[str, str], stdin: bool = False
) -> AsyncIterator[Bot]:
    """`legato run <arguments>` in `folder`; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "legato.cli.main",
        "run",
        *map(str, arguments),
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    bot = Bot(process)
    try:
        yield bot
    finally:
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await bot.ends()
