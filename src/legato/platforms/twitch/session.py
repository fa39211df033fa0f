"""One IRC connection: registers, joins, reads, and says things with a receipt.

https://dev.twitch.tv/docs/chat/irc (read 2026-11-28). What Twitch adds to IRC: capabilities for tags and
commands; USERSTATE answers each message of ours (with its id), NOTICE one that was not shown;
RECONNECT comes some seconds before the server closes. What a server does not know (a NAK, no USERSTATE)
is done without: then a PONG that comes after a message shows that the server has read it.

Time here is the event loop's: whether a connection lives is no matter of a bot's clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from msgspec import Struct

from legato.platforms.twitch import irc
from legato.platforms.twitch.drops import is_drop
from legato.platforms.twitch.irc import Line
from legato.platforms.twitch.sockets import Closed, LineStream

log: logging.Logger = logging.getLogger("legato.twitch")

TAGS, COMMANDS, MEMBERSHIP = "twitch.tv/tags", "twitch.tv/commands", "twitch.tv/membership"
CAPS = (TAGS, COMMANDS, MEMBERSHIP)
OTHER_CAPS = ("message-tags", "server-time")
"""Asked for where the server does not know Twitch's: ids and times of messages come with them."""

REGISTER_S = 15.0
RECEIPT_S = 3.0
"""How long a USERSTATE may take before the server is asked whether it is there."""
PONG_S = 10.0
LONGEST_S = 600.0
"""The same while other lines come."""
QUIET_S = 60.0
"""After so long without a word the server is asked whether it is there."""

_REFUSED = ("login authentication failed", "improperly formatted auth", "login unsuccessful")
_DENIED = ("access denied", "bad password", "password mismatch")


class LoginRefused(Exception):
    """The server does not take our token. Its text is the server's own."""


class NotShown(Exception):
    """The server did not show a message.

    Attributes:
        code: Why, in a word.
    """

    def __init__(self, code: str, text: str) -> None:
        self.code: str = code
        super().__init__(text)


class Hooks(Struct, frozen=True):
    """What a connection calls.

    Attributes:
        said: A message came: the line as it stands, and read. Reading goes on when it returns.
        room: A line about a channel came (JOIN and PART of ours, ROOMSTATE, USERSTATE).
        leave: The server asks us to connect anew.
    """

    said: Callable[[str, Line], Awaitable[None]]
    room: Callable[[Line], None]
    leave: Callable[[], None]


