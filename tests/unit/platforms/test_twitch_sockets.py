"""Addresses, streams and WebSockets, as far as they need no Twitch; and sessions that begin badly."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from legato.errors import ConfigError, MissingExtra
from legato.platforms.twitch import notifications, sockets
from legato.platforms.twitch.inbox import Inbox
from legato.platforms.twitch.notifications import Notifications
from legato.platforms.twitch.sockets import Closed, Endpoint, endpoint, open_lines, open_socket
from legato.testing.clock import FakeClock


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("irc.example.org:6697", Endpoint("irc.example.org", 6697)),
        ("irc.example.org", Endpoint("irc.example.org", 6697)),
        ("ircs://irc.example.org", Endpoint("irc.example.org", 6697)),
        ("ircs://[::1]:7000/", Endpoint("::1", 7000)),
        ("irc://127.0.0.1", Endpoint("127.0.0.1", 6667, secure=False)),
        ("wss://x.org/a?b=1", Endpoint("x.org", 443, url="wss://x.org/a?b=1")),
        ("ws://localhost:1", Endpoint("localhost", 1, secure=False, url="ws://localhost:1")),
        (sockets.IRC, Endpoint("irc.chat.twitch.tv", 6697)),
    ],
)
def test_addresses_are_understood(text: str, where: Endpoint) -> None:
    assert endpoint(text) == where


@pytest.mark.parametrize(
    "text",
    [
        "", "ircs://", "http://x.org", "x.org:port", "x.org:99999", "ircs://user@x.org", "a b:1",
        "ircs://x.org/channel", "ircs://x.org#a", "wss://", "irc://x.org", "ws://10.0.0.1/", "x\n:1",
    ],
)  # fmt: skip
def test_what_is_no_address_or_speaks_openly_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        endpoint(text)


async def test_what_cannot_be_reached_is_closed() -> None:
    for url in ("irc://127.0.0.1:1", "ircs://127.0.0.1:1", "ws://127.0.0.1:1"):
        with pytest.raises(Closed, match="no connection"):
            await open_lines(endpoint(url))


async def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    with pytest.raises(MissingExtra, match=r"legato\[twitch\]"):
        await open_socket("wss://127.0.0.1:1")


async def test_a_file_without_certificates_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "none.pem"
    file.write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(Closed, match=r"none\.pem, which holds no certificates"):
        await open_lines(endpoint("127.0.0.1:1"))


Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def spoken(speak: Speak) -> AsyncIterator[str]:
    """A server for one client; it is over when it has closed the connection."""
    over = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await speak(reader, writer)
        writer.close()
        await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        yield f"irc://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await over.wait()


async def test_a_stream_that_ends_is_closed() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"PING :1\r\nPING")
        assert await reader.readline() == b"PONG :1\r\n"
        writer.write(b" :2\r\n")

    async with spoken(speak) as url:
        stream = await open_lines(endpoint(url))
        assert await stream.read() == ["PING :1"]
        await stream.write("PONG :1")
        assert await stream.read() == ["PING :2"]
        with pytest.raises(Closed):
            await stream.read()
        await stream.close()
        await stream.close()


async def test_a_peer_that_never_ends_a_line_is_left() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 100_000)
        await reader.read()

    async with spoken(flood) as url:
        stream = await open_lines(endpoint(url))
        with pytest.raises(Closed):
            await stream.read()
        await stream.close()


# -- WebSockets ----------------------------------------------------------------------------------

Serve = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def served(handler: Serve) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0) as server:
        (listener,) = server.sockets
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


async def test_lines_over_a_websocket_come_in_any_portions() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send("PING :1\r\nPING :2\r\n")
        await connection.send("\r\n")
        await connection.send(b"PING :3")
        assert [await connection.recv(), await connection.recv()] == ["PONG :1", "PONG :2"]
        await connection.close(4000, "enough")

    async with served(talk) as url:
        stream = await open_lines(endpoint(url))
        assert await stream.read() == ["PING :1", "PING :2"]
        assert await stream.read() == ["PING :3"]
        await stream.write("PONG :1", "PONG :2")
        with pytest.raises(Closed, match="4000 enough") as caught:
            await stream.read()
        assert caught.value.code == 4000
        with pytest.raises(Closed):
            await stream.write("too late")
        await stream.close()


def frame(kind: str, **payload: object) -> str:
    return json.dumps({"metadata": {"message_type": kind, "message_id": "m"}, "payload": payload})


WELCOME = frame("session_welcome", session={"id": "s", "keepalive_timeout_seconds": 10})


class Twitch:
    """EventSub, as it never should be."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.subscribed: list[str] = []
        self.refuses = ""
        self.clock = FakeClock()

    async def take(self, body: bytes) -> None:
        self.taken.append(body)

    async def subscribe(self, session: str, channel: str) -> str:
        self.subscribed.append(f"{session} {channel}")
        return self.refuses

    @asynccontextmanager
    async def heard(self, handler: Serve) -> AsyncIterator["Twitch"]:
        async with served(handler) as url:
            inbox = Inbox(self.take, self.clock)
            sessions = Notifications(
                open_socket, f"{url}?a=b", ("1",), self.subscribe, inbox=inbox, clock=self.clock
            )
            running = asyncio.create_task(sessions.run())
            try:
                yield self
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await inbox.close()

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not check():
                await asyncio.sleep(0.01)
                self.clock.advance(5.0)


@pytest.mark.parametrize("first", ["", "{}", frame("session_keepalive"), "silence"])
async def test_a_session_without_a_welcome_is_none(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "WELCOME_S", 0.1)
    paths: list[str] = []

    async def odd(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        if first != "silence":
            await connection.send(first)
        await connection.wait_closed()

    async with Twitch().heard(odd) as twitch:
        await twitch.until(lambda: len(paths) == 3)
        assert twitch.subscribed == []
    assert set(paths) == {"/?a=b&keepalive_timeout_seconds=30"}


async def test_what_cannot_be_read_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    async def odd(connection: ServerConnection) -> None:
        await connection.send(WELCOME)
        await connection.send("<html>")
        await connection.send(frame("session_reconnect", session={"id": "s"}))  # to nowhere
        await connection.send(frame("something_new"))
        await connection.send(frame("notification", event={}))
        await connection.wait_closed()

    twitch = Twitch()
    twitch.refuses = "HTTP 403"
    async with twitch.heard(odd):
        await twitch.until(lambda: twitch.taken)
        assert twitch.subscribed == ["s 1"]
    assert "cannot be read" in caplog.text
    assert "HTTP 403" in caplog.text


async def test_what_comes_while_the_session_moves_is_heard() -> None:
    moved = asyncio.Event()

    async def moving(connection: ServerConnection) -> None:
        assert connection.request is not None
        if "new" in connection.request.path:
            await moved.wait()
            await connection.send(WELCOME)
            await connection.wait_closed()
            return
        await connection.send(WELCOME)
        host, port = connection.local_address[:2]
        url = f"ws://{host}:{port}/new"
        await connection.send(frame("session_reconnect", session={"id": "s", "reconnect_url": url}))
        await connection.send("<html>")
        await connection.send(frame("notification", event={}))
        await connection.wait_closed()

    twitch = Twitch()
    async with twitch.heard(moving):
        await twitch.until(lambda: twitch.taken)
        moved.set()
        await asyncio.sleep(0.1)
        assert twitch.subscribed == ["s 1"]
