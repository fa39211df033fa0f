"""uvicorn's protocol with limits on how long, and how large, a request may come in.

uvicorn has none: who connects and says nothing, or a byte a minute, keeps a connection and its memory
for ever (the keep-alive timeout begins after a first answer, and any byte ends it), and a head may grow
without end. All connections are looked at once a second, which costs a request nothing; a timer for each
request would.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

NOTHING, HEAD, BODY = 0, 1, 2


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may ask of us.

    Attributes:
        head_s: From a connection, or the first byte of a request on it, to the end of its head.
        head_bytes: Request line and headers together.
        body_s: From there to the end of the body. What reads bodies may be stricter.
        read_s: So long a client may leave an answer unread.
        keep_alive_s: So long a connection may rest between two requests: longer than a proxy in front
            keeps it (nginx 60 s), or that would send a request just as we close.
        connections: At once; more are closed as they come.
    """

    head_s: float = 5.0
    head_bytes: int = 32_768
    body_s: float = 30.0
    read_s: float = 30.0
    keep_alive_s: int = 75
    connections: int = 4096


class Careful(HttpToolsProtocol):
    """A connection that does not wait for ever.

    Args:
        limits: For it.
        given: What uvicorn gives its protocols.
    """

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._phase = HEAD  # of the request that comes in
        self._since = self.loop.time()
        self._head = 0  # bytes, with some of the body
        self._unread_since = 0.0
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self._limits.connections:
            self._end()

    def data_received(self, data: bytes) -> None:
        if self._phase == NOTHING:
            self._phase, self._since, self._head = HEAD, self.loop.time(), 0
        if self._phase == HEAD:
            self._head += len(data)
        super().data_received(data)
        if self._phase == HEAD and self._head > self._limits.head_bytes:
            self._answer(b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        limit = self._limits.head_bytes
        if self._head > limit and self._size() > limit:
            self._answer(b"431 Request Header Fields Too Large")
            raise ValueError("the head is too long")  # ends the parser's work
        super().on_headers_complete()
        self._phase, self._since = BODY, self.loop.time()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = NOTHING

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client will say no more; it may still want its answer."""
        cycle = self.pipeline[0][0] if self.pipeline else self.cycle
        waits = cycle is not None and self._phase == NOTHING and not cycle.response_started
        if waits:
            cycle.keep_alive = False
        return waits

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = 0.0

    def look(self, now: float) -> None:
        """Ends the connection if it has been waited for too long.

        Args:
            now: Of the loop's clock.
        """
        limits = self._limits
        if self._over or (self._unread_since and now - self._unread_since > limits.read_s):
            self._end()
        elif self._phase == HEAD and now - self._since > limits.head_s:
            self._answer(b"408 Request Timeout" if self._head else b"")
        elif self._phase == BODY and now - self._since > limits.body_s:
            self._answer(b"" if self.cycle.response_started else b"408 Request Timeout")

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _answer(self, status: bytes) -> None:
        """A last word, unless an earlier request still waits for its own, and the end."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        if status and not (under_way and self._phase == HEAD) and not self.transport.is_closing():
            head = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head % status)
        self.transport.close()
        self._over = True

    def _end(self) -> None:
        self.transport.abort()


__all__ = ["Careful", "Limits"]
