"""From Telegram's updates to events. Pure."""

from __future__ import annotations

import msgspec

from legato.abc.clock import Clock
from legato.abc.platform import Parsed
from legato.errors import Malformed
from legato.model.events import (
    Address,
    Attachment,
    ButtonPressed,
    Contact,
    Event,
    File,
    Location,
    MemberJoined,
    MemberLeft,
    MessageEdited,
    MessageReceived,
    Photo,
    ReactionChanged,
    User,
)
from legato.model.records import Call
from legato.platforms.telegram import wire
from legato.platforms.telegram.moves import Moves

_MEDIA = ("document", "voice", "audio", "video", "video_note", "animation", "sticker")
_OTHER_CONTENT = ("dice", "poll", "game", "story", "checklist", "paid_media")
_SERVICE = ("pinned_message", "new_chat_members", "left_chat_member")
ACK_MS = 30_000
"""A button's spinner gives up in this time: an acknowledgement that comes later is of no use."""


class Reader:
    """Reads the updates of one bot.

    Attributes:
        username: The bot's handle without "@", "" while it is not known.
        moves: Groups that have become supergroups; what is read adds to it.
    """

    __slots__ = ("_bot", "_clock", "_decoder", "_prefixes", "moves", "username")

    def __init__(self, bot: str, prefixes: tuple[str, ...], clock: Clock) -> None:
        self.username: str = ""
        self.moves: Moves = Moves()
        self._bot = bot
        self._prefixes = prefixes
        self._clock = clock
        self._decoder = msgspec.json.Decoder(wire.Update)

    def read(self, body: bytes) -> Parsed:
        """What the update holds.

        Raises:
            Malformed: It is not JSON, or a field that must be read has the wrong type.
        """
        try:
            update = self._decoder.decode(body)
            return self._events(update) or Parsed(kind=_unknown_kind(body))
        except RecursionError:
            raise Malformed("Telegram update: nested too deeply") from None
        except (msgspec.MsgspecError, ValueError) as error:
            raise Malformed(f"Telegram update: {error}") from error

    def _events(self, update: wire.Update) -> Parsed | None:
        event_id = f"telegram:{self._bot}:{update.update_id}"
        if update.message is not None:
            return self._message(event_id, "message", update.message)
        if update.callback_query is not None:
            return self._button(event_id, update.callback_query)
        if update.edited_message is not None:
            return self._message(event_id, "edited_message", update.edited_message)
        if update.channel_post is not None:
            return self._message(event_id, "channel_post", update.channel_post)
        if update.edited_channel_post is not None:
            return self._message(event_id, "edited_channel_post", update.edited_channel_post)
        if update.my_chat_member is not None:
            return self._member(event_id, "my_chat_member", update.my_chat_member)
        if update.chat_member is not None:
            return self._member(event_id, "chat_member", update.chat_member)
        if update.message_reaction is not None:
            return self._reaction(event_id, update.message_reaction)
        return None

    # -- messages -----------------------------------------------------------------------------

    def _message(self, event_id: str, kind: str, message: wire.Message) -> Parsed:
        who = _sender(message)
        place = self._place(message, who)
        if message.new_chat_members or message.left_chat_member is not None:
            members = self._members(event_id, message)
            if members:
                return Parsed(tuple(members), kind=kind)
        if message.migrate_to_chat_id or message.migrate_from_chat_id:
            return self._migrated(kind, message)
        text = message.text
        attachments = () if text else _attachments(message)  # a medium has a caption instead
        text = text or message.caption
        if message.web_app_data is not None:
            text = text or message.web_app_data.data
        if not text and not attachments and not _has(message, _OTHER_CONTENT):
            service = next((name for name in _SERVICE if _has(message, (name,))), "service")
            return Parsed(kind=f"{kind}:{service}")
        edited = kind.startswith("edited")
        command, args = self._command(text)
        event = (MessageEdited if edited else MessageReceived)(
            id=event_id,
            place=place,
            user=who,
            at_ms=(message.edit_date or message.date if edited else message.date) * 1000,
            text=text,
            message_id=str(message.message_id),
            command=command,
            args=args,
            attachments=attachments,
            reply_to=_reply_to(message),
            private=message.chat.type == "private",
            album=message.media_group_id,
        )
        return Parsed((event,), kind=kind)

    def _migrated(self, kind: str, message: wire.Message) -> Parsed:
        """A group has become a supergroup; told in the old one, and in the new one."""
        if message.migrate_to_chat_id:
            self.moves.learn(str(message.chat.id), str(message.migrate_to_chat_id))
            return Parsed(kind=f"{kind}:migrate_to_chat_id")
        self.moves.learn(str(message.migrate_from_chat_id), str(message.chat.id))
        return Parsed(kind=f"{kind}:migrate_from_chat_id")

    def _members(self, event_id: str, message: wire.Message) -> list[Event]:
        """Joins and leaves as a group shows them. Our own are told by my_chat_member."""
        came = [_user(u) for u in message.new_chat_members if str(u.id) != self._bot]
        gone = message.left_chat_member
        at_ms = message.date * 1000
        events: list[Event] = [
            MemberJoined(
                id=event_id if not n else f"{event_id}.{n}",
                place=self._place(message, user),
                user=user,
                at_ms=at_ms,
            )
            for n, user in enumerate(came)
        ]
        if gone is not None and str(gone.id) != self._bot:
            user = _user(gone)
            place = self._place(message, user)
            events.append(MemberLeft(id=event_id, place=place, user=user, at_ms=at_ms))
        return events

    def _command(self, text: str) -> tuple[str, str]:
        """(name, arguments) of a command for this bot, else ("", "").

        Until the bot's name is known, "/start@some_bot" is taken for ours: every bot's name ends
        in "bot", and Telegram sends a group's commands for other bots only to those who may read
        everything.
        """
        if not text.startswith(self._prefixes):
            return "", ""
        prefix = next(p for p in self._prefixes if text.startswith(p))
        head, *rest = text.split(None, 1)
        name, at, addressee = head[len(prefix) :].lower().partition("@")
        if not _is_name(name):
            return "", ""
        if at:
            ours = self.username.lower()
            if addressee != ours if ours else not addressee.endswith("bot"):
                return "", ""
        return name, rest[0].strip() if rest else ""

    # -- the rest -----------------------------------------------------------------------------

    def _button(self, event_id: str, query: wire.CallbackQuery) -> Parsed:
        who = _user(query.from_)
        now_ms = self._clock.now_ms()
        message = query.message
        if message is None:  # under a message sent by inline mode: we know only the person
            place = Address("telegram", self._bot, who.id, who.id)
        else:
            place = self._place(message, who)
        event = ButtonPressed(
            id=event_id,
            place=place,
            user=who,
            at_ms=now_ms,
            data=query.data,
            message_id=str(message.message_id) if message is not None else "",
            private=message is not None and message.chat.type == "private",
        )
        ack = Call(
            "answerCallbackQuery",
            {"callback_query_id": query.id},
            idempotent=True,
            expires_ms=now_ms + ACK_MS,
        )
        return Parsed((event,), (ack,), kind="callback_query")

    def _member(self, event_id: str, kind: str, change: wire.ChatMemberUpdated) -> Parsed:
        """Somebody's membership changed.

        In a private chat my_chat_member means that the person blocked or unblocked the bot: the
        person left or came back. In a group the bot itself came or went, at the hand of
        `place.user`, whom a dialog started by it can talk with.
        """
        was, now = _is_member(change.old_chat_member), _is_member(change.new_chat_member)
        if was == now:
            return Parsed(kind=kind)
        actor = _user(change.from_)
        private = change.chat.type == "private"
        user = actor if private else _user(change.new_chat_member.user)
        near = actor if kind == "my_chat_member" else user
        event = (MemberJoined if now else MemberLeft)(
            id=event_id,
            place=Address("telegram", self._bot, self.moves.old(str(change.chat.id)), near.id),
            user=user,
            at_ms=change.date * 1000,
        )
        return Parsed((event,), kind=kind)

    def _reaction(self, event_id: str, change: wire.MessageReactionUpdated) -> Parsed:
        who = _user(change.user) if change.user is not None else None
        if who is None and change.actor_chat is not None:
            who = _chat_as_user(change.actor_chat)
        event = ReactionChanged(
            id=event_id,
            place=Address(
                "telegram", self._bot, self.moves.old(str(change.chat.id)), who.id if who else ""
            ),
            user=who,
            at_ms=change.date * 1000,
            message_id=str(change.message_id),
            emoji=tuple(r.emoji or r.custom_emoji_id or r.type for r in change.new_reaction),
        )
        return Parsed((event,), kind="message_reaction")

    def _place(self, message: wire.Message, who: User | None) -> Address:
        thread = message.message_thread_id if message.is_topic_message else 0
        chat, user = self.moves.old(str(message.chat.id)), who.id if who else ""
        return Address(
            "telegram",
            self._bot,
            user if chat == user else chat,  # one string in memory, not two
            user,
            str(thread) if thread else "",
        )


