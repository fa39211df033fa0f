"""The server's side of a WebSocket (RFC 6455), without extensions. Standard library only."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from hashlib import sha1

from legato.testing._http import Request, Response, Upgrade

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
LIMIT = 1024 * 1024
"""Bytes of one message of a client."""


class WebSocket(asyncio.Protocol):
    """One connection. Subclasses say what to do in `opened`, `received`, `ponged` and `lost`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._parts = bytearray()
        self.close_code: int = 0
        """With which code the client closed, 1005 for none, 0: it did not close."""

    # -- hooks --------------------------------------------------------------------------------

    def opened(self) -> None:
        """The handshake is done."""

    def received(self, text: str) -> None:
        """A whole message came."""

    def ponged(self, payload: bytes) -> None:
        """A pong came."""

    def lost(self) -> None:
        """The connection is gone."""

    # -- the other way ------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether something can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, text: str) -> None:
        """Sends one text message; nothing happens if the connection is gone."""
        self._frame(_TEXT, text.encode())

    def ping(self, payload: bytes = b"") -> None:
        """Asks for a pong."""
        self._frame(_PING, payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Says goodbye and closes."""
        if self.open and self._transport is not None:
            self._frame(_CLOSE, code.to_bytes(2, "big") + reason.encode())
            self._transport.close()

    def abort(self) -> None:
        """Cuts the connection as a crash would."""
        if self._transport is not None:
            self._transport.abort()

    def _frame(self, opcode: int, payload: bytes) -> None:
        if not self.open or self._transport is None:
            return
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | opcode, size))
        elif size < 65536:
            head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
        self._transport.write(head + payload)

    # -- the transport's ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.lost()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self.open:
            frame = self._take()
            if frame is None:
                return
            self._handle(*frame)

    def _take(self) -> tuple[int, bool, bytes] | None:
        """(opcode, whether it is the last part, payload) of one frame, None if it is not here."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, at = buffer[1] & 0x7F, 2
        if size > 125:
            wide = 2 if size == 126 else 8
            size, at = int.from_bytes(buffer[2 : 2 + wide], "big"), 2 + wide
        if size > LIMIT:
            self.close(1009, "message too big")
            return None
        if not buffer[1] & 0x80:
            self.close(1002, "a client's frames are masked")
            return None
        if len(buffer) < at + 4 + size:
            return None
        mask = bytes(buffer[at : at + 4])
        at += 4
        payload = bytes(buffer[at : at + size])
        key = (mask * (size // 4 + 1))[:size]
        plain = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
        opcode, last = buffer[0] & 0x0F, bool(buffer[0] & 0x80)
        del buffer[: at + size]
        return opcode, last, plain.to_bytes(size, "big")

    def _handle(self, opcode: int, last: bool, payload: bytes) -> None:  # noqa: FBT001
        if opcode == _CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.close(self.close_code if payload else 1000)
        elif opcode == _PING:
            self._frame(_PONG, payload)
        elif opcode == _PONG:
            self.ponged(payload)
        elif opcode in (0, _TEXT, _BINARY):
            self._parts += payload
            if last:
                text = self._parts.decode("utf-8", "replace")
                self._parts.clear()
                self.received(text)
        else:
            self.close(1002, "unknown opcode")


def handshake(request: Request, socket: WebSocket, protocol: str = "") -> Response | Upgrade:
    """The answer to a client that wants a WebSocket; with `protocol` it must speak that.

    The connection is cut with 400 if the request is none.
    """
    key = request.headers.get("sec-websocket-key", "")
    offered = [p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",")]
    wrong = (
        request.method != "GET"
        or request.headers.get("upgrade", "").lower() != "websocket"
        or request.headers.get("sec-websocket-version") != "13"
        or not key
        or (protocol and offered != [""] and protocol not in offered)
    )
    if wrong:
        return Response(400, b"a WebSocket handshake was expected", "text/plain")
    digest = sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest()
    headers = {"upgrade": "websocket", "sec-websocket-accept": b64encode(digest).decode()}
    if protocol and protocol in offered:
        headers["sec-websocket-protocol"] = protocol
    return Upgrade(socket, headers)
