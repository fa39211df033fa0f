"""EventSub over a WebSocket: one session that is always there.

https://dev.twitch.tv/docs/eventsub/handling-websocket-events (read 2026-11-28). A session begins with a
welcome, within whose window the first subscription must be made. When it is to move, the old socket
goes on delivering until the new one's welcome, and the subscriptions move along; when it breaks, a new
one is made and subscribed anew. A client that sends anything but pongs is put out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from legato.abc import Clock
from legato.errors import StoreUnavailable, Unavailable
from legato.platforms.twitch import eventsub
from legato.platforms.twitch.eventsub import Frame
from legato.platforms.twitch.inbox import Inbox
from legato.platforms.twitch.sockets import Closed, Socket

log: logging.Logger = logging.getLogger("legato.twitch")

EVENTSUB = "wss://eventsub.wss.twitch.tv/ws"
KEEPALIVE_S = 30
"""How long Twitch may be silent: asked for, and what counts where it does not tell."""
GRACE_S = 5.0
WELCOME_S = 15.0
HEALTHY_S = 60.0
REACHED = 2
"""Pauses grow no further than for so many failures where the server can be reached."""
BACKOFF_S = 0.5
BACKOFF_LIMIT_S = 30.0
AT_ONCE = 8

Opened = Callable[[str], Awaitable[Socket]]
Subscribe = Callable[[str, str], Awaitable[str]]
"""Subscribes a session (its id) to a channel; returns why not, "" if it is done."""


class Notifications:
    """What is said in channels, as EventSub tells it.

    Args:
        opened: Opens a WebSocket.
        url: Where sessions are begun.
        channels: Ids of the channels.
        subscribe: Subscribes a session to a channel.
        inbox: Takes what is said.
        clock: Time.
    """

    def __init__(
        self,
        opened: Opened,
        url: str,
        channels: tuple[str, ...],
        subscribe: Subscribe,
        *,
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        self._opened = opened
        separator = "&" if "?" in url else "?"
        self._url = f"{url}{separator}keepalive_timeout_seconds={KEEPALIVE_S}"
        self._channels = channels
        self._subscribe = subscribe
        self._inbox = inbox
        self._clock = clock
        self._silence_s = float(KEEPALIVE_S)
        self._failures = 0

    async def run(self) -> None:
        """Has a session until cancelled.

        Raises:
            BadToken: Twitch does not take the account any more.
            BaseException: What the sink raised that is no matter of one update.
        """
        while True:
            began = self._clock.monotonic()
            try:
                await self._session()
            except (Closed, Unavailable, StoreUnavailable) as error:
                if self._clock.monotonic() - began >= HEALTHY_S:
                    self._failures = 0
                await self._pause(self._failures, str(error))
                self._failures += 1

    async def _pause(self, failures: int, why: str) -> None:
        from random import uniform  # jitter, so that a fleet does not come back at once

        wait_s = min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** min(failures, 10))
        wait_s = uniform(wait_s / 2, wait_s)  # nosec B311
        log.warning("no session with Twitch's EventSub: %s; again in %.1f s", why, wait_s)
        await self._clock.sleep(wait_s)

    async def _session(self) -> None:
        """One session from its first welcome to its end, over however many sockets.

        Raises:
            Closed: It has ended.
        """
        socket, welcome = await self._begin(self._url)
        subscribing = asyncio.create_task(self._subscribe_all(welcome.payload.session.id))
        try:
            while True:
                url = await self._read(socket, subscribing)
                log.info("EventSub asks for a new connection")
                socket = await self._move(socket, url)
        finally:
            subscribing.cancel()
            await asyncio.gather(subscribing, return_exceptions=True)
            await socket.close()

    async def _begin(self, url: str) -> tuple[Socket, Frame]:
        """A socket that has been welcomed.

        Raises:
            Closed: There is none.
        """
        socket = await self._opened(url)
        try:
            async with asyncio.timeout(WELCOME_S):
                welcome = eventsub.frame(await socket.receive())
        except TimeoutError as error:
            await socket.close()
            raise Closed("no welcome came") from error
        except BaseException:
            await socket.close()
            raise
        if welcome is None or welcome.kind != eventsub.WELCOME:
            await socket.close()
            raise Closed("no welcome came")
        self._failures = min(self._failures, REACHED)
        told = welcome.payload.session.keepalive_timeout_seconds
        self._silence_s = float(told or KEEPALIVE_S)
        return socket, welcome

    async def _subscribe_all(self, session: str) -> None:
        """Subscribes to all channels, the first one at once: without any, the session is ended.

        Raises:
            BadToken, Unavailable: As the API says.
        """
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(channel: str) -> None:
            async with gate:
                why = await self._subscribe(session, channel)
                if why:
                    log.error("Twitch will not tell what is said in channel %s: %s", channel, why)

        await asyncio.gather(*(one(channel) for channel in self._channels))
        log.info("EventSub tells what is said in %d channels", len(self._channels))

    async def _read(self, socket: Socket, subscribing: asyncio.Task[None]) -> str:
        """Reads until the session is to move; returns where to.

        Raises:
            Closed: The socket has ended, or nothing came for too long.
            BadToken, Unavailable: As subscribing says.
        """
        while True:
            text = await self._next(socket, subscribing)
            frame = eventsub.frame(text)
            if frame is None:
                log.warning("EventSub said what cannot be read: %.200r", text)
            elif frame.kind == eventsub.RECONNECT and frame.payload.session.reconnect_url:
                return frame.payload.session.reconnect_url
            else:
                await self._take(frame, text)

    async def _next(self, socket: Socket, subscribing: asyncio.Task[None]) -> str:
        """The next text; what subscribing fails of is raised meanwhile."""
        try:
            async with asyncio.timeout(self._silence_s + GRACE_S):
                if subscribing.done():
                    subscribing.result()
                    return await socket.receive()
                reading = asyncio.create_task(socket.receive())
                try:
                    await asyncio.wait({reading, subscribing}, return_when=asyncio.FIRST_COMPLETED)
                    if subscribing.done():
                        subscribing.result()
                    return await reading
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
        except TimeoutError as error:
            raise Closed("EventSub has fallen silent") from error

    async def _take(self, frame: Frame, text: str) -> None:
        if frame.kind == eventsub.NOTIFICATION:
            await self._inbox.put(frame.metadata.message_id, frame.viewer, text.encode())
        elif frame.kind == eventsub.REVOCATION:
            await self._inbox.put("", "", text.encode())

    async def _move(self, old: Socket, url: str) -> Socket:
        """The socket that the session moves to. The old one is read to its end, but no longer than
        until the new one's welcome.

        Raises:
            Closed: There is no new one.
        """
        reading = asyncio.create_task(self._read_on(old))
        try:
            socket, _ = await self._begin(url)
        finally:
            await old.close()
            await asyncio.gather(reading, return_exceptions=True)
        return socket

    async def _read_on(self, old: Socket) -> None:
        try:
            while True:
                text = await old.receive()
                frame = eventsub.frame(text)
                if frame is not None:
                    await self._take(frame, text)
        except Closed:
            return
