"""What comes in: normalised events. A Platform makes them from its raw updates.

All ids are text, whatever the platform uses. Times are milliseconds since the Unix epoch (UTC).
"""

from __future__ import annotations

from msgspec import Struct


class Address(Struct, frozen=True, array_like=True):
    """Where a conversation takes place: enough to send there.

    Attributes:
        platform: Name of the platform, e.g. "telegram".
        bot: The bot's own id on that platform (one process may run several bots).
        chat: The chat, channel or room.
        user: The person, "" for a whole chat.
        thread: Topic or thread inside the chat, "" where there is none.
    """

    platform: str
    bot: str
    chat: str
    user: str = ""
    thread: str = ""

    @property
    def lane(self) -> str:
        """Deliveries are ordered within a lane: one chat of one bot."""
        return f"{self.platform}:{self.bot}:{self.chat}"


class User(Struct, frozen=True, array_like=True):
    """A person (or another bot) on a platform.

    Attributes:
        id: The platform's id.
        name: Display name, never empty ("?" where the platform tells none).
        username: Handle without "@", "" if none.
        locale: IETF tag as the platform tells it, e.g. "en" or "pt-br", "" if unknown.
        is_bot: Whether this is a bot.
        roles: In this chat: "broadcaster", "moderator", "vip", "admin", "member" as far as known.
    """

    id: str
    name: str = "?"
    username: str = ""
    locale: str = ""
    is_bot: bool = False
    roles: tuple[str, ...] = ()

    @property
    def mention(self) -> str:
        """How to address this user in text: "@ann", or the name where there is no handle."""
        return f"@{self.username}" if self.username else self.name


class Photo(Struct, frozen=True, omit_defaults=True, tag="photo"):
    """A picture. `id` is the platform's file id, which can be sent again as it is."""

    id: str
    width: int = 0
    height: int = 0
    size: int = 0
    """Bytes, 0 if unknown."""


class File(Struct, frozen=True, omit_defaults=True, tag="file"):
    """A document, voice, video or audio. `id` is the platform's file id.

    Attributes:
        kind: "document", "voice", "audio", "video", "video_note", "animation" or "sticker".
        size: Bytes, 0 if unknown.
    """

    id: str
    name: str = ""
    mime: str = ""
    size: int = 0
    kind: str = "document"


class Location(Struct, frozen=True, tag="location"):
    """A point on the globe, degrees."""

    latitude: float
    longitude: float


class Contact(Struct, frozen=True, omit_defaults=True, tag="contact"):
    """A shared contact card. `user` is the platform's user id if the contact has one."""

    phone: str
    name: str = ""
    user: str = ""


Attachment = Photo | File | Location | Contact


class Event(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Base of all events.

    Attributes:
        id: The dedupe key: unique per update over all platforms and bots, the same again when the
            platform repeats the update. "{platform}:{bot}:{platform's own update id}".
        place: Where it happened. `place.user` is who did it, `place.chat` where.
        user: Who did it, if anybody.
        at_ms: When, by the platform's clock (by ours where it tells none).
    """

    id: str
    place: Address
    user: User | None = None
    at_ms: int = 0


class MessageReceived(Event, frozen=True, omit_defaults=True, tag="message"):
    """A person wrote something.

    Attributes:
        text: The text (or a medium's caption), "" if none.
        message_id: The platform's id of this message.
        command: Lower-case name if the text begins with a command addressed to this bot ("/start",
            "/start@this_bot", "!start"), without prefix and bot name; else "". The Platform fills it.
        args: Text after the command, stripped; for a deep link its payload.
        attachments: Media, locations, contacts.
        reply_to: Platform id of the message this one answers, "" if none.
        private: Whether this is a one-to-one chat.
        album: Id shared by the messages of one album, "" if none.
    """

    text: str = ""
    message_id: str = ""
    command: str = ""
    args: str = ""
    attachments: tuple[Attachment, ...] = ()
    reply_to: str = ""
    private: bool = False
    album: str = ""

    @property
    def photo(self) -> Photo | None:
        """The first photo, if any."""
        return next((a for a in self.attachments if isinstance(a, Photo)), None)

    @property
    def file(self) -> File | None:
        """The first document, voice, video or audio, if any."""
        return next((a for a in self.attachments if isinstance(a, File)), None)


class MessageEdited(MessageReceived, frozen=True, omit_defaults=True, tag="edited"):
    """A person changed a message sent earlier. Waits ignore it unless they ask for it."""


class ButtonPressed(Event, frozen=True, omit_defaults=True, tag="button"):
    """A button under an earlier message was pressed.

    Attributes:
        data: What the button carries.
        message_id: Platform id of the message the button stands under, "" if unknown.
    """

    data: str = ""
    message_id: str = ""
    private: bool = False


class MemberJoined(Event, frozen=True, omit_defaults=True, tag="joined"):
    """Somebody (`user`) came into the chat."""


class MemberLeft(Event, frozen=True, omit_defaults=True, tag="left"):
    """Somebody (`user`) left the chat."""


class ReactionChanged(Event, frozen=True, omit_defaults=True, tag="reaction"):
    """Somebody changed the reactions on a message. `emoji` are the ones that stand now."""

    message_id: str = ""
    emoji: tuple[str, ...] = ()


class Happened(Event, frozen=True, omit_defaults=True, tag="happened"):
    """Something happened outside of any chat: `@app.event("s3:ObjectCreated:*")`.

    Attributes:
        kind: The source and what it tells: "s3:ObjectCreated:Put", "dynamodb:INSERT", "sqs:orders",
            "schedule:nightly", "http:POST /orders", "aws.ec2:EC2 Instance State-change Notification".
        subject: What it happened to: "bucket/key", a table, a queue, a path; "" if the kind says it all.
        data: What the source tells of it, as it came (JSON builtins).
    """

    kind: str = ""
    subject: str = ""
    data: object = None


class Signal(Event, frozen=True, omit_defaults=True, tag="signal"):
    """An outside event for one conversation: a webhook, a job, an operator.

    Attributes:
        key: The conversation's key.
        name: What happened, e.g. "paid".
        value: The payload as stored by `model.values` (JSON builtins with tags).
        epoch: Of the conversation that ran then: the next one under this key has no part in it.
            0 = for whichever runs.
    """

    key: str = ""
    name: str = ""
    value: object = None
    epoch: int = 0


class Gone(Event, frozen=True, omit_defaults=True, tag="gone"):
    """The relay learned that this chat cannot be reached. Raises UserGone in its conversation."""

    key: str = ""
    epoch: int = 0


class Interrupt(Event, frozen=True, omit_defaults=True, tag="interrupt"):
    """Somebody cancels the conversation. Raises Cancelled at its wait."""

    key: str = ""
    reason: str = "command"


class Again(Event, frozen=True, omit_defaults=True, tag="again"):
    """The dialog on top of this conversation is over: it asks its question again."""

    key: str = ""


AnyEvent = (
    MessageReceived
    | MessageEdited
    | ButtonPressed
    | MemberJoined
    | MemberLeft
    | ReactionChanged
    | Happened
    | Signal
    | Gone
    | Interrupt
    | Again
)