def _is_name(text: str) -> bool:
    """Whether it can be a command's name: letters and digits of any script, "_" and "-"."""
    return len(text) <= 64 and text.replace("_", "").replace("-", "").isalnum()


def _sender(message: wire.Message) -> User | None:
    """Who wrote it. A person may speak as a channel or as the group itself (an anonymous admin):
    then `from` is a stand-in that all of them share.
    """
    chat = message.sender_chat
    if chat is not None and message.chat.type != "channel":
        return _chat_as_user(chat, admin=chat.id == message.chat.id)
    return _user(message.from_) if message.from_ is not None else None


def _user(user: wire.User) -> User:
    return User(
        id=str(user.id),
        name=f"{user.first_name} {user.last_name}".strip() or user.username or "?",
        username=user.username,
        locale=user.language_code,
        is_bot=user.is_bot,
    )


def _chat_as_user(chat: wire.Chat, *, admin: bool = False) -> User:
    return User(
        id=str(chat.id),
        name=chat.title or "?",
        username=chat.username,
        roles=("admin",) if admin else (),
    )


def _attachments(message: wire.Message) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        found.append(Photo(largest.file_id, largest.width, largest.height, largest.file_size))
    if message.animation is not None:  # its `document` is the same file, for old clients
        found.append(_file(message.animation, "animation"))
    else:
        for kind in _MEDIA:
            medium = getattr(message, kind)
            if medium is not None:
                found.append(_file(medium, kind))
    if message.location is not None:
        found.append(Location(message.location.latitude, message.location.longitude))
    card = message.contact
    if card is not None:
        name = f"{card.first_name} {card.last_name}".strip()
        found.append(Contact(card.phone_number, name, str(card.user_id or "")))
    return tuple(found)


def _file(medium: wire.Medium, kind: str) -> File:
    return File(medium.file_id, medium.file_name, medium.mime_type, medium.file_size, kind)


def _reply_to(message: wire.Message) -> str:
    """In a topic every message formally answers the one that opened the topic: that is no reply."""
    replied = message.reply_to_message
    if replied is None or replied.forum_topic_created is not msgspec.UNSET:
        return ""
    return str(replied.message_id or "")


def _has(message: wire.Message, names: tuple[str, ...]) -> bool:
    return any(getattr(message, name) not in (msgspec.UNSET, None, []) for name in names)


def _is_member(member: wire.ChatMember) -> bool:
    if member.status == "restricted":
        return member.is_member
    return member.status in ("creator", "administrator", "member")


def _unknown_kind(body: bytes) -> str:
    """The name of an update of which we know no kind, fit to be a metric's label."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    name = next((name for name in fields if name != "update_id"), "")
    known = len(name) <= 40 and name.isascii() and name.replace("_", "").islower()
    return name if known else "unknown"
