"""Keys of conversations: which messages belong together."""

from __future__ import annotations

from legato.model.events import Address

SCOPES = ("user_in_chat", "chat", "user", "thread")


def conversation_key(place: Address, scope: str) -> str:
    """Text key of the conversation that `place` belongs to under `scope`.

    Shape: "platform:bot:chat:user:thread" with the parts that the scope ignores left empty;
    ":" and "%" inside an id are escaped, so keys never collide. Parts the scope needs but the
    place lacks stay empty.
    """
    head = f"{_part(place.platform)}:{_part(place.bot)}"
    if scope == "user_in_chat":
        return f"{head}:{_part(place.chat)}:{_part(place.user)}:"
    if scope == "chat":
        return f"{head}:{_part(place.chat)}::"
    if scope == "user":
        return f"{head}::{_part(place.user)}:"
    return f"{head}:{_part(place.chat)}::{_part(place.thread)}"


def _part(text: str) -> str:
    if ":" in text or "%" in text:
        return text.replace("%", "%25").replace(":", "%3A")
    return text


def place_of(key: str) -> Address:
    """The place that a key names, as far as its scope does ("" for the rest)."""
    parts = [part.replace("%3A", ":").replace("%25", "%") for part in key.rstrip("^").split(":")]
    platform, bot, chat, user, thread = (*parts, "", "", "", "", "")[:5]
    return Address(platform, bot, chat or user, user, thread.split("!")[0])
