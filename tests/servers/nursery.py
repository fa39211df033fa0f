"""Processes of Python that are forked from one that has imported all that Legato's commands need.

A start costs a fifth of a second of CPU, nearly all of it for imports; the tests that kill and start again
do it hundreds of times. What is forked is a process of its own all the same: with its own number, signals,
descriptors, folder and environment. That a command starts from nothing is shown by the other tests,
test_run.py first of all.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO

from tests.servers._process import launch

SCRIPT = Path(__file__).with_name("_nursery.py")
REAL = ("COV", "PYTHON")
"""Settings that mean something to Python's own start."""


class Born(asyncio.Protocol):
    """A forked process, as asyncio.subprocess.Process has it.

    Attributes:
        pid: Its number.
        returncode: None as long as it lives.
        stdout: What it writes, if there is a pipe.
        stdin: None: it has /dev/null.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0
        self.returncode: int | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stdin: asyncio.StreamWriter | None = None
        self.begun: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._told = b""

    def data_received(self, data: bytes) -> None:
        """Of the pipe by which the nursery tells: the number first, the exit code last."""
        self._told += data
        pid, *code = self._told.split(b"\n")[:-1]
        if not self.pid:
            self.pid = int(pid)
            self.begun.set_result(None)
        if code:
            self.returncode = int(code[0])

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        if self.returncode is None:
            self.returncode = -signal.SIGKILL  # with the nursery
        for future in (self.begun, self._ended):
            if not future.done():
                future.set_result(None)

    async def wait(self) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing if it is over."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def communicate(self) -> tuple[bytes, None]:
        """All that it wrote, once it is over."""
        assert self.stdout is not None
        text = await self.stdout.read()
        await self.wait()
        return text, None


Process = asyncio.subprocess.Process | Born


async def python(
    *words: str,
    env: Mapping[str, str],
    folder: Path | None = None,
    out: int | IO[bytes] = asyncio.subprocess.PIPE,
) -> Process:
    """Runs `python <words>`, with nothing to read: from nothing if it is not a module by -m or a file.

    Args:
        words: The command line.
        env: All of its environment. With settings of Python itself it starts from nothing, too.
        folder: It runs in; this one's if None.
        out: Where both of its outputs go.
    """
    special = words[0] != "-m" and words[0].startswith("-")
    if special or not hasattr(os, "pidfd_open") or any(name.startswith(REAL) for name in env):
        return await asyncio.create_subprocess_exec(
            sys.executable, *words, env=env, cwd=folder, stdin=asyncio.subprocess.DEVNULL,
            stdout=out, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    loop, born = asyncio.get_running_loop(), Born()
    told, tells = os.pipe()
    ours = [tells, os.open(os.devnull, os.O_RDWR)]
    try:
        await loop.connect_read_pipe(lambda: born, os.fdopen(told, "rb", 0))
        if out == asyncio.subprocess.PIPE:
            read, write = os.pipe()
            ours.append(write)
            reader = born.stdout = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            await loop.connect_read_pipe(lambda: protocol, os.fdopen(read, "rb", 0))
        else:
            write = out if isinstance(out, int) else out.fileno()
            write = ours[1] if write == asyncio.subprocess.DEVNULL else write
        want = {"words": words, "env": dict(env), "folder": str(folder or Path.cwd())}
        socket.send_fds(_nursery(), [json.dumps(want).encode()], [ours[1], write, write, tells])
    finally:
        for fd in ours:
            os.close(fd)
    await born.begun
    return born


@cache
def _nursery() -> socket.socket:
    """The socket by which it is asked; it lives as long as this process."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(REAL)}
    process = launch(
        [sys.executable, str(SCRIPT), str(its.fileno())],
        subprocess.DEVNULL, pass_fds=(its.fileno(),), env=kept,
    )  # fmt: skip
    its.close()

    def end() -> None:
        ours.close()
        process.wait(30)

    atexit.register(end)
    return ours
