"""The chat server: who is connected, and the faults of its lines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from legato.testing._stage import inside
from legato.testing.fake_twitch.auth import Auth
from legato.testing.fake_twitch.payloads import message_tags, source, tags
from legato.testing.fake_twitch.people import FakeChannel
from legato.testing.fake_twitch.session import CAPS, SERVER, Session, Wire
from legato.testing.fake_twitch.websocket import WebSocket
from legato.testing.fake_twitch.world import Account, FakeMessage, Window, World

if TYPE_CHECKING:
    import ssl

JOINS, LOGINS, PER_S = 20, 20, 10.0
"""Channels joined and log-ins, each in so many seconds."""
KEPT = 10_000
"""Lines of clients that are kept."""


class Irc:
    """Twitch's IRC server.

    Attributes:
        sessions: Connections that are open, logged in or not.
        lines: The newest lines that clients sent, as they sent them.
        connections: How many there ever were.
        refused_caps: Capabilities that are answered with NAK.
        repeats: Every message is sent so many times more to each client.
        answers_pings: Whether a client's PING is answered.
        logins: Counts log-ins.
    """

    def __init__(self, world: World, auth: Auth) -> None:
        self.world: World = world
        self.auth: Auth = auth
        self.sessions: list[Session] = []
        self.lines: deque[str] = deque(maxlen=KEPT)
        self.connections: int = 0
        self.refused_caps: set[str] = set()
        self.repeats: int = 0
        self.answers_pings: bool = True
        self._refused = 0
        self._cuts: list[bool] = []
        self._tcp: asyncio.Server | None = None
        self._rooms: dict[str, list[Session]] = {}
        self._joins: dict[str, Window] = {}
        self.logins: Window = Window(LOGINS, PER_S)

    # -- going wrong --------------------------------------------------------------------------

    @inside
    def reconnects(self) -> None:
        """Asks every client to connect anew. Nobody is thrown out: `drop` does that."""
        self._tell(f":{SERVER} RECONNECT")

    @inside
    def pings(self) -> None:
        """Asks every client for a PONG. See `Session.pongs`."""
        self._tell(f"PING :{SERVER}")

    @inside
    def drop(self) -> None:
        """Cuts all connections, as when a server dies."""
        for session in list(self.sessions):
            session.wire.abort()

    @inside
    def freeze(self) -> None:
        """The connections that are open now stay so, but nothing passes any more."""
        for session in self.sessions:
            session.frozen = True

    @inside
    def refuses(self, times: int = 1) -> None:
        """The coming connections are cut at once."""
        self._refused = times

    @inside
    def cuts(self, *, carried_out: bool, times: int = 1) -> None:
        """The connection breaks when the bot's next message comes in, before or after it is shown,
        and before any receipt.
        """
        self._cuts += [carried_out] * times

    @inside
    def sends(self, line: str) -> None:
        """Sends a line of the test's own to every client that is logged in."""
        self._tell(line)

    def cut(self) -> bool | None:
        """What befalls this message: None nothing, else the connection is cut, and whether the
        message is shown before.
        """
        return self._cuts.pop(0) if self._cuts else None

    def _tell(self, line: str) -> None:
        for session in self.sessions:
            if session.account is not None:
                session.send(line)

    # -- rooms --------------------------------------------------------------------------------

    def members(self, channel: FakeChannel) -> list[Session]:
        """Who listens in a channel."""
        return self._rooms.setdefault(channel.id, [])

    def channel(self, name: str) -> FakeChannel | None:
        """The channel of a name with "#"."""
        owner = self.world.logins.get(name.removeprefix("#").lower())
        return self.world.channels.get(owner.id) if owner is not None else None

    def joins(self, account: Account) -> Window:
        """Counts the JOINs of an account, over all its connections."""
        return self._joins.setdefault(account.id, Window(JOINS, PER_S))

    def joined(self, login: str) -> set[str]:
        """The channels (logins) that an account listens to now, over all its connections."""
        mine = (s for s in self.sessions if s.account is not None and s.account.login == login)
        return {channel.login for session in mine for channel in session.channels}

    def said(self, message: FakeMessage, origin: object) -> None:
        members = self.members(message.channel)
        if not members:
            return
        text = f"\x01ACTION {message.text}\x01" if message.action else message.text
        plain = f"{source(message.user)} PRIVMSG #{message.channel.login} :{text}"
        tagged = tags(message_tags(message)) + plain
        for session in list(members):
            if session is not origin:
                for _ in range(1 + self.repeats):
                    session.send(tagged if CAPS[0] in session.caps else plain)

    def deleted(self, message: FakeMessage) -> None:
        values = {
            "login": message.user.login,
            "room-id": message.channel.id,
            "target-msg-id": message.id,
            "tmi-sent-ts": str(message.at_ms),
        }
        line = f":{SERVER} CLEARMSG #{message.channel.login} :{message.text}"
        self._moderated(message.channel, values, line)

    def cleared(self, channel: FakeChannel, user: Account | None, seconds: int) -> None:
        values = {"room-id": channel.id}
        if seconds:
            values = {"ban-duration": str(seconds)} | values
        if user is not None:
            values |= {"target-user-id": user.id}
        to = f" :{user.login}" if user is not None else ""
        self._moderated(channel, values, f":{SERVER} CLEARCHAT #{channel.login}{to}")

    def _moderated(self, channel: FakeChannel, values: dict[str, str], line: str) -> None:
        for session in self.members(channel):
            if CAPS[1] in session.caps:
                session.send((tags(values) if CAPS[0] in session.caps else "") + line)

    def moved(self, channel: FakeChannel, user: Account, command: str) -> None:
        """Tells those who asked for it that somebody came ("JOIN") or went ("PART")."""
        for session in self.members(channel):
            if CAPS[2] in session.caps and session.account is not user:
                session.send(f"{source(user)} {command} #{channel.login}")

    # -- life ---------------------------------------------------------------------------------

    async def open(self, port: int, tls: ssl.SSLContext | None) -> int:
        """Listens for TCP; returns the port."""
        loop = asyncio.get_running_loop()
        self._tcp = await loop.create_server(
            lambda: _Tcp(self), "127.0.0.1", port, backlog=1024, ssl=tls
        )
        address: tuple[str, int] = self._tcp.sockets[0].getsockname()
        return address[1]

    async def close(self) -> None:
        """Cuts everything."""
        if self._tcp is None:
            return
        self._tcp.close()
        for session in list(self.sessions):
            session.wire.abort()
        await self._tcp.wait_closed()
        await asyncio.sleep(0)
        self._tcp = None

    def websocket(self) -> WebSocket:
        """A connection over WebSocket that is about to be opened."""
        return _Ws(self)

    def enter(self, wire: Wire) -> Session | None:
        """A client connected; None: it was cut."""
        self.connections += 1
        if self._refused > 0:
            self._refused -= 1
            wire.abort()
            return None
        session = Session(self, wire)
        self.sessions.append(session)
        self.world.changed()
        return session

    def leave(self, session: Session) -> None:
        """A client is gone."""
        self.sessions.remove(session)
        for channel in list(session.channels):
            session.part(channel)
        self.world.changed()


def _split(text: str) -> Iterable[str]:
    return (line for line in map(str.strip, text.split("\n")) if line)


class _Tcp(asyncio.Protocol):
    """Lines over TCP or TLS."""

    def __init__(self, irc: Irc) -> None:
        self._irc = irc
        self._session: Session | None = None
        self._transport: asyncio.Transport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._session = self._irc.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._session is not None:
            self._irc.leave(self._session)

    def data_received(self, data: bytes) -> None:
        if self._session is None:
            return
        lines, _, self._rest = (self._rest + data).rpartition(b"\n")
        for line in _split(lines.decode("utf-8", "replace")):
            self._session.received(line)

    def send(self, line: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(f"{line}\r\n".encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Ws(WebSocket):
    """Lines over a WebSocket."""

    def __init__(self, irc: Irc) -> None:
        super().__init__()
        self._irc = irc
        self._session: Session | None = None

    def opened(self) -> None:
        self._session = self._irc.enter(self)

    def received(self, text: str) -> None:
        if self._session is not None:
            for line in _split(text):
                self._session.received(line)

    def lost(self) -> None:
        if self._session is not None:
            self._irc.leave(self._session)

    def send(self, text: str) -> None:
        super().send(f"{text}\r\n")
