"""A chat server in memory, for one connection at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from legato.platforms.twitch.irc import Line
from legato.platforms.twitch.session import Hooks, Session
from legato.platforms.twitch.sockets import Closed, LineStream

WELCOME = ":tmi.twitch.tv 001 bot :Welcome, GLHF!"
ACK = ":tmi.twitch.tv CAP * ACK :twitch.tv/tags twitch.tv/commands twitch.tv/membership"


class Wire(LineStream):
    """The client's end; the test is the server.

    Attributes:
        written: What the client sent.
        obey: Called with each line of the client.
    """

    def __init__(self) -> None:
        self.written: list[str] = []
        self.obey: Callable[[str], None] = lambda line: None
        self.broken = False
        self.closed = False
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()

    def says(self, *lines: str) -> None:
        """The server sends lines."""
        for line in lines:
            self._queue.put_nowait(line)

    def ends(self) -> None:
        """The server closes the connection."""
        self._queue.put_nowait(None)

    def sent(self, begin: str) -> list[str]:
        """The client's lines that begin so (behind their tags)."""
        bare = [line.partition(" ")[2] if line[:1] == "@" else line for line in self.written]
        return [line for line in bare if line.startswith(begin)]

    async def read(self) -> list[str]:
        line = await self._queue.get()
        if line is None or self.closed:
            raise Closed("the server closed the connection")
        return [line]

    async def write(self, *lines: str) -> None:
        if self.broken or self.closed:
            raise Closed("the connection was lost")
        for line in lines:
            self.written.append(line)
            self.obey(line)

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.ends()


class Server(Wire):
    """Answers as Twitch does, as far as it is not told otherwise.

    Attributes:
        token: The one it takes, "" = any.
        receipts: Whether messages are answered with USERSTATE.
        pongs: Whether PINGs are.
        joins: Whether JOINs are.
        caps: What a request for capabilities is answered with.
    """

    def __init__(self, token: str = "") -> None:
        super().__init__()
        self.token = token
        self.receipts = True
        self.pongs = True
        self.joins = True
        self.caps = ACK
        self.messages = 0
        self.obey = self._obey

    def _obey(self, line: str) -> None:
        command, _, rest = (line.partition(" ")[2] if line[:1] == "@" else line).partition(" ")
        if command == "CAP" and rest.startswith("REQ") and self.caps:
            self.says(self.caps)
        elif command == "PASS" and self.token and rest != f"oauth:{self.token}":
            self.says(":tmi.twitch.tv NOTICE * :Login authentication failed")
            self.token = "never"
        elif command == "NICK" and self.token != "never":
            self.says(WELCOME)
        elif command == "JOIN" and self.joins:
            self.says(
                f":bot!bot@bot.tmi.twitch.tv JOIN {rest}",
                f"@badges= :tmi.twitch.tv USERSTATE {rest}",
                f"@room-id=7 :tmi.twitch.tv ROOMSTATE {rest}",
            )
        elif command == "PING" and self.pongs:
            self.says(f":tmi.twitch.tv PONG tmi.twitch.tv {rest}")
        elif command == "PRIVMSG" and self.receipts:
            self.messages += 1
            channel = rest.partition(" ")[0]
            self.says(f"@id=m{self.messages} :tmi.twitch.tv USERSTATE {channel}")


class Heard:
    """What a session told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rooms: list[str] = []
        self.left = 0
        self.wait: asyncio.Event | None = None

    def hooks(self) -> Hooks:
        async def said(text: str, line: Line) -> None:
            if self.wait is not None:
                await self.wait.wait()
            self.said.append(line.text)

        def leave() -> None:
            self.left += 1

        return Hooks(said, lambda line: self.rooms.append(line.command), leave)


class Opened:
    """A session that runs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.heard = Heard()
        self.session = Session(server, "bot", self.heard.hooks())
        self.running = asyncio.create_task(self.session.run())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def in_room(self) -> Session:
        await self.session.register("token")
        await self.session.join("room")
        await asyncio.sleep(0.01)
        assert self.session.joined == {"room"}
        return self.session
