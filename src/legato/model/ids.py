"""Keys of conversations: which messages belong together."""

from __future__ import annotations

from legato.model.events import Address

SCOPES = ("user_in_chat", "chat", "user", "thread")


OVERLAY = "^"
"""Suffix of the key of a dialog that runs on top of another one."""
ASIDE = "!"
"""Between the key that a parked conversation had and its epoch, in the key that it has now."""


def conversation_key(place: Address, scope: str) -> str:
    """Text key of the conversation that `place` belongs to under `scope`.

    Shape: "platform:bot:chat:user:thread" with the parts that the scope ignores left empty; ":",
    "%" and the marks of suffixes are escaped inside an id, so keys never collide. Parts the scope
    needs but the place lacks stay empty.
    """
    chat, user, thread = place.chat, "", ""
    if scope == "user_in_chat":
        user = place.user
    elif scope == "user":
        chat, user = "", place.user
    elif scope == "thread":
        thread = place.thread
    key = f"{place.platform}:{place.bot}:{chat}:{user}:{thread}"
    if key.count(":") == 4 and "%" not in key and OVERLAY not in key and ASIDE not in key:
        return key  # nothing in it is to be escaped
    return ":".join(map(_part, (place.platform, place.bot, chat, user, thread)))


_ESCAPES = (("%", "%25"), (":", "%3A"), (OVERLAY, "%5E"), (ASIDE, "%21"))


def _part(text: str) -> str:
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _whole(part: str) -> str:
    for plain, escaped in reversed(_ESCAPES):
        part = part.replace(escaped, plain)
    return part


def aside_key(key: str, epoch: int) -> str:
    """Where a parked conversation is put when another one begins in its place. What comes for it
    meanwhile, or came before, lies in the mailbox of this name all along.
    """
    return f"{key}{ASIDE}{epoch}"


def place_of(key: str) -> Address:
    """The place that a key names, as far as its scope does ("" for the rest)."""
    parts = [_whole(part) for part in key.partition(ASIDE)[0].rstrip(OVERLAY).split(":")]
    platform, bot, chat, user, thread = (*parts, "", "", "", "", "")[:5]
    return Address(platform, bot, chat or user, user, thread)
