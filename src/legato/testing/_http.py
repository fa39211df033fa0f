"""A small HTTP/1.1 server and client, enough to stand in for a platform on the loopback interface.

Standard library only, and quick: a request is a few slices of a buffer, and a handler that has its
answer at hand gives it without a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    import ssl

LIMIT = 64 * 1024 * 1024
"""Bytes of a request's head and body."""
_REASONS = {
    101: "Switching Protocols",
    200: "OK",
    202: "Accepted",
    204: "No Content",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
}


class Request(Struct):
    """One request as it came; header names are lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Response(Struct):
    """One answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = {}


class Upgrade(Struct):
    """The connection speaks another protocol from here on."""

    protocol: asyncio.Protocol
    headers: dict[str, str]


Answer = Response | Upgrade
Handler = Callable[[Request], Answer | Awaitable[Answer | None]]
"""Answers a request, at once or later; None (later) cuts the connection instead."""


class Server:
    """Listens on 127.0.0.1 and closes everything it opened."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def open(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> int:
        """Starts listening, with TLS if `tls` is given; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._handler, self._connections),
            "127.0.0.1",
            port,
            backlog=1024,
            ssl=tls,
        )
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address[1]

    async def close(self) -> None:
        """Stops listening and cuts all connections, answered or not."""
        if self._server is None:
            return
        self._server.close()
        tasks = [c.task for c in self._connections if c.task is not None]
        for connection in list(self._connections):
            connection.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        await asyncio.sleep(0)  # the transports' own last callbacks


class _Connection(asyncio.Protocol):
    """One connection: requests are answered in order, one at a time."""

    def __init__(self, handler: Handler, connections: set[_Connection]) -> None:
        self._handler = handler
        self._all = connections
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._next: asyncio.Protocol | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._all.discard(self)
        if self.task is not None:
            self.task.cancel()
        if self._next is not None:
            self._next.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._next is not None:
            self._next.data_received(data)
            return
        self._buffer += data
        if self.task is None:
            self._work()

    def cut(self) -> None:
        """Drops the connection as a crash would (a reset, not a goodbye)."""
        if self.task is not None:
            self.task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _work(self) -> None:
        while self._transport is not None:
            try:
                request = _take(self._buffer)
            except ValueError:
                self._transport.abort()
                return
            if request is None:
                return
            if "expect" in request.headers:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            answer = self._handler(request)
            if not isinstance(answer, Answer):
                self.task = asyncio.ensure_future(self._later(request, answer))
                return
            self._answer(request, answer)

    async def _later(self, request: Request, answer: Awaitable[Answer | None]) -> None:
        response = await answer
        self.task = None
        if response is None:
            self.cut()
            return
        self._answer(request, response)
        self._work()

    def _answer(self, request: Request, response: Answer) -> None:
        if self._transport is None:
            return
        if isinstance(response, Upgrade):
            self._upgrade(self._transport, response)
            return
        close = request.headers.get("connection", "").lower() == "close"
        body = {"content-type": response.content_type, "content-length": str(len(response.body))}
        lines = {} if response.status == 204 else body
        lines |= response.headers | {"connection": "close" if close else "keep-alive"}
        self._transport.write(_start(response.status, lines) + response.body)
        if close:
            self._transport.close()

    def _upgrade(self, transport: asyncio.Transport, upgrade: Upgrade) -> None:
        transport.write(_start(101, {"connection": "Upgrade"} | upgrade.headers))
        early = bytes(self._buffer)
        self._buffer.clear()
        self._next = upgrade.protocol
        self._next.connection_made(transport)
        if early:
            self._next.data_received(early)


def _start(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode()


def _take(buffer: bytearray) -> Request | None:
    """Takes one whole request off the buffer; None if it is not all there.

    Raises:
        ValueError: It is no HTTP, or too large.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0 or len(buffer) > LIMIT:
        if len(buffer) > (LIMIT if end >= 0 else 65536):
            raise ValueError("too large")
        return None
    first, headers = _head(bytes(buffer[:end]))
    method, target, _ = first.split(" ", 2)
    start = end + 4
    if "chunked" in headers.get("transfer-encoding", ""):
        found = _chunked(buffer, start)
        if found is None:
            return None
        body, stop = found
    else:
        stop = start + int(headers.get("content-length", "0"))
        if len(buffer) < stop:
            return None
        body = bytes(buffer[start:stop])
    del buffer[:stop]
    return Request(method, target, headers, body)


def _head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return first, {name.strip().lower(): value.strip() for name, value in pairs}


def _chunked(buffer: bytearray, at: int) -> tuple[bytes, int] | None:
    """(body, where it ends) of a chunked body from `at` on, None if it is not all there."""
    body = bytearray()
    while True:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(bytes(buffer[at:line]).split(b";")[0], 16)
        at = line + 2
        if len(buffer) < at + size + 2:
            return None
        body += buffer[at : at + size]
        at += size + 2
        if size == 0:
            return bytes(body), at


class Poster:
    """Posts webhooks over kept-alive connections."""

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def post(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the answer to one POST.

        Raises:
            OSError: No connection, or it broke before the answer was complete.
        """
        parts = urlsplit(url)
        idle = self._idle.setdefault(parts.netloc, [])
        lines = {"host": parts.netloc, "content-length": str(len(body))} | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        data = f"POST {parts.path or '/'} HTTP/1.1\r\n{head}\r\n".encode() + body
        while idle:  # a kept connection may have been closed meanwhile: then a new one is made
            pair = idle.pop()
            with suppress(OSError):
                return await self._exchange(pair, data, idle)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        pair = await asyncio.open_connection(
            parts.hostname, port, ssl=True if parts.scheme == "https" else None
        )
        return await self._exchange(pair, data, idle)

    async def _exchange(
        self,
        pair: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        data: bytes,
        idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    ) -> tuple[int, dict[str, str], bytes]:
        reader, writer = pair
        keep = False
        try:
            writer.write(data)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            first, headers = _head(head[:-4])
            if "chunked" in headers.get("transfer-encoding", ""):
                body = await _read_chunks(reader)
            else:
                body = await reader.readexactly(int(headers.get("content-length", "0")))
            keep = headers.get("connection", "").lower() != "close"
            return int(first.split(" ")[1]), headers, body
        except (EOFError, asyncio.LimitOverrunError, ValueError) as error:
            raise ConnectionError(f"the answer broke off: {error!r}") from error
        finally:
            if keep:
                idle.append(pair)
            else:
                await _close(writer)

    async def close(self) -> None:
        """Closes the kept connections."""
        for pairs in self._idle.values():
            while pairs:
                await _close(pairs.pop()[1])


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
