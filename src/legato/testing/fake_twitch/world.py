"""What exists: accounts, channels, messages and the rules of a chat, as Twitch's servers hold them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from legato.testing._stage import Stage

if TYPE_CHECKING:
    from legato.testing.fake_twitch.people import FakeChannel

Json = dict[str, object]
LONGEST = 500
"""Characters of one message. https://dev.twitch.tv/docs/api/reference#send-chat-message"""
WINDOW_S = 30.0
"""Seconds in which so many messages may be sent: FEW, or MANY by a moderator or broadcaster.
https://dev.twitch.tv/docs/chat#rate-limits (read 2026-11-29)
"""
FEW, MANY = 20, 100
LOCKED_S = 1800.0
"""Seconds for which the messages of one who exceeded that are ignored."""
SAME_S = 30.0
"""Seconds in which nobody but moderators may say the same thing twice."""


class Account(Struct, eq=False):
    """Somebody with an account, a bot included."""

    id: str
    login: str
    name: str
    colour: str = "#0D4200"


class Refused(Exception):
    """A message is not shown. `code` is the msg-id of IRC and the drop_reason of Helix."""

    def __init__(self, code: str, message: str) -> None:
        self.code: str = code
        self.message: str = message
        super().__init__(message)


class ApiError(Exception):
    """A request is refused, in Twitch's words."""

    def __init__(self, status: int, message: str, **more: object) -> None:
        self.status: int = status
        self.message: str = message
        self.more: Json = more
        super().__init__(message)


class Window:
    """At most `most` things in any `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most: int = most
        self._seconds = seconds
        self._times: deque[float] = deque()

    def hit(self, now: float) -> bool:
        """Counts one more; whether it is one too many."""
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        if len(self._times) >= self.most:
            return True
        self._times.append(now)
        return False


class FakeMessage:
    """One message as a channel shows it.

    Attributes:
        id: Twitch's message id.
        channel: Where it stands.
        user: Who wrote it.
        said: The text as it was sent.
        text: As it is shown: a reply begins with the addressee's name.
        reply_to: The message it answers.
        action: Whether it was said with "/me".
        badges: Roles and their versions: {"moderator": "1"}.
        deleted: Whether a moderator took it away.
        via: "viewer", "irc" or "helix".
        home: In a shared chat: the channel it was written in.
    """

    def __init__(
        self,
        message_id: str,
        channel: FakeChannel,
        user: Account,
        said: str,
        reply_to: FakeMessage | None = None,
    ) -> None:
        self.id: str = message_id
        self.channel: FakeChannel = channel
        self.user: Account = user
        self.said: str = said
        self.reply_to: FakeMessage | None = reply_to
        self.text: str = said if reply_to is None else f"@{reply_to.user.name} {said}"
        self.at_ms: int = int(time.time() * 1000)
        self.action: bool = False
        self.badges: dict[str, str] = {}
        self.deleted: bool = False
        self.via: str = "viewer"
        self.home: FakeChannel | None = None

    def __repr__(self) -> str:
        return f"<{self.user.name}: {self.text!r}{' (deleted)' if self.deleted else ''}>"

    def addresses(self, account: Account) -> bool:
        """Whether it is a reply to somebody, or begins with the name."""
        if self.reply_to is not None:
            return self.reply_to.user is account
        first = self.said.partition(" ")[0].rstrip(",:").lower()
        return first in (f"@{account.login}", f"@{account.name.lower()}")

    @property
    def plain(self) -> str:
        """What was said, without the name of whom it addresses."""
        name, _, rest = self.said.partition(" ")
        return rest if name.startswith("@") and self.reply_to is None else self.said


class Listener(Protocol):
    """Hears what happens in the channels."""

    def said(self, message: FakeMessage, origin: object) -> None:
        """A message was shown; `origin` is the connection it came from, None for none."""

    def deleted(self, message: FakeMessage) -> None:
        """A moderator took a message away."""

    def cleared(self, channel: FakeChannel, user: Account | None, seconds: int) -> None:
        """Somebody was banned (0) or timed out; None: the whole chat was cleared."""


class World(Stage):
    """The state that all parts share.

    Attributes:
        bot: The bot's account.
        violations: What a well-behaved client never does, as sentences. Tests assert that there
            are none.
        now: Seconds of the clock by which limits and expiries are counted.
        second: How long one of Twitch's seconds takes here where Twitch waits, in seconds.
    """

    def __init__(self, bot: str, second: float) -> None:
        super().__init__()
        self.accounts: dict[str, Account] = {}
        self.logins: dict[str, Account] = {}
        self.channels: dict[str, FakeChannel] = {}
        self.messages: dict[str, FakeMessage] = {}
        self.listeners: list[Listener] = []
        self.violations: list[str] = []
        self.now: Callable[[], float] = time.monotonic
        self.second: float = second
        self._serial = 0
        self._rates: dict[tuple[str, str], Window] = {}
        self._locked: dict[str, float] = {}
        self.bot: Account = self.account(bot)

    def shown(self) -> object:
        return {channel.login: channel.messages for channel in self.channels.values()}

    def next(self) -> int:
        """A new number."""
        self._serial += 1
        return self._serial

    def uuid(self) -> str:
        """A new id that looks like one of Twitch's."""
        serial = self.next()
        return f"{serial:08x}-feed-4bee-8bad-{serial:012x}"

    def account(self, name: str) -> Account:
        """A new account. Its login is the name in lower case, with a number if it is taken; names
        have no spaces.
        """
        serial, name = self.next(), "".join(name.split())
        login = "".join(c for c in name.lower() if c.isascii() and (c.isalnum() or c == "_"))
        login = login or f"user{serial}"
        login = f"{login}{serial}" if login in self.logins else login
        found = Account(str(100_000 + serial), login, name)
        self.accounts[found.id] = self.logins[login] = found
        return found

    def violated(self, what: str) -> None:
        """Notes what no well-behaved client does."""
        self.violations.append(what)
        self.changed()

    def post(self, message: FakeMessage, origin: object = None) -> FakeMessage:
        """Shows a message to everybody.

        Raises:
            Refused: The channel does not let it through.
        """
        channel, user = message.channel, message.user
        self._check(message)
        message.badges = channel.badges(user)
        channel.messages.append(message)
        self.messages[message.id] = message
        for listener in self.listeners:
            listener.said(message, origin)
        self.changed()
        return message

    def _check(self, message: FakeMessage) -> None:
        channel, user, now = message.channel, message.user, self.now()
        free = bool(channel.roles_of(user) & {"moderator", "broadcaster"})
        until = channel.banned.get(user.id)
        if until is not None and now < until:
            raise Refused("msg_banned", f"You are permanently banned from {channel.login}.")
        if message.via == "viewer":
            return
        channel.refuse(message)
        locked = self._locked.get(user.id, now) > now
        if locked or self._too_fast(message, MANY if free else FEW):
            raise Refused(
                "msg_ratelimit",
                "Your message was not sent because you are sending messages too quickly.",
            )
        if not free and channel.repeats(message, now):
            raise Refused(
                "msg_duplicate",
                "Your message was not sent because it is identical to the previous one you sent, "
                "less than 30 seconds ago.",
            )

    def _too_fast(self, message: FakeMessage, most: int) -> bool:
        now, user = self.now(), message.user
        key = (user.id, message.channel.id)
        window = self._rates.setdefault(key, Window(most, WINDOW_S))
        window.most = most
        if not window.hit(now):
            return False
        self._locked[user.id] = now + LOCKED_S
        self.violated(f"more than {most} messages in {WINDOW_S:g} s to {message.channel.login}")
        return True
