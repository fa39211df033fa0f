"""What functions print: to our log, and the last of it kept for whoever asks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterable
from typing import Any

from legato.abc.redaction import redacted

LINES = 500
LINE_BYTES = 16_384

log: logging.Logger = logging.getLogger("legato.functions.out")


class Output:
    """The output of one function, of all its processes.

    Args:
        name: Of the function.
        secrets: Texts that never show.

    Attributes:
        lines: The last ones.
    """

    def __init__(self, name: str, secrets: Iterable[str] = ()) -> None:
        self._name = name
        self._secrets = tuple(secrets)
        self.lines: deque[str] = deque(maxlen=LINES)

    def add(self, line: str) -> None:
        """Takes one line."""
        line = redacted(line, self._secrets)
        self.lines.append(line)
        log.info("%s | %s", self._name, line)


class Pipe(asyncio.Protocol):
    """Reads what one process writes, until its last writer is gone.

    Args:
        output: Gets the lines.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._rest = b""
        self._transport: Any = None
        self._ended = asyncio.get_running_loop().create_future()

    async def open(self) -> int:
        """Returns the end that the process writes to; the caller closes it once it has been passed on."""
        reading, writing = os.pipe()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: self, os.fdopen(reading, "rb", 0))
        return writing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            # AWS's client joins the lines of a traceback by \r, and sets them in by hard spaces
            for part in line[:LINE_BYTES].decode("utf-8", "replace").split("\r"):
                text = part.replace("\xa0", " ").rstrip()
                if text:
                    self._output.add(text)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self.data_received(b"\n")
        if not self._ended.done():
            self._ended.set_result(None)

    async def close(self, patience_s: float = 0.5) -> None:
        """Reads what is left, as long as that may take; whoever escaped may hold the pipe open."""
        if self._transport is not None:
            await asyncio.wait([self._ended], timeout=patience_s)
            self._transport.close()
            await self._ended


__all__ = ["Output", "Pipe"]
