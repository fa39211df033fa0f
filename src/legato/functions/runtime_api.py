"""The AWS Lambda Runtime API, as one process of a function sees it.

    GET  /2018-06-01/runtime/invocation/next           held until there is something to do
    POST /2018-06-01/runtime/invocation/{id}/response  202
    POST /2018-06-01/runtime/invocation/{id}/error     202
    POST /2018-06-01/runtime/init/error                202

Read on 2026-11-28: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

A response may come in chunks, as that of a streaming handler does; what fails in the middle of it is told by trailers.
Each answer leaves in one segment: head and body in two would wait for the client's delayed ACK, 44 ms.
Who else on the machine connects is refused with 403: it could take a function's events, which hold what people wrote.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from legato.functions.chunked import Chunks
from legato.functions.peers import Address

PREFIX = "/2018-06-01/runtime/"
HEAD_LIMIT = 65_536
BODY_LIMIT = 6 * 1024 * 1024
"""Bytes of an event, as at AWS."""
RESPONSE_LIMIT = BODY_LIMIT + 100
ERROR_TYPE, ERROR_BODY = "lambda-runtime-function-error-type", "lambda-runtime-function-error-body"

REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found", 411: "Length Required"}
REASONS |= {403: "Forbidden", 413: "Payload Too Large"}

log: logging.Logger = logging.getLogger("legato.functions")


class Next(Struct, frozen=True):
    """The process asks for something to do: it is ready, or done with what it had."""


class Answered(Struct, frozen=True):
    """What a handler returned (`failed` False) or raised, as JSON or whatever bytes it gave.

    Attributes:
        kind: Content type of a response that was streamed, "" for any other.
    """

    id: str
    body: bytes
    failed: bool
    kind: str = ""


class InitFailed(Struct, frozen=True):
    """The function could not be loaded; the process is about to end."""

    body: bytes


class Died(Struct, frozen=True):
    """The process is gone.

    Attributes:
        status: As waitpid gives it.
    """

    status: int


Signal = Next | Answered | InitFailed | Died


class Work(Struct, frozen=True):
    """One invocation on its way to a process.

    Attributes:
        id: Of the request.
        body: The event, JSON.
        deadline_ms: When the handler must be done, Unix time.
        arn: Of the function.
        client_context: What a client of Invoke says of itself, JSON; "" = nothing.
    """

    id: str
    body: bytes
    deadline_ms: int
    arn: str
    client_context: str = ""


class RuntimeApi:
    """Serves one process on a port of its own.

    Args:
        told: Called with all that the process says.
        is_its: Whether the process has the connection between two addresses, ours and another one.

    Attributes:
        address: host:port, once it is open.
    """

    def __init__(
        self, told: Callable[[Signal], None], is_its: Callable[[Address, Address], bool]
    ) -> None:
        self._told = told
        self._is_its = is_its
        self._listener: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._waiting: _Connection | None = None
        self._links: set[_Connection] = set()
        self._current = ""
        self.address: str = ""

    def open(self) -> None:
        """Listens on 127.0.0.1, on a free port. Who connects waits for `serve`."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.address = f"{host}:{port}"

    async def serve(self) -> None:
        """Answers, now that it is known which process it is for."""
        listener, self._listener = self._listener, None
        assert listener is not None, "open comes first"
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=listener)

    async def close(self) -> None:
        """Stops listening and cuts what is connected. Idempotent."""
        if self._listener is not None:
            self._listener.close()
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for link in list(self._links):
            link.cut()
        await server.wait_closed()
        await asyncio.sleep(0)  # the transports' own last callbacks

    def give(self, work: Work) -> None:
        """Answers the process that asked for something to do.

        Raises:
            ConnectionError: It asks no more.
        """
        link, self._waiting = self._waiting, None
        if link is None or not link.alive:
            raise ConnectionError("the process is not waiting")
        self._current = work.id
        about = work.client_context
        link.answer(
            200,
            work.body,
            (f"Lambda-Runtime-Client-Context: {about}\r\n" if about else "")
            + f"Lambda-Runtime-Aws-Request-Id: {work.id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {work.deadline_ms}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {work.arn}\r\n"
            f"Lambda-Runtime-Trace-Id: Root=1-{work.id[:8]}-{work.id.replace('-', '')[8:]}\r\n",
        )

    # -- what the process says ----------------------------------------------------------------

    def connected(self, link: _Connection) -> None:
        self._links.add(link)

    def lost(self, link: _Connection) -> None:
        self._links.discard(link)

    def knows(self, ours: Address, theirs: Address) -> bool:
        """Whether it is our process that has connected."""
        known = self._is_its(ours, theirs)
        if not known:
            log.warning("a process that is not its function's is refused at %s", self.address)
        return known

    def asked(
        self, link: _Connection, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> None:
        """One whole request came; `headers` with its trailers."""
        what = path.removeprefix(PREFIX) if path.startswith(PREFIX) else ""
        if method == "GET" and what == "invocation/next":
            self._waiting, self._current = link, ""
            self._told(Next())
        elif method == "GET" and what == "restore/next":
            link.answer(200, b"")
        elif method == "POST" and what == "init/error":
            link.answer(202, b'{"status":"OK"}')
            self._told(InitFailed(body))
        elif method == "POST" and what.startswith("invocation/"):
            self._result(link, what, headers, body)
        else:
            link.answer(404, _error("NotFound", "there is no such thing"))

    def refused(self, link: _Connection, status: int) -> None:
        """What came is too long, or has no length."""
        text = (
            f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes)."
        )
        body = _error("Function.ResponseSizeTooLarge", text)
        link.answer(status, body)
        if status == 413 and self._current:
            self._told(Answered(self._current, body, failed=True))
            self._current = ""

    def _result(self, link: _Connection, what: str, headers: dict[str, str], body: bytes) -> None:
        _, number, kind = (*what.split("/"), "", "")[:3]
        if number != self._current or kind not in {"response", "error"}:
            link.answer(400, _error("InvalidRequestID", "this request is not under way"))
            return
        self._current = ""
        link.answer(202, b'{"status":"OK"}')
        self._told(_answered(number, kind, headers, body))


