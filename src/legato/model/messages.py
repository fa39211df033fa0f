"""What goes out, before any platform has a say: messages, and what may be done to them later."""

from __future__ import annotations

from msgspec import Struct


class Button(Struct, frozen=True, omit_defaults=True):
    """One button under a message.

    Attributes:
        text: What it says.
        data: What a press carries back, at most 64 bytes on Telegram. "" means: the text.
        url: If set, the button opens this page and carries nothing.
        request: "contact" or "location": asks the user to share it (reply keyboards only).
    """

    text: str
    data: str = ""
    url: str = ""
    request: str = ""

    @property
    def payload(self) -> str:
        """What a press carries."""
        return self.data or self.text


class Media(Struct, frozen=True, omit_defaults=True):
    """A photo or file to send: exactly one of the three sources is set.

    Attributes:
        kind: "photo", "document", "voice", "audio", "video", "animation" or "sticker".
        id: The platform's file id of something it already has.
        url: An http(s) address the platform fetches itself.
        path: A local file, read when it is sent.
        name: File name shown to the user.
    """

    kind: str = "photo"
    id: str = ""
    url: str = ""
    path: str = ""
    name: str = ""


class Message(Struct, frozen=True, omit_defaults=True):
    """A message to send.

    Attributes:
        text: The text, or the caption of `media`.
        format: "" (plain), "markdown" (a small, safe subset: **bold**, *italic*, `code`,
            ```pre```, [text](url)) or "html" (the platform's own HTML subset).
        buttons: Rows of buttons.
        keyboard: "inline" (under the message), "reply" (in place of the user's keyboard) or
            "remove" (takes a reply keyboard away).
        media: A photo or a file.
        reply_to: Platform id of a message to answer, or "ref:..." of one of our own.
        mention: Where a whole room reads along: how to address the one it is for ("@ann").
        silent: Deliver without a sound.
        preview: Whether links are previewed.
    """

    text: str = ""
    format: str = ""
    buttons: tuple[tuple[Button, ...], ...] = ()
    keyboard: str = "inline"
    media: Media | None = None
    reply_to: str = ""
    mention: str = ""
    silent: bool = False
    preview: bool = True


class Send(Struct, frozen=True, tag="send"):
    """Send `message`."""

    message: Message


class Edit(Struct, frozen=True, tag="edit"):
    """Replace text and buttons of one of our messages.

    `target` is the ref of an earlier Send ("ref:<path>:<n>") or a platform message id.
    """

    target: str
    message: Message


class Delete(Struct, frozen=True, tag="delete"):
    """Delete a message."""

    target: str


class React(Struct, frozen=True, tag="react"):
    """Set (or with "" remove) our reaction on a message."""

    target: str
    emoji: str


class Pin(Struct, frozen=True, tag="pin"):
    """Pin (or unpin) a message."""

    target: str
    pinned: bool = True


class Typing(Struct, frozen=True, tag="typing"):
    """Show the platform's typing sign for some seconds. Losing it does no harm."""


class Raw(Struct, frozen=True, tag="raw"):
    """A call of the platform's own API, by its own method name and parameters."""

    method: str
    params: dict[str, object]


Outgoing = Send | Edit | Delete | React | Pin | Typing | Raw
