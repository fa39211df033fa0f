"""What functions print: to our log, and the last of it kept for whoever asks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar

from legato.abc.redaction import redacted

LINES = 500
LINE_BYTES = 16_384
"""What a longer line has more is left out."""
AT_ONCE, PAUSE_S = 64, 0.001
"""So many lines are taken, then whoever else the loop serves has its turn: one that prints megabytes keeps none waiting."""

log: logging.Logger = logging.getLogger("legato.functions.out")


class Output:
    """The output of one function, of all its processes.

    Args:
        name: Of the function.
        secrets: Texts that never show.

    Attributes:
        lines: The last ones.
        reach: Bytes of the longest secret.
    """

    def __init__(self, name: str, secrets: Iterable[str] = ()) -> None:
        self._name = name
        self._secrets = tuple(secrets)
        self.reach: int = max((len(one.encode()) for one in self._secrets), default=0)
        self.lines: deque[str] = deque(maxlen=LINES)

    def add(self, line: str) -> None:
        """Takes one line."""
        line = redacted(line, self._secrets)
        self.lines.append(line)
        log.info("%s | %s", self._name, line)

    def shortened(self, text: str) -> str:
        """What is told of the beginning of a line that is too long: no part of a secret at its end."""
        return redacted(text, self._secrets)[: -self.reach or None][: LINE_BYTES - 1] + "…"


class Pipe(asyncio.Protocol):
    """Reads what one process writes, until its last writer is gone.

    Args:
        output: Gets the lines.
    """

    _busy: ClassVar[int] = 0
    """How many have more than they could tell at once."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._skips = False
        self._waits = False
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
        if self._skips:  # the end of a line that was too long
            _, newline, data = data.partition(b"\n")
            self._skips = not newline
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES + self._output.reach:
            lines.append(self._rest)
            self._rest, self._skips = b"", True
        self._lines.extend(lines)
        if not self._waits:
            self._go_on()

    def _go_on(self) -> None:
        """Takes some lines; the others, and what is not read yet, when it is this pipe's turn again."""
        for _ in range(min(AT_ONCE, len(self._lines))):
            self._tell(self._lines.popleft())
        if bool(self._lines) != self._waits:
            self._wait(bool(self._lines))
        if self._waits:
            asyncio.get_running_loop().call_later(PAUSE_S * Pipe._busy, self._go_on)

    def _wait(self, waits: bool) -> None:  # noqa: FBT001
        self._waits = waits
        Pipe._busy += 1 if waits else -1
        if waits:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _tell(self, line: bytes) -> None:
        most = LINE_BYTES + self._output.reach
        text = line[:most].decode("utf-8", "replace")
        if len(line) > LINE_BYTES:
            text = self._output.shortened(text)
        # AWS's client joins the lines of a traceback by \r, and sets them in by hard spaces
        for part in text.split("\r"):
            shown = part.replace("\xa0", " ").rstrip()
            if shown:
                self._output.add(shown)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._wait(False)  # noqa: FBT003
        while self._lines:
            self._tell(self._lines.popleft())
        if self._rest:
            self._tell(self._rest)
        self._rest = b""
        if not self._ended.done():
            self._ended.set_result(None)

    async def close(self, patience_s: float = 0.5) -> None:
        """Reads what is left, as long as that may take; whoever escaped may hold the pipe open."""
        if self._transport is not None:
            await asyncio.wait([self._ended], timeout=patience_s)
            self._transport.close()
            await self._ended


__all__ = ["Output", "Pipe"]
