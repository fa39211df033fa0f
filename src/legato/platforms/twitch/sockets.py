"""Streams to Twitch: lines over TCP and TLS or over a WebSocket, and WebSockets themselves.

Certificates are always verified; SSL_CERT_FILE adds an authority. Without encryption only this very
machine is connected to, since the first thing said is a password.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from msgspec import Struct

from legato.errors import ConfigError, MissingExtra
from legato.platforms.twitch.irc import Lines, NotIrc

if TYPE_CHECKING:
    import ssl

    from websockets.asyncio.client import ClientConnection

IRC = "ircs://irc.chat.twitch.tv:6697"
IRC_WEBSOCKET = "wss://irc-ws.chat.twitch.tv:443"

OPEN_S = 15.0
"""For name, connection, TLS and WebSocket handshake together."""
CLOSE_S = 2.0
PIECE = 65_536
MOST_BYTES = 1_000_000
"""Of one WebSocket message."""
_SCHEMES = {"ircs": (True, 6697), "irc": (False, 6667), "wss": (True, 443), "ws": (False, 80)}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Closed(Exception):
    """The connection could not be opened, or has ended. Its text holds no secret.

    Attributes:
        code: Of a WebSocket's close frame, 0 if there was none.
    """

    def __init__(self, text: str, code: int = 0) -> None:
        self.code: int = code
        super().__init__(text)


class Endpoint(Struct, frozen=True):
    """Where to connect to."""

    host: str
    port: int
    secure: bool = True
    url: str = ""
    """Of a WebSocket, "" for a plain stream."""


def endpoint(text: str) -> Endpoint:
    """The endpoint that "host:port", an ircs:// or a wss:// address names.

    Raises:
        ConfigError: It names none, or one that would be spoken to unencrypted over a network. The text
            begins with what is wrong, for a caller that puts the variable's name before it.
    """
    from urllib.parse import urlsplit

    wanted = "write host:port, ircs://host:port or wss://host"
    try:
        split = urlsplit(text if "://" in text else f"ircs://{text}")
        secure, port = _SCHEMES[split.scheme]
        port = split.port or port
    except (ValueError, KeyError):
        raise ConfigError(f"{text!r:.80} is no address: {wanted}") from None
    if not split.hostname or split.username or set(text) & set(" #") or not text.isprintable():
        raise ConfigError(f"{text!r:.80} is no address: {wanted}")
    if not secure and split.hostname not in _LOOPBACK:
        raise ConfigError(f"{text!r:.80} is not encrypted, and the bot's token would be sent there")
    socket = split.scheme in ("wss", "ws")
    if not socket and split.path not in ("", "/"):
        raise ConfigError(f"{text!r:.80} is no address: {wanted}")
    return Endpoint(split.hostname, port, secure, text if socket else "")


def tls_context() -> ssl.SSLContext:
    """Verifies certificates against the system's roots and those of SSL_CERT_FILE.

    Raises:
        Closed: SSL_CERT_FILE holds no certificates.
    """
    import ssl

    context = ssl.create_default_context()
    system = ssl.get_default_verify_paths().openssl_cafile
    extra = os.environ.get("SSL_CERT_FILE")
    try:
        if extra and os.path.isfile(system):  # noqa: PTH113 - pathlib is not needed here
            context.load_verify_locations(system)  # OpenSSL took `extra` in place of it
        if extra:
            context.load_verify_locations(extra)
    except OSError as error:  # ssl.SSLError is one
        raise Closed(f"SSL_CERT_FILE names {extra}, which holds no certificates") from error
    return context


# -- WebSockets --------------------------------------------------------------------------------


class Socket:
    """A WebSocket that texts come from. It never sends a frame unless asked to, but for pongs."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str:
        """The next text. Cancelling it loses nothing.

        Raises:
            Closed: There will be no more.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            text = await self._connection.recv()
        except ConnectionClosed as error:
            raise _closed(error) from error
        return text if isinstance(text, str) else text.decode("utf-8", "replace")

    async def send(self, text: str) -> None:
        """Sends a text.

        Raises:
            Closed: The connection has ended; whether the text arrived is not known.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def close(self) -> None:
        """Closes it; what has arrived can still be received. Idempotent."""
        await self._connection.close()


