"""From IRC lines and EventSub notifications to events. Pure.

A chat message gives the same event whichever way it came: Twitch's id of the message is its dedupe
key, so that two transports at once (or a reconnect) apply it once.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from legato.abc import Parsed
from legato.errors import Malformed
from legato.model.events import Address, MessageReceived, User
from legato.platforms.twitch import irc

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
    badges: tuple[str, ...] = ()
    reply_to: str = ""
    at_ms: int = 0


class Reader:
    """Reads raw updates for one bot.

    Args:
        bot: The bot's user id: its own messages are not read.
        prefixes: What commands begin with.
    """

    def __init__(self, bot: str, prefixes: tuple[str, ...]) -> None:
        self.bot = bot
        self.prefixes = prefixes

    def read(self, body: bytes) -> Parsed:
        """One raw update: an IRC line, or the JSON of an EventSub message.

        Raises:
            Malformed: It is neither.
        """
        if body[:1] == b"{":
            return self._eventsub(body)
        try:
            line = irc.parse(body.decode())
        except (UnicodeDecodeError, irc.NotIrc) as error:
            raise Malformed(f"no IRC line: {error}") from error
        if line.command != "PRIVMSG" or len(line.params) < 2:
            return Parsed(kind=line.command)
        chatter = _from_irc(line)
        return Parsed((self.event(chatter),) if chatter is not None else (), kind="PRIVMSG")

    def _eventsub(self, body: bytes) -> Parsed:
        try:
            note = _notification.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Malformed(f"no EventSub message: {error}") from error
        if note.challenge:
            return Parsed(reply=note.challenge.encode(), kind="challenge")
        payload = note.payload or note
        kind = payload.subscription.type if payload.subscription else ""
        if kind != "channel.chat.message" or payload.event is None:
            return Parsed(kind=kind)
        chatter = _from_eventsub(payload.event)
        own = chatter.user == self.bot
        return Parsed(() if own else (self.event(chatter),), kind=kind)

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
                roles=tuple(role for role in ROLES if role in chatter.badges),
            ),
            at_ms=chatter.at_ms,
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
        text.replace("\U000e0000", "").strip(),
        tuple(_roles(irc.badges(tags.get("badges", "")))),
        reply_to,
        int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 16 else 0,
    )


def _roles(badges: dict[str, str]) -> list[str]:
    return [*badges, "subscriber"] if "founder" in badges else list(badges)


# -- EventSub --------------------------------------------------------------------------------------


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


class Subscription(Struct, frozen=True):
    """A subscription as Twitch tells of it."""

    id: str = ""
    type: str = ""
    status: str = ""


class _Payload(Struct, frozen=True):
    subscription: Subscription | None = None
    event: _Message | None = None


class _Notification(Struct, frozen=True):
    challenge: str = ""
    subscription: Subscription | None = None
    event: _Message | None = None
    payload: _Payload | None = None
    """Over a WebSocket the same stands one level deeper."""


_notification = msgspec.json.Decoder(_Notification)


def _from_eventsub(event: _Message) -> Chatter:
    badges = {badge.set_id: "" for badge in event.badges or ()}
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
        text.replace("\U000e0000", "").strip(),
        tuple(_roles(badges)),
        reply_to,
    )