class _Receipt:
    """What becomes of one message. The result is its id, "" if the server tells none."""

    __slots__ = ("future", "nonce")

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        self.future: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class Session:
    """One connection, from its opening to its end.

    Args:
        stream: Just opened.
        login: Our name.
        hooks: What is called.

    Attributes:
        caps: The capabilities that the server granted.
        joined: Names of the channels we are in.
    """

    def __init__(self, stream: LineStream, login: str, hooks: Hooks) -> None:
        self._stream = stream
        self._login = login.lower()
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()
        self._welcome: asyncio.Future[None] = self._loop.create_future()
        self._asked: set[str] = set()
        self._negotiated = False
        self._receipts: dict[str, deque[_Receipt]] = {}
        self._states: set[str] = set()
        self._pings: dict[str, asyncio.Future[None]] = {}
        self._serial = 0
        self._heard = self._loop.time()
        self._busy = False
        self._ended: Closed | None = None
        self.caps: set[str] = set()
        self.joined: set[str] = set()

    @property
    def alive(self) -> bool:
        """Whether something can be said."""
        return self._ended is None and self._welcome.done()

    # -- life ---------------------------------------------------------------------------------

    async def register(self, token: str) -> None:
        """Says who we are and returns when the server has taken it; `run` must be running.

        Raises:
            LoginRefused: The token is not taken.
            Closed: The connection has ended, or the server says nothing.
        """
        self._asked = set(CAPS)
        await self._stream.write(
            f"CAP REQ :{' '.join(CAPS)}",
            f"PASS oauth:{token}",
            f"NICK {self._login}",
            f"USER {self._login} 8 * :{self._login}",
        )
        try:
            async with asyncio.timeout(REGISTER_S):
                await asyncio.shield(self._welcome)
        except TimeoutError as error:
            raise Closed("the server does not answer the login") from error

    async def run(self) -> None:
        """Reads until the connection ends.

        Raises:
            Closed: It has ended; nobody waits for anything any more.
        """
        keeper = asyncio.create_task(self._keep_alive())
        try:
            while True:
                for text in await self._stream.read():
                    self._heard = self._loop.time()
                    await self._read(text)
        except Closed as error:
            self._end(error)
            raise
        except BaseException:
            self._end(Closed("the connection was given up"))
            raise
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._stream.close()

    def _end(self, error: Closed) -> None:
        self._ended = self._ended or error
        futures: list[asyncio.Future[None] | asyncio.Future[str]] = [self._welcome]
        futures += self._pings.values()
        futures += [r.future for waiting in self._receipts.values() for r in waiting]
        for future in futures:
            if not future.done():
                future.set_exception(Closed(str(error)))
                future.exception()  # perhaps nobody waits for it
        self.joined.clear()

    async def _keep_alive(self) -> None:
        """Ends the connection if the server has fallen silent. While a message is being handed on,
        nothing is read, so nothing can be heard.
        """
        while True:
            await asyncio.sleep(max(1.0, self._heard + QUIET_S - self._loop.time()))
            if self._busy or self._loop.time() < self._heard + QUIET_S:
                continue
            try:
                await self.ping()
            except Closed:
                if self._ended is None:
                    self._end(Closed("the server has fallen silent"))
                    await self._stream.close()
                return

    async def ping(self) -> None:
        """Returns once the server has read everything that was written before. While other lines come,
        or one is being handed on, its answer is behind them and is waited for.

        Raises:
            Closed: It does not answer, or the connection has ended.
        """
        self._serial += 1
        token = f"legato-{self._serial}"
        pong = self._pings[token] = self._loop.create_future()
        try:
            async with asyncio.timeout(PONG_S):
                await self._stream.write(f"PING :{token}")
            give_up = self._loop.time() + LONGEST_S
            while not pong.done():
                await asyncio.wait((pong,), timeout=PONG_S)
                now = self._loop.time()
                quiet = not self._busy and now - self._heard >= PONG_S
                if (quiet or now >= give_up) and not pong.done():
                    raise Closed("no PONG came")
            pong.result()
        except TimeoutError as error:
            raise Closed("the server reads nothing") from error
        finally:
            del self._pings[token]

    # -- doing --------------------------------------------------------------------------------

    async def join(self, channel: str) -> None:
        """Asks to be in a channel; `joined` tells when we are.

        Raises:
            Closed: The connection has ended.
        """
        await self._stream.write(f"JOIN #{channel}")

    async def say(self, channel: str, text: str, reply_to: str = "") -> str:
        """Says something and returns its id, "" if the server tells none.

        Raises:
            NotShown: It was not shown.
            Closed: The connection ended before the server showed that it had read it; nobody knows.
        """
        self._serial += 1
        receipt = _Receipt(f"legato{self._serial}")
        tags: dict[str, str] = {}
        if TAGS in self.caps:
            tags["client-nonce"] = receipt.nonce
            if reply_to:
                tags["reply-parent-msg-id"] = reply_to
        waiting = self._receipts.setdefault(channel, deque())
        waiting.append(receipt)
        try:
            await self._stream.write(irc.serialize(Line("PRIVMSG", (f"#{channel}", text), tags)))
            return await self._confirmed(receipt)
        finally:
            waiting.remove(receipt)
            if not waiting:
                del self._receipts[channel]

    async def _confirmed(self, receipt: _Receipt) -> str:
        future = receipt.future
        if COMMANDS in self.caps:
            await asyncio.wait({future}, timeout=RECEIPT_S)
        if not future.done():
            log.debug("no receipt came; asking whether the connection lives")
            try:
                await self.ping()
            except Closed:
                if not future.done():
                    raise
        return future.result() if future.done() else ""

    async def close(self) -> None:
        """Ends the connection; `run` raises Closed. Idempotent."""
        await self._stream.close()

    # -- reading ------------------------------------------------------------------------------

    async def _read(self, text: str) -> None:
        try:
            line = irc.parse(text)
        except irc.NotIrc:
            log.debug("a line that is none of IRC: %.200r", text)
            return
        match line.command:
            case "PRIVMSG":
                self._busy = True
                try:
                    await self._hooks.said(text, line)
                finally:
                    self._busy = False
                    self._heard = self._loop.time()
            case "PING":
                await self._stream.write(irc.serialize(Line("PONG", (line.text or "legato",))))
            case "PONG":
                pong = self._pings.get(line.text)
                if pong is not None and not pong.done():
                    pong.set_result(None)
            case "CAP":
                await self._capability(line)
            case "RECONNECT":
                self._hooks.leave()
            case "001" | "464" | "ERROR" | "433":
                self._registered(line)
            case "NOTICE":
                self._noticed(line)
            case "403" | "471" | "473" | "474" | "475" | "477":
                log.warning("the server lets us not in: %s", " ".join(line.params[1:])[:300])
            case _:
                self._about_a_room(line)

    async def _capability(self, line: Line) -> None:
        """The server granted or refused what was asked for: if all at once is refused, one by one."""
        verb = line.params[1].upper() if len(line.params) > 2 else ""
        names = {name.lower() for name in line.text.split()}
        if verb not in ("ACK", "NAK"):
            return
        answered = self._asked & names
        self._asked -= answered
        if verb == "ACK":
            self.caps |= answered
        elif len(answered) > 1:
            log.warning("the server refused %s: asking for each alone", " ".join(sorted(answered)))
            again = [*CAPS, *OTHER_CAPS]
            self._asked = set(again)
            await self._stream.write(*(f"CAP REQ :{name}" for name in again))
        if not self._asked and not self._negotiated:
            self._negotiated = True
            if TAGS not in self.caps:
                log.warning("the server knows no tags of Twitch: roles and replies are not seen")
            await self._stream.write("CAP END")

    def _registered(self, line: Line) -> None:
        if line.command == "001":
            if not self._welcome.done():
                self._welcome.set_result(None)
            return
        text = line.text
        denied = line.command == "464" or any(word in text.lower() for word in _DENIED)
        if line.command != "ERROR" or denied:
            self._refuse(text if line.command != "433" else f"the name is taken: {text}")

    def _refuse(self, text: str) -> None:
        if not self._welcome.done():
            self._welcome.set_exception(LoginRefused(text[:200]))
            self._welcome.exception()

    def _noticed(self, line: Line) -> None:
        """NOTICE: the login is refused, or a message was not shown, or just news."""
        code, text = line.tags.get("msg-id", ""), line.text
        if any(word in text.lower() for word in _REFUSED):
            self._refuse(text)
        waiting = self._receipts.get(line.channel)
        if waiting and is_drop(code):
            self._settle(waiting, line, NotShown(code, text))
        else:
            level = logging.WARNING if is_drop(code) else logging.INFO
            log.log(level, "Twitch says to %s: %s", " ".join(line.params[:1]), text[:300])

    def _about_a_room(self, line: Line) -> None:
        channel, ours = line.channel, line.nick.lower() == self._login
        if line.command == "USERSTATE":
            waiting = self._receipts.get(channel)
            # The first one comes with joining, unless it names a message.
            first = channel not in self._states
            self._states.add(channel)
            named = "id" in line.tags or "client-nonce" in line.tags
            if waiting and (named or not first):
                self._settle(waiting, line, line.tags.get("id", ""))
        elif line.command in ("JOIN", "366") and (ours or line.command == "366"):
            channel = channel if line.command == "JOIN" else _named(line)
            self.joined.add(channel)
            line = Line("JOIN", (f"#{channel}",))
        elif line.command == "PART" and ours:
            self.joined.discard(channel)
            self._states.discard(channel)
        elif line.command != "ROOMSTATE":
            return
        self._hooks.room(line)

    def _settle(self, waiting: deque[_Receipt], line: Line, outcome: str | NotShown) -> None:
        """Gives the outcome to the message it is about: the one named, else the oldest."""
        nonce = line.tags.get("client-nonce", "")
        for receipt in waiting:
            if receipt.future.done() or (nonce and receipt.nonce != nonce):
                continue
            if isinstance(outcome, NotShown):
                receipt.future.set_exception(outcome)
            else:
                receipt.future.set_result(outcome)
            return


def _named(line: Line) -> str:
    """The channel of a 366: ":server 366 nick #channel :End of /NAMES list"."""
    return line.params[1].removeprefix("#").lower() if len(line.params) > 1 else ""


__all__ = ["Hooks", "LoginRefused", "NotShown", "Session"]
