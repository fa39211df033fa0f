"""What the chats of our own share, the terminal and the web page: each has one person, and no platform behind it."""

from __future__ import annotations

import re
from collections.abc import Callable

from legato.abc.platform import Parsed
from legato.model.events import Address, Attachment, ButtonPressed, MessageReceived, User
from legato.model.messages import Delete, Edit, Message, Outgoing, Pin, React, Send
from legato.model.records import Call
from legato.platforms._text import clean

_COMMAND = re.compile(r"([\w-]{1,64})(?:@\w{1,64})?(?:\s+(.*))?", re.DOTALL)


def pressed(place: Address, user: User, at_ms: int, *, data: str, message: str, id: str) -> Parsed:
    """A button was pressed.

    Args:
        place: The chat.
        user: Who did it.
        at_ms: When.
        data: The button's payload.
        message: The message it stands under.
        id: Of the update, unique in this chat's whole life.
    """
    event = ButtonPressed(
        id=f"{place.platform}:{place.bot}:{id}",
        place=place,
        user=user,
        at_ms=at_ms,
        data=data,
        message_id=message,
        private=True,
    )
    return Parsed((event,), kind="button")


def wrote(
    place: Address,
    user: User,
    at_ms: int,
    text: str,
    id: str,
    *,
    prefixes: tuple[str, ...],
    attachments: tuple[Attachment, ...],
) -> Parsed:
    """Something was written or shared.

    Args:
        place: The chat.
        user: Who did it.
        at_ms: When.
        text: What was written.
        id: Of the update and of the message, unique in this chat's whole life.
        prefixes: What a command may begin with.
        attachments: What was shared.
    """
    prefix = next((p for p in prefixes if text.startswith(p)), "")
    match = _COMMAND.fullmatch(text, len(prefix)) if prefix else None
    event = MessageReceived(
        id=f"{place.platform}:{place.bot}:{id}",
        place=place,
        user=user,
        at_ms=at_ms,
        text=text,
        message_id=id,
        command=match[1].lower() if match else "",
        args=(match[2] or "").strip() if match else "",
        attachments=attachments,
        private=True,
    )
    return Parsed((event,), kind="message")


def call_of(out: Outgoing, params_of: Callable[[Message], dict[str, object]]) -> Call:
    """How a message, or a change of one, is written down to be shown.

    Args:
        out: All but Typing and Raw.
        params_of: What the chat needs of a message.
    """
    if isinstance(out, Send):
        params, reply = params_of(out.message), out.message.reply_to
        if reply.startswith("ref:"):
            return Call("say", params, target=reply, fill="reply_to", result="message")
        return Call("say", params | ({"reply_to": reply} if reply else {}), result="message")
    if isinstance(out, Edit):
        params = params_of(out.message)
    elif isinstance(out, React):
        params = {"emoji": clean(out.emoji)}
    elif isinstance(out, Pin):
        params = {"pinned": out.pinned}
    else:
        assert isinstance(out, Delete)
        params = {}
    method = type(out).__name__.lower()
    if out.target.startswith("ref:"):
        return Call(method, params, target=out.target, fill="message", idempotent=True)
    return Call(method, params | {"message": out.target}, idempotent=True)


__all__ = ["call_of", "pressed", "wrote"]
