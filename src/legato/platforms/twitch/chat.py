"""Chat over IRC: a connection that is always there, in all channels.

When the server asks for a new connection (or one breaks), the next one is opened at once; an old one
that still works goes on reading until the new one is in all channels, and the ids of messages tell
which came twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from legato.abc import Clock
from legato.errors import BadToken, StoreUnavailable, Unavailable
from legato.platforms.twitch import irc
from legato.platforms.twitch.events import roles
from legato.platforms.twitch.inbox import Inbox
from legato.platforms.twitch.irc import Line
from legato.platforms.twitch.rooms import Rooms
from legato.platforms.twitch.session import Hooks, LoginRefused, Session
from legato.platforms.twitch.sockets import Closed, LineStream
from legato.platforms.twitch.waiting import together

log: logging.Logger = logging.getLogger("legato.twitch")

JOINS = (20, 10.5)
"""Attempts within seconds. Twitch allows 20 in 10 s and counts by its own clock."""
JOIN_AGAIN_S = (10.0, 30.0, 120.0, 600.0)
LEAVE_S = 60.0
"""How long an old connection may stay beside the new one."""
HEALTHY_S = 30.0
"""A connection that lived so long did not fail at once."""
BACKOFF_S = 0.5
BACKOFF_LIMIT_S = 30.0
REACHED = 2
"""Pauses grow no further than for so many failures where the server can be reached."""
WAIT_S = 10.0
"""How long something that is to be said waits for a connection."""
REFUSALS = 2
"""Tokens that the server may refuse in a row."""

Token = Callable[[str], Awaitable[str]]
"""Gives a token; called with the one that the server refused, or with ""."""


class NotConnected(Exception):
    """There is no connection that is in the channel: nothing was said."""


class Joins:
    """Spreads joins over time, for all connections together."""

    __slots__ = ("_clock", "_times")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: deque[float] = deque()

    async def turn(self) -> None:
        """Returns once one more may be made."""
        count, span_s = JOINS
        while len(self._times) >= count:
            wait_s = self._times[0] + span_s - self._clock.monotonic()
            if wait_s <= 0:
                self._times.popleft()
            else:
                await self._clock.sleep(wait_s)
        self._times.append(self._clock.monotonic())


class Link:
    """One connection with what belongs to it."""

    __slots__ = ("complete", "leaving", "parted", "reading", "session", "since")

    def __init__(self, session: Session, since: float) -> None:
        self.session: Session = session
        self.since: float = since
        self.leaving: asyncio.Event = asyncio.Event()
        """Set when a new connection is wanted."""
        self.complete: asyncio.Event = asyncio.Event()
        """Set while it is in all channels."""
        self.parted: asyncio.Event = asyncio.Event()
        """Set when it is not any more."""
        self.reading: asyncio.Task[None] | None = None


class Chat:
    """The bot's presence in its channels.

    Args:
        opened: Opens a connection.
        login: Our name.
        token: Gives tokens.
        rooms: The channels; what is learned of them is put there.
        inbox: Takes what is said.
        clock: Time.
    """

    def __init__(
        self,
        opened: Callable[[], Awaitable[LineStream]],
        login: str,
        token: Token,
        rooms: Rooms,
        *,
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        self._opened = opened
        self._login = login
        self._token = token
        self._rooms = rooms
        self._inbox = inbox
        self._clock = clock
        self._joins = Joins(clock)
        self._links: list[Link] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._refused = ""
        self._refusals = 0
        self._serial = 0

    # -- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Is connected until cancelled.

        Raises:
            BadToken: The server takes no token of ours.
            BaseException: What the sink raised that is no matter of one update.
        """
        failures = 0
        try:
            while True:
                try:
                    link = await self._connect()
                except (Closed, Unavailable, StoreUnavailable) as error:
                    await self._pause(failures, f"Twitch chat cannot be reached: {error}")
                    failures += 1
                    continue
                await link.leaving.wait()
                if self._clock.monotonic() - link.since >= HEALTHY_S:
                    failures = 0
                failures = min(failures, REACHED)
                if failures or not link.session.alive:
                    await self._pause(failures, "the connection to Twitch chat ends")
                failures += 1
        finally:
            await self._stop()

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pause(self, failures: int, why: str) -> None:
        for task in list(self._tasks):  # a bug, or a sink that gave up, ends us
            if task.done() and not task.cancelled() and task.exception() is not None:
                task.result()
        from random import uniform  # jitter, so that a fleet does not come back at once

        wait_s = min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** min(failures, 10))
        wait_s = uniform(wait_s / 2, wait_s)  # nosec B311
        log.warning("%s; connecting again in %.1f s", why, wait_s)
        await self._clock.sleep(wait_s)

    async def _connect(self) -> Link:
        """A new connection that is logged in; joining goes on behind.

        Raises:
            Closed: There is none.
            BadToken: The server takes no token of ours.
        """
        token = await self._token(self._refused)
        stream = await self._opened()
        link: Link

        def leave() -> None:
            log.info("Twitch chat asks for a new connection")
            link.leaving.set()

        hooks = Hooks(self._said, lambda line: self._about(link, line), leave)
        link = Link(Session(stream, self._login, hooks), self._clock.monotonic())
        link.reading = self._start(self._read(link))
        try:
            await link.session.register(token)
        except LoginRefused as error:
            await link.session.close()
            self._refused = token
            self._refusals += 1
            if self._refusals >= REFUSALS:
                raise BadToken(
                    f"Twitch chat refuses {self._login} ({error}): `legato twitch login`"
                ) from None
            raise Closed(f"the login was refused ({error})") from None
        except BaseException:
            await link.session.close()
            raise
        self._refused, self._refusals = "", 0
        log.info("in Twitch chat as %s", self._login)
        for old in self._links:
            _ = self._start(self._retire(old, link))
        self._links.append(link)
        _ = self._start(self._join(link))
        return link

    async def _read(self, link: Link) -> None:
        try:
            await link.session.run()
        except Closed as error:
            log.debug("a connection to Twitch chat ended: %s", error)
        finally:
            if link in self._links:
                self._links.remove(link)
            link.leaving.set()
            link.parted.set()
            self._tell()

    async def _retire(self, old: Link, new: Link) -> None:
        """Closes an old connection once the new one is in all channels."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await new.complete.wait()
        except TimeoutError:
            log.debug("the new connection is not in all channels yet")
        await old.session.close()

    async def _join(self, link: Link) -> None:
        """Brings a connection into all channels, and back into those it is put out of."""
        tries = 0
        try:
            while link.session.alive:
                missing = [c for c in self._rooms.logins if c not in link.session.joined]
                if not missing:
                    tries = 0
                    await link.parted.wait()
                    link.parted.clear()
                    continue
                if tries:
                    log.warning("not in these channels of Twitch yet: %s", ", ".join(missing))
                for channel in missing:
                    await self._joins.turn()
                    await link.session.join(channel)
                patience_s = JOIN_AGAIN_S[min(tries, len(JOIN_AGAIN_S) - 1)]
                await together(link.complete.wait(), self._clock.sleep(patience_s))
                tries += 1
        except Closed:
            return

    def _start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    # -- saying -------------------------------------------------------------------------------

    async def say(self, channel: str, text: str, reply_to: str = "") -> str:
        """Says something; returns its id, "" if the server tells none.

        Raises:
            NotConnected: Nothing was said.
            NotShown: It was not shown.
            Closed: The connection broke: nobody knows whether it was said.
        """
        session = await self._session(channel)
        return await session.say(channel, text, reply_to)

    async def _session(self, channel: str) -> Session:
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    for link in reversed(self._links):
                        if link.session.alive and channel in link.session.joined:
                            return link.session
                    await self._news.wait()
        except TimeoutError:
            raise NotConnected(f"not in the channel {channel} of Twitch now") from None

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # -- hearing ------------------------------------------------------------------------------

    def _about(self, link: Link, line: Line) -> None:
        """A line about a channel: its id, our roles there, or that we came or went."""
        channel = line.channel
        if line.command == "ROOMSTATE":
            self._rooms.learn(channel, line.tags.get("room-id", ""))
        elif line.command == "USERSTATE":
            badges = irc.badges(line.tags.get("badges", ""))
            found = roles(badges | ({"moderator": ""} if line.tags.get("mod") == "1" else {}))
            self._rooms.hold(channel, found)
        elif line.command == "PART":
            link.complete.clear()
            link.parted.set()
        elif line.command == "JOIN":
            if link.session.joined.issuperset(self._rooms.logins):
                link.complete.set()
            self._tell()

    async def _said(self, text: str, line: Line) -> None:
        if not line.tags.get("id") or "room-id" not in line.tags:
            text, line = self._completed(line)
        tags = line.tags
        self._rooms.learn(line.channel, tags["room-id"])
        viewer = f"{tags['room-id']}:{tags.get('user-id', '')}"
        await self._inbox.put(tags["id"], viewer, text.encode())

    def _completed(self, line: Line) -> tuple[str, Line]:
        """A message of a server that is not Twitch, with the tags that Twitch would give: channels and
        people are known by their names.
        """
        self._serial += 1
        now_ms = self._clock.now_ms()
        given = {
            "id": line.tags.get("msgid") or f"{now_ms}-{self._serial}",
            "room-id": line.channel,
            "user-id": line.nick.lower(),
            "tmi-sent-ts": str(now_ms),
        }
        line = replace(line, tags=given | {n: v for n, v in line.tags.items() if v})
        return irc.serialize(line), line
