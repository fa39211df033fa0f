"""One connection, one exchange at a time."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable
from typing import cast

from legato.abc import MaybeSent
from legato.deploy.http1 import BadAnswer, Form, ResponseParser

PIECE = 262_144
"""Bytes of a file read and written at once."""

TRUST_S = 0.05
"""A connection idle for less is not asked whether the server closed it."""


class Connection(asyncio.Protocol):
    """A connection to a server, between exchanges or in one.

    Args:
        on_lost: Called once when it is gone.
    """

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        self._answer: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._idle_since = 0.0

    # -- as the pool sees it ------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether a request can be written to it, as far as the loop knows."""
        return self._transport is not None and not self._transport.is_closing()

    def rest(self) -> None:
        """Begins to be idle."""
        self._idle_since = time.time()

    def stale(self, idle_s: float) -> bool:
        """Whether it must not be used again: closed, about to be, or idle for over `idle_s`.

        Wall time is what goes on while a cloud function is frozen; on waking up, what the server
        sent meanwhile (its goodbye) is in the socket, but the loop has not seen it yet.
        """
        if self._transport is None or not self.alive:
            return True
        idle = abs(time.time() - self._idle_since)
        return idle > idle_s or (idle > TRUST_S and _readable(self._transport))

    def abort(self) -> None:
        """Closes it at once. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    # -- an exchange --------------------------------------------------------------------------

    async def exchange(
        self, head: bytes, body: bytes | Form, parser: ResponseParser, deadline: float
    ) -> None:
        """Writes a request and feeds the response to `parser`, until it is done.

        Afterwards the connection may be used again if `parser.keep`; else it is closed.

        Args:
            head, body: The request.
            parser: Takes the response.
            deadline: Loop time at which it must be done.

        Raises:
            MaybeSent: The answer did not come, or not whole, or is none.
            OSError: A file could not be read; the server got no whole request.
        """
        assert self._transport is not None, "the pool checked it"
        loop = asyncio.get_running_loop()
        answer = self._answer = loop.create_future()
        self._parser = parser
        timer = loop.call_at(deadline, self._fail, "no complete answer in time")
        try:
            if isinstance(body, bytes):
                self._transport.write(head + body)
            else:
                await self._upload(head, body, answer)
            await answer
        finally:
            timer.cancel()
            self._parser = self._answer = None
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen, even where an upload's own failure goes first
            if not (parser.done and parser.keep):
                self.abort()

    async def _upload(self, head: bytes, form: Form, answer: asyncio.Future[None]) -> None:
        """Writes head and form; stops early if the answer comes (or fails) before."""
        await self._write(head, answer)
        for part in form.parts:
            await self._write(part.head, answer)
            if part.path:
                await self._upload_file(part.path, part.size, answer)
            else:
                await self._write(part.content, answer)
            await self._write(b"\r\n", answer)
        await self._write(form.tail, answer)

    async def _upload_file(self, path: str, size: int, answer: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        with open(path, "rb") as file:  # noqa: ASYNC230, PTH123 - opening is quick, reading is not
            left = size
            while left and not answer.done():
                piece = await loop.run_in_executor(None, file.read, min(left, PIECE))
                if not piece:
                    raise OSError(f"{path} became shorter while it was sent")
                left -= len(piece)
                await self._write(piece, answer)

    async def _write(self, data: bytes, answer: asyncio.Future[None]) -> None:
        """Writes, no faster than the server reads; does nothing once there is an answer."""
        assert self._parser is not None, "an exchange goes on"
        if answer.done():
            self._parser.keep = False  # the request is not whole: nothing can follow it
            return
        assert self._transport is not None, "its loss would have been the answer"
        self._transport.write(data)
        if self._writable is not None:
            await asyncio.wait({self._writable, answer}, return_when=asyncio.FIRST_COMPLETED)

    def _fail(self, reason: str, cause: Exception | None = None) -> None:
        if self._answer is not None and not self._answer.done():
            failure = MaybeSent(reason)
            failure.__cause__ = cause
            self._answer.set_exception(failure)

    # -- as the loop sees it ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop opened it."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        """The server sent something."""
        parser, answer = self._parser, self._answer
        if parser is None or answer is None or answer.done():
            self.abort()  # nobody asked: a goodbye with a reason, or an answer that came too late
            return
        try:
            parser.feed(data)
        except BadAnswer as bad:
            self._fail(str(bad), bad)
        except OSError as error:  # of the file that a download is written to
            answer.set_exception(error)
        else:
            if parser.done:
                answer.set_result(None)

    def pause_writing(self) -> None:
        """The server reads slower than we write."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It caught up."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The server or we closed it."""
        parser, answer = self._parser, self._answer
        if parser is not None and answer is not None and not answer.done():
            if exc is None and parser.end():
                answer.set_result(None)
            else:
                where = "within" if parser.status else "before"
                why = getattr(exc, "strerror", None) or "closed"
                self._fail(f"the connection ended {where} the answer: {why}", exc)
        self.resume_writing()
        self._transport = None
        self._on_lost(self)


def _readable(transport: asyncio.Transport) -> bool:
    fd = transport.get_extra_info("socket").fileno()
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([fd], [], [], 0)[0])
