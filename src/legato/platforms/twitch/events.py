"""From IRC lines and EventSub notifications to events. Pure.

A chat message gives the same event whichever way it came: Twitch's id of the message is its dedupe
key, so that two transports at once (or a reconnect) apply it once.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from legato.abc import Clock, Parsed
from legato.errors import Malformed
from legato.model.events import Address, MessageReceived, User
from legato.platforms.twitch import irc

INVISIBLE = "\U000e0000"
"""People's clients put this behind a text to say the same thing twice."""
ROLES = ("broadcaster", "moderator", "vip", "subscriber")
"""Badges that are roles. A founder is a subscriber, too."""


class Chatter(Struct, frozen=True):
    """Who said what where, from either transport."""

    message_id: str
    channel: str
    user: str
    login: str
    name: str
    text: str
    roles: tuple[str, ...] = ()
    reply_to: str = ""
    at_ms: int = 0
    """0: Twitch did not tell."""
    home: str = ""
    """In a shared chat: the channel it was written in, if that is another one."""


class Notice(Struct, frozen=True):
    """What an update says about the bot itself.

    Attributes:
        channel: Where, the broadcaster's user id.
        roles: The bot's roles there; None: it says nothing of them.
        revoked: Why no more messages of this channel come, "" if they do.
    """

    channel: str
    roles: tuple[str, ...] | None = None
    revoked: str = ""


class Reader:
    """Reads raw updates for one bot.

    Args:
        bot: The bot's user id: its own messages are not read.
        prefixes: What commands begin with.
        clock: Tells when a message came where Twitch does not.
    """

    __slots__ = ("_clock", "bot", "prefixes")

    def __init__(self, bot: str, prefixes: tuple[str, ...], clock: Clock) -> None:
        self.bot: str = bot
        self.prefixes: tuple[str, ...] = prefixes
        self._clock = clock

    def read(self, body: bytes) -> tuple[Parsed, Notice | None]:
        """One raw update: an IRC line, or the JSON of an EventSub message; and what it says about
        the bot itself.

        Raises:
            Malformed: It is neither.
        """
        if body[:1] == b"{":
            return self._eventsub(body)
        try:
            line = irc.parse(body.decode())
        except (UnicodeDecodeError, irc.NotIrc) as error:
            raise Malformed(f"no IRC line: {str(error)[:200]}") from error
        if line.command != "PRIVMSG" or len(line.params) < 2:
            return Parsed(kind=line.command), None
        return self._said(_from_irc(line), line.command)

    def _eventsub(self, body: bytes) -> tuple[Parsed, Notice | None]:
        try:
            note = _notification.decode(body)
            payload = note.payload or note
            about = payload.subscription or Subscription()
            if note.challenge:
                reply = note.challenge.encode()
                return Parsed(reply=reply, reply_type=TEXT, kind="challenge"), None
            if about.status not in ("", ENABLED):
                channel = about.condition.get("broadcaster_user_id", "")
                notice = Notice(channel if isinstance(channel, str) else "", revoked=about.status)
                return Parsed(kind="revocation"), notice
            kind = about.type or (note.metadata.message_type if note.metadata else "")
            if kind != CHAT_MESSAGE or bytes(payload.event) in (b"", b"null"):
                return Parsed(kind=kind or "unknown"), None
            chatter = _from_eventsub(_message.decode(payload.event), note.metadata)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Malformed(f"no EventSub message: {str(error)[:200]}") from error
        return self._said(chatter, kind)

    def _said(self, chatter: Chatter | None, kind: str) -> tuple[Parsed, Notice | None]:
        if chatter is None or chatter.home not in ("", chatter.channel):
            return Parsed(kind=kind), None
        if chatter.user == self.bot:
            return Parsed(kind=kind), Notice(chatter.channel, chatter.roles)
        return Parsed((self.event(chatter),), kind=kind), None

    def event(self, chatter: Chatter) -> MessageReceived:
        """The event of a chat message."""
        command, args = self._command(chatter.text)
        return MessageReceived(
            id=f"twitch:{self.bot}:{chatter.message_id}",
            place=Address("twitch", self.bot, chatter.channel, chatter.user),
            user=User(
                chatter.user,
                chatter.name or chatter.login or "?",
                chatter.login,
                roles=chatter.roles,
            ),
            at_ms=chatter.at_ms or self._clock.now_ms(),
            text=chatter.text,
            message_id=chatter.message_id,
            command=command,
            args=args,
            reply_to=chatter.reply_to,
        )

    def _command(self, text: str) -> tuple[str, str]:
        prefix = next((p for p in self.prefixes if text.startswith(p)), "")
        word, _, args = text[len(prefix) :].partition(" ")
        return (word.lower(), args.strip()) if prefix and word else ("", "")


