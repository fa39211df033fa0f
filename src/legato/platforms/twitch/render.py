"""From outgoing things to what a text room can do. Pure.

Send      one or more messages of at most 500 characters, addressed to the viewer
buttons   numbered lines: the viewer answers with the number or the text
media     its caption, then its address
Edit      the new text as a message of its own ("* ...", as people do on IRC)
Typing    nothing: nobody misses it
React, Pin   Unsupported
Delete    by Helix, where the bot is a moderator
Raw       any Helix method by its name, see helix.py
"""

from __future__ import annotations

import re

from legato.errors import Misuse, Unsupported
from legato.model.events import Address
from legato.model.messages import Delete, Edit, Message, Outgoing, Raw, Send, Typing
from legato.model.records import Call
from legato.platforms import _markup
from legato.platforms._text import clean, split, units

LONGEST = 500
"""Characters of one chat message. https://dev.twitch.tv/docs/api/reference#send-chat-message"""

_HREF = re.compile(r'<a href="([^"]*)">')

GUARD = "\u200b"
"""An invisible sign before a text that begins like a command of the chat."""

SPARE = 8
"""Of these, kept for that sign and for those that make a repeated text another one."""

SAY = "say"
DELETE = "delete"
"""Methods of our own; every other method is one of Helix."""


def render(out: Outgoing, place: Address) -> list[Call]:
    """The calls of `out`, in order; none for a typing sign.

    Raises:
        Unsupported: It cannot be shown in text.
        Misuse: Helix has no such method.
    """
    if isinstance(out, Send):
        return _messages(out.message, place, "")
    if isinstance(out, Edit):
        return _messages(out.message, place, "* ")
    if isinstance(out, Delete):
        params: dict[str, object] = {"channel": place.chat}
        if out.target.startswith("ref:"):
            return [Call(DELETE, params, target=out.target, fill="message_id", idempotent=True)]
        return [Call(DELETE, params | {"message_id": out.target}, idempotent=True)]
    if isinstance(out, Raw):
        return [_raw(out)]
    if isinstance(out, Typing):
        return []
    raise Unsupported("Twitch chat has no reactions and pins nothing")


def _raw(out: Raw) -> Call:
    from legato.platforms.twitch.methods import method_of, similar

    if method_of(out.method) is None:
        close = similar(out.method)
        hint = f": did you mean {close}?" if close else ""
        raise Misuse(f"Twitch's API has no method {out.method[:80]!r}{hint}")
    result = "message" if out.method == "send_chat_message" else ""
    return Call(out.method, dict(out.params), result=result)


def _messages(message: Message, place: Address, mark: str) -> list[Call]:
    text = clean(plain(message))
    if not line(text):
        raise Unsupported("Twitch chat shows text only: give the photo or file a text as well")
    reply: dict[str, object] = {}
    target = ""
    if message.reply_to.startswith("ref:"):
        target = message.reply_to
    elif message.reply_to:
        reply["reply_to"] = message.reply_to
    # A reply names its addressee by itself.
    start = "" if message.reply_to or not message.mention else f"{line(message.mention)} "
    room = LONGEST - units(start) - SPARE
    calls = []
    for words in filter(None, map(line, split(mark + text, room, room))):
        params: dict[str, object] = {"channel": place.chat, "text": guarded(start + words)}
        fill = "reply_to" if target else ""
        calls.append(Call(SAY, params | reply, target=target, fill=fill, result="message"))
    return calls


def line(text: str) -> str:
    """A text as one line: white space and control characters are single spaces."""
    return " ".join("".join(c if c.isprintable() else _inner(c) for c in text).split())


def _inner(sign: str) -> str:
    """What stands in place of an unprintable sign: the joiners and marks of scripts and emoji stay."""
    return " " if ord(sign) < 0xA0 or sign.isspace() else sign


def guarded(text: str) -> str:
    """A text that Twitch shows as it is, and does not take for a command ("/ban ann")."""
    return GUARD + text if text.startswith(("/", ".")) else text


def plain(message: Message) -> str:
    """A message as plain text: marks taken away, buttons as numbered lines, media by address."""
    text = message.text
    if message.format == "markdown":
        text = "".join(map(_bare, _markup.markdown(text)))
    elif message.format == "html":
        text = "".join(map(_bare, _markup.html(text)))
    parts = [text] if text.strip() else []
    if message.media is not None and message.media.url:
        parts.append(message.media.url)
    labels = [button for row in message.buttons for button in row]
    numbers = 0
    for button in labels:
        if button.url:
            parts.append(f"{button.text}: {button.url}")
        elif not button.request:
            numbers += 1
            parts.append(f"{numbers}) {button.text}")
    return "\n".join(parts)


def _bare(run: _markup.Run) -> str:
    """A run without its marks, a link with its address."""
    text, tags = run
    for opening, _ in tags:
        match = _HREF.fullmatch(opening)
        if match is not None and match[1] != text:
            return f"{text} ({match[1].replace('&amp;', '&')})"
    return text
