"""From outgoing things to what a text room can do. Pure.

Send      one or more messages of at most 500 characters, addressed to the viewer
buttons   numbered lines: the viewer answers with the number or the text
media     its caption, then its address
Edit      the new text as a message of its own ("* ...", as people do on IRC)
React, Pin, Typing   nothing: the chat has nothing like it, and nobody misses it
Delete    DELETE /moderation/chat, where the bot is a moderator
Raw       any Helix method by its name, see helix.py
"""

from __future__ import annotations

from legato.errors import Unsupported
from legato.model.events import Address
from legato.model.messages import Delete, Edit, Message, Outgoing, Raw, Send
from legato.model.records import Call
from legato.platforms import _markup
from legato.platforms._text import clean, split

LONGEST = 500
"""Characters of one chat message. https://dev.twitch.tv/docs/api/reference#send-chat-message"""

SAY = "say"
DELETE = "delete"
"""Methods of our own; every other method is one of Helix."""


def render(out: Outgoing, place: Address) -> list[Call]:
    """The calls of `out`, in order; none for what a text room does not know.

    Raises:
        Unsupported: It cannot be shown in text.
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
        return [Call(out.method, dict(out.params))]
    return []


def _messages(message: Message, place: Address, mark: str) -> list[Call]:
    text = mark + plain(message)
    if not text.strip():
        raise Unsupported("Twitch chat shows text only: give the photo or file a text as well")
    reply: dict[str, object] = {}
    target = ""
    if message.reply_to.startswith("ref:"):
        target = message.reply_to
    elif message.reply_to:
        reply["reply_to"] = message.reply_to
    # A reply names its addressee by itself.
    start = "" if message.reply_to or not message.mention else f"{message.mention} "
    room = LONGEST - len(start)
    calls = []
    for piece in split(clean(text), room, room):
        words = " ".join(piece.split())
        params: dict[str, object] = {"channel": place.chat, "text": start + words, **reply}
        fill = "reply_to" if target else ""
        calls.append(Call(SAY, params, target=target, fill=fill, result="message"))
    return calls


def plain(message: Message) -> str:
    """A message as plain text: marks taken away, buttons as numbered lines, media by address."""
    text = message.text
    if message.format == "markdown":
        text = "".join(run for run, _ in _markup.markdown(text))
    elif message.format == "html":
        text = "".join(run for run, _ in _markup.html(text))
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