def _closed(error: Exception) -> Closed:
    received = getattr(error, "rcvd", None)
    code = received.code if received is not None else 0
    reason = received.reason if received is not None else ""
    return Closed(f"the connection was closed ({code or 'lost'} {reason})".replace(" )", ")"), code)


async def open_socket(url: str, *, subprotocol: str = "") -> Socket:
    """Opens a WebSocket.

    Raises:
        Closed: It could not be opened.
        MissingExtra: The package `websockets` is not installed.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException
    except ImportError as error:
        raise MissingExtra("a WebSocket to Twitch", "twitch") from error
    secure = url.startswith("wss:")
    try:
        connection = await connect(
            url,
            subprotocols=[subprotocol] if subprotocol else None,  # type: ignore[list-item]
            ssl=tls_context() if secure else None,
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=None,  # Twitch closes a session of EventSub that sends a frame
            max_size=MOST_BYTES,
            user_agent_header="legato",
        )
    except (OSError, TimeoutError, WebSocketException, ValueError) as error:
        raise Closed(_reason(error)) from error
    return Socket(connection)


def _reason(error: Exception) -> str:
    trusted = getattr(error, "verify_message", "")
    if trusted:
        return (
            f"the certificate is not trusted ({trusted}); SSL_CERT_FILE may name a file with the "
            "authority's certificate"
        )
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return f"no connection: {getattr(error, 'strerror', None) or error}"[:300]


# -- lines -------------------------------------------------------------------------------------


class LineStream(ABC):
    """Lines of text both ways."""

    __slots__ = ()

    @abstractmethod
    async def read(self) -> list[str]:
        """The lines that come next, at least one. Cancelling it loses nothing.

        Raises:
            Closed: There will be no more.
        """

    @abstractmethod
    async def write(self, *lines: str) -> None:
        """Sends lines, which hold no line break.

        Raises:
            Closed: The connection has ended; whether they arrived is not known.
        """

    @abstractmethod
    async def close(self) -> None:
        """Closes it. Idempotent."""


async def open_lines(where: Endpoint) -> LineStream:
    """Connects.

    Raises:
        Closed: It could not be opened.
        MissingExtra: It needs a package that is not installed.
    """
    if where.url:
        return _SocketLines(await open_socket(where.url, subprotocol="irc"))
    context = tls_context() if where.secure else None
    try:
        async with asyncio.timeout(OPEN_S):
            reader, writer = await asyncio.open_connection(
                where.host,
                where.port,
                ssl=context,
                server_hostname=where.host if context is not None else None,
            )
    except (OSError, TimeoutError) as error:
        raise Closed(_reason(error)) from error
    return _StreamLines(reader, writer)


class _StreamLines(LineStream):
    """Over TCP, with TLS or without."""

    __slots__ = ("_cut", "_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._cut = Lines()

    async def read(self) -> list[str]:
        while True:
            try:
                data = await self._reader.read(PIECE)
                found = self._cut.feed(data)
            except (OSError, NotIrc) as error:
                raise Closed(f"the connection was lost ({error})") from error
            if not data:
                raise Closed("the server closed the connection")
            if found:
                return found

    async def write(self, *lines: str) -> None:
        if self._writer.is_closing():  # asyncio's TLS fails in ways of its own then
            raise Closed("the connection was closed")
        try:
            self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
            await self._writer.drain()
        except OSError as error:
            raise Closed(f"the connection was lost ({error})") from error

    async def close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()  # the peer does not answer our goodbye


class _SocketLines(LineStream):
    """Over a WebSocket: each message that comes holds one or more whole lines."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def read(self) -> list[str]:
        while True:
            text = await self._socket.receive()
            found = [line for line in text.replace("\r\n", "\n").split("\n") if line]
            if found:
                return found

    async def write(self, *lines: str) -> None:
        for line in lines:  # one a message: https://ircv3.net/specs/extensions/websocket
            await self._socket.send(line)

    async def close(self) -> None:
        await self._socket.close()


__all__ = ["IRC", "IRC_WEBSOCKET", "Closed", "Endpoint", "LineStream", "Socket", "endpoint"]
