"""EventSub over WebSockets.

https://dev.twitch.tv/docs/eventsub/handling-websocket-events (read 2026-11-29).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from legato.testing._stage import inside
from legato.testing.fake_twitch.payloads import timestamp
from legato.testing.fake_twitch.websocket import WebSocket
from legato.testing.fake_twitch.world import Json, World

KEEPALIVE_S = 10
GRACE_S = 30
"""Seconds to move to the new connection after a session_reconnect."""
PONG_S = 10
"""Seconds to answer a ping."""
ENDS = {
    4001: ("client sent inbound traffic", "websocket_received_inbound_traffic"),
    4002: ("client failed ping-pong", "websocket_failed_ping_pong"),
    4003: ("connection unused", "websocket_connection_unused"),
    4004: ("reconnect grace time expired", "websocket_failed_to_reconnect"),
    4007: ("invalid reconnect", "websocket_failed_to_reconnect"),
}
"""Close codes, their reasons, and the status of the subscriptions afterwards."""


class Session:
    """One session. It outlives its connection if the client moves as it is told.

    Attributes:
        id: As the welcome says.
        used: Whether anything was subscribed to.
        sent: The messages that were sent to it, as JSON.
        muted: Nothing is sent any more, keepalives neither.
        pongs: How many pongs came.
    """

    def __init__(self, sockets: Sockets, session_id: str, keepalive_s: int) -> None:
        self._sockets = sockets
        self.world: World = sockets.world
        self.id: str = session_id
        self.keepalive_s: int = keepalive_s
        self.connected_at: str = timestamp()
        self.used: bool = False
        self.sent: list[Json] = []
        self.muted: bool = False
        self.pongs: int = 0
        self.moving: bool = False
        self.connection: Connection | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._pong: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<EventSub session {self.id}>"

    # -- for tests ----------------------------------------------------------------------------

    @inside
    def reconnects(self) -> str:
        """Tells the client to move to another address, which is returned."""
        url = self._sockets.reconnect_url(self)
        self.moving = True
        shown = self._json("reconnecting") | {"keepalive_timeout_seconds": None}
        self.tell("session_reconnect", {"session": shown | {"reconnect_url": url}})
        self._after(GRACE_S * self.world.second, 4004)
        return url

    @inside
    def mute(self) -> None:
        """From now on nothing passes: the client must notice the silence."""
        self.muted = True

    @inside
    def ping(self) -> None:
        """Asks for a pong: 4002 if none comes."""
        if self.connection is not None:
            self.connection.ping(b"are you there")
            loop = asyncio.get_running_loop()
            seconds = PONG_S * self.world.second
            self._pong = loop.call_later(seconds, self.end, 4002)

    @inside
    def drop(self) -> None:
        """Cuts the connection."""
        if self.connection is not None:
            self.connection.abort()

    @inside
    def end(self, code: int) -> None:
        """Closes with one of Twitch's codes."""
        if self.connection is not None:
            self._sockets.closed(self, ENDS.get(code, ("", "websocket_internal_error"))[1])
            self.connection.close(code, ENDS.get(code, ("internal server error", ""))[0])

    # -- talking ------------------------------------------------------------------------------

    def tell(
        self, kind: str, payload: Json, message_id: str = "", type_: str = "", version: str = ""
    ) -> None:
        """Sends one message."""
        if self.connection is None or self.muted or not self.connection.open:
            return
        metadata: Json = {
            "message_id": message_id or self.world.uuid(),
            "message_type": kind,
            "message_timestamp": timestamp(),
        }
        if type_:
            metadata |= {"subscription_type": type_, "subscription_version": version}
        message: Json = {"metadata": metadata, "payload": payload}
        self.sent.append(message)
        self.connection.send(msgspec.json.encode(message).decode())
        self._keep()
        self.world.changed()

    def _json(self, status: str) -> Json:
        return {
            "id": self.id,
            "status": status,
            "connected_at": self.connected_at,
            "keepalive_timeout_seconds": self.keepalive_s,
            "reconnect_url": None,
            "recovery_url": None,
        }

    def welcome(self, connection: Connection) -> None:
        """A connection is the session's from now on; one before it has nothing more to say."""
        before, self.connection = self.connection, connection
        self.moving = False
        self.stop()
        self.tell("session_welcome", {"session": self._json("connected")})
        if before is not None:
            before.session = None
            before.later_close(GRACE_S * self.world.second)
        if not self.used:
            self._after(self._sockets.unused_s, 4003)

    def ponged(self) -> None:
        """The client is there."""
        self.pongs += 1
        if self._pong is not None:
            self._pong.cancel()
        self.world.changed()

    def _keep(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
        seconds = self.keepalive_s * self.world.second
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(seconds, self.tell, "session_keepalive", {})

    def _after(self, seconds: float, code: int) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(seconds, self._late, code)

    def _late(self, code: int) -> None:
        if code != 4003 or not self.used:
            self.end(code)

    def stop(self) -> None:
        """No timer is left."""
        for timer in (self._deadline, self._silence, self._pong):
            if timer is not None:
                timer.cancel()


class Connection(WebSocket):
    """One client of EventSub."""

    def __init__(self, sockets: Sockets, query: str) -> None:
        super().__init__()
        self._sockets = sockets
        self._query = query
        self.session: Session | None = None
        self._timer: asyncio.TimerHandle | None = None

    def opened(self) -> None:
        self.session = self._sockets.enter(self, self._query)

    def received(self, text: str) -> None:
        self._sockets.world.violated(f"a client of EventSub sent {text[:80]!r}")
        if self.session is not None:
            self.session.end(4001)

    def ponged(self, payload: bytes) -> None:
        if self.session is not None:
            self.session.ponged()

    def later_close(self, seconds: float) -> None:
        """The old one of two connections: the client is given time to close it."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self.close, 4004, "reconnect grace time expired")

    def lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.session is not None:
            self._sockets.closed(self.session, "websocket_disconnected")


class Sockets:
    """All sessions.

    Attributes:
        sessions: Those that are alive, by id.
        url: The address that clients use.
        opened: How many connections there ever were.
        unused_s: Real seconds within which a client must subscribe.
    """

    def __init__(self, world: World, disconnected: Callable[[str, str], None]) -> None:
        self.world: World = world
        self.sessions: dict[str, Session] = {}
        self.url: str = ""
        self.opened: int = 0
        self.unused_s: float = 10.0
        self._refused = 0
        self._disconnected = disconnected
        self._moves: dict[str, Session] = {}

    @property
    def session(self) -> Session:
        """The newest session.

        Raises:
            AssertionError: There is none.
        """
        assert self.sessions, "no client is connected to EventSub"
        return list(self.sessions.values())[-1]

    @inside
    def refuses(self, times: int = 1) -> None:
        """The coming connections are cut at once."""
        self._refused = times

    def reconnect_url(self, session: Session) -> str:
        """An address at which a session goes on."""
        key = self.world.uuid()
        self._moves[key] = session
        return f"{self.url}?reconnect={key}"

    def enter(self, connection: Connection, query: str) -> Session | None:
        """A client connected; None: it was turned away."""
        self.opened += 1
        if self._refused > 0:
            self._refused -= 1
            connection.abort()
            return None
        params = parse_qs(query)
        if "reconnect" in params:
            session = self._moves.pop(params["reconnect"][0], None)
            if session is None or not session.moving:
                connection.close(4007, ENDS[4007][0])
                return None
        else:
            wanted = params.get("keepalive_timeout_seconds", [str(KEEPALIVE_S)])[0]
            if not wanted.isdigit() or not 10 <= int(wanted) <= 600:
                self.world.violated(f"keepalive_timeout_seconds={wanted}: it is 10 to 600")
                wanted = str(KEEPALIVE_S)
            session = Session(self, f"session-{self.world.uuid()}", int(wanted))
            self.sessions[session.id] = session
        session.welcome(connection)
        return session

    def closed(self, session: Session, status: str) -> None:
        """A session is over."""
        if self.sessions.pop(session.id, None) is not None:
            session.stop()
            self._disconnected(session.id, status)
            self.world.changed()

    async def close(self) -> None:
        """Cuts everything."""
        for session in list(self.sessions.values()):
            session.stop()
            session.drop()
        self.sessions.clear()
        await asyncio.sleep(0)