class _Coming(Struct, frozen=True):
    """A request whose body comes in chunks."""

    method: str
    path: str
    headers: dict[str, str]
    chunks: Chunks


class _Connection(asyncio.Protocol):
    """One connection of a runtime client; requests come one after another."""

    def __init__(self, api: RuntimeApi) -> None:
        self._api = api
        self._buffer = bytearray()
        self._coming: _Coming | None = None
        self._transport: Any = None
        self._known = False

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._api.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._api.lost(self)

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._known:  # once a connection
            ours, theirs = map(self._transport.get_extra_info, ("sockname", "peername"))
            self._known = theirs is not None and self._api.knows(ours, theirs)
            if not self._known:
                self.answer(403, _error("AccessDenied", "this is another process's"))
                self._transport.close()
                return
        self._buffer += data
        while self._take():
            continue

    def _take(self) -> bool:
        """Handles the first request in the buffer; False: it is not whole."""
        if self._coming is not None:
            return self._streamed(self._coming)
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                self.cut()
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        method, _, rest = first.partition(" ")
        path = rest.partition(" ")[0]
        if headers.get("transfer-encoding", "").lower() == "chunked":
            del self._buffer[: end + 4]
            self._coming = _Coming(method, path, headers, Chunks(RESPONSE_LIMIT))
            return True
        body = self._body(end + 4, headers)
        if body is None:
            return False
        self._api.asked(self, method, path, headers, body)
        return bool(self._buffer) and self.alive

    def _body(self, start: int, headers: dict[str, str]) -> bytes | None:
        """The body of the first request, which leaves the buffer; None: it is not whole, or was refused."""
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal():
            self._refuse(411)
            return None
        if int(length) > RESPONSE_LIMIT:
            self._refuse(413)
            return None
        whole = start + int(length)
        if len(self._buffer) < whole:
            if "expect" in headers and len(self._buffer) == start:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body = bytes(self._buffer[start:whole])
        del self._buffer[:whole]
        return body

    def _streamed(self, coming: _Coming) -> bool:
        try:
            found = coming.chunks.take(self._buffer)
        except (OverflowError, ValueError) as error:
            self._refuse(413 if isinstance(error, OverflowError) else 400)
            return False
        if found is None:
            return False
        self._coming = None
        headers = coming.headers | found.trailers
        self._api.asked(self, coming.method, coming.path, headers, found.body)
        return bool(self._buffer) and self.alive

    def _refuse(self, status: int) -> None:
        self._buffer.clear()
        self._coming = None
        self._api.refused(self, status)
        if self._transport is not None:
            self._transport.close()

    def answer(self, status: int, body: bytes, headers: str = "") -> None:
        """Sends a whole response in one segment."""
        if self._transport is not None:
            head = (
                f"HTTP/1.1 {status} {REASONS[status]}\r\n{headers}"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            self._transport.write(head.encode("latin-1") + body)


def _answered(id: str, kind: str, headers: dict[str, str], body: bytes) -> Answered:
    if kind == "error":
        return Answered(id, body, failed=True)
    if ERROR_TYPE in headers:  # a handler that had begun to stream
        try:
            body = a2b_base64(headers.get(ERROR_BODY, ""))
        except ValueError:
            body = _error("Function.Unknown", "it failed in the middle of its response")
        return Answered(id, body, failed=True)
    streams = headers.get("lambda-runtime-function-response-mode", "").lower() == "streaming"
    return Answered(id, body, failed=False, kind=headers.get("content-type", "") if streams else "")


def _error(kind: str, text: str) -> bytes:
    return f'{{"errorMessage":"{text}","errorType":"{kind}"}}'.encode()


__all__ = [
    "Answered",
    "Died",
    "InitFailed",
    "Next",
    "RuntimeApi",
    "Signal",
    "Work",
]