# -- IRC -------------------------------------------------------------------------------------------

_ACTION = "\x01ACTION "


def _from_irc(line: irc.Line) -> Chatter | None:
    tags = line.tags
    message_id, channel, user = tags.get("id"), tags.get("room-id"), tags.get("user-id")
    if not message_id or not channel or not user:
        return None  # without the tags nobody can be told apart: the CAP was refused
    text = line.text
    if text.startswith(_ACTION):  # /me
        text = text.removeprefix(_ACTION).removesuffix("\x01")
    reply_to = tags.get("reply-parent-msg-id", "")
    if reply_to and text.startswith("@"):
        text = text.partition(" ")[2]  # Twitch puts "@login " before a reply's text
    sent = tags.get("tmi-sent-ts", "")
    return Chatter(
        message_id,
        channel,
        user,
        line.nick,
        tags.get("display-name", ""),
        text.replace(INVISIBLE, "").strip(),
        roles(irc.badges(tags.get("badges", ""))),
        reply_to,
        int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 16 else 0,
        tags.get("source-room-id", ""),
    )


def roles(badges: dict[str, str]) -> tuple[str, ...]:
    """The badges that are roles, in a fixed order."""
    return tuple(
        role for role in ROLES if role in badges or (role == "subscriber" and "founder" in badges)
    )


# -- EventSub --------------------------------------------------------------------------------------

CHAT_MESSAGE = "channel.chat.message"
ENABLED = "enabled"
TEXT = "text/plain"


class _Badge(Struct, frozen=True):
    set_id: str = ""


class _Text(Struct, frozen=True):
    text: str = ""


class _Reply(Struct, frozen=True):
    parent_message_id: str = ""


class _Message(Struct, frozen=True):
    broadcaster_user_id: str
    chatter_user_id: str
    message_id: str
    message: _Text
    chatter_user_login: str = ""
    chatter_user_name: str = ""
    badges: list[_Badge] | None = None
    reply: _Reply | None = None
    source_broadcaster_user_id: str | None = None


class Subscription(Struct, frozen=True):
    """A subscription as Twitch tells of it."""

    id: str = ""
    type: str = ""
    status: str = ""
    condition: dict[str, object] = {}


class Metadata(Struct, frozen=True):
    """What stands around a message that came over a WebSocket."""

    message_id: str = ""
    message_type: str = ""
    message_timestamp: str = ""


class _Payload(Struct, frozen=True):
    subscription: Subscription | None = None
    event: Raw = Raw()


class _Notification(Struct, frozen=True):
    challenge: str = ""
    subscription: Subscription | None = None
    event: Raw = Raw()
    payload: _Payload | None = None
    """Over a WebSocket the same stands one level deeper."""
    metadata: Metadata | None = None


_notification = msgspec.json.Decoder(_Notification)
_message = msgspec.json.Decoder(_Message)


def _from_eventsub(event: _Message, metadata: Metadata | None) -> Chatter:
    text = event.message.text
    reply_to = event.reply.parent_message_id if event.reply else ""
    if reply_to and text.startswith("@"):
        text = text.partition(" ")[2]
    return Chatter(
        event.message_id,
        event.broadcaster_user_id,
        event.chatter_user_id,
        event.chatter_user_login,
        event.chatter_user_name,
        text.replace(INVISIBLE, "").strip(),
        roles({badge.set_id: "" for badge in event.badges or ()}),
        reply_to,
        milliseconds(metadata.message_timestamp) if metadata else 0,
        event.source_broadcaster_user_id or "",
    )


def milliseconds(timestamp: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 timestamp in UTC with up to nanoseconds; 0 if it is
    none.
    """
    from datetime import UTC, datetime

    seconds, _, fraction = timestamp.removesuffix("Z").partition(".")
    if fraction and not (fraction.isascii() and fraction.isdigit()):
        return 0
    try:
        at = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(at.timestamp()) * 1000 + int((fraction + "000")[:3])
