"""Lines from a terminal, a pipe or a file, without keeping the loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator


async def stdin_lines(handle: int = 0) -> AsyncIterator[str]:
    """Lines from a file descriptor, however it was opened, until it ends.

    A thread reads: a terminal, a pipe and a file are the same to it, where a loop can wait for no
    file and would make a terminal non-blocking for print() too. It reads the descriptor and not
    sys.stdin, whose lock a thread must not hold when the interpreter ends.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore(1)

    def read() -> None:
        data = b"-"
        while data:
            wanted.acquire()
            try:
                data = os.read(handle, 65536)
            except OSError:
                data = b""
            try:
                loop.call_soon_threadsafe(chunks.put_nowait, data)
            except RuntimeError:
                return  # the loop is closed: nobody reads any more

    threading.Thread(target=read, name="legato-stdin", daemon=True).start()
    rest = b""
    while data := await chunks.get():
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
        wanted.release()
    if rest:
        yield rest.decode("utf-8", "replace")
