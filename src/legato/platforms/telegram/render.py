"""From outgoing things to calls of the Bot API. Pure."""

from __future__ import annotations

from legato.errors import Misuse, Unsupported
from legato.model.events import Address
from legato.model.messages import (
    Button,
    Delete,
    Edit,
    Media,
    Message,
    Outgoing,
    Pin,
    Raw,
    React,
    Send,
)
from legato.model.records import Call
from legato.platforms._text import clean, split, units

TEXT = 4096
"""UTF-16 units of visible text that a message holds."""
CAPTION = 1024
CALLBACK_DATA = 64
"""Bytes that a button carries."""

_METHODS = {
    "photo": "sendPhoto",
    "document": "sendDocument",
    "voice": "sendVoice",
    "audio": "sendAudio",
    "video": "sendVideo",
    "video_note": "sendVideoNote",
    "animation": "sendAnimation",
    "sticker": "sendSticker",
}
_NO_CAPTION = ("video_note", "sticker")
_EDITABLE = ("photo", "document", "audio", "video", "animation")
_OF_A_CHAT = ("send", "edit", "delete", "pin", "unpin", "copy", "forward", "stop")

Params = dict[str, object]


def render(out: Outgoing, place: Address) -> list[Call]:
    """The calls of `out`, in order.

    Raises:
        Unsupported: Telegram has nothing like it.
        Misuse: It breaks a rule that the bot's author can mend; the message says how.
    """
    if isinstance(out, Send):
        return _send(out.message, place)
    chat: Params = {"chat_id": number(place.chat)}
    if isinstance(out, Edit):
        return [_edit(out, chat)]
    if isinstance(out, Delete):
        return [_to(out.target, "deleteMessage", chat)]
    if isinstance(out, React):
        return [_to(out.target, "setMessageReaction", chat | {"reaction": _reaction(out.emoji)})]
    if isinstance(out, Pin):
        return [_to(out.target, "pinChatMessage" if out.pinned else "unpinChatMessage", chat)]
    if isinstance(out, Raw):
        return [_raw(out, place)]
    params = _threaded(chat, place) | {"action": "typing"}
    return [Call("sendChatAction", params, idempotent=True)]


def number(text: str) -> int | str:
    """An id as the number it is; "@channel" and the like as they are."""
    digits = text[1:] if text[:1] == "-" else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else text


def texts(text: str, format: str, first: int, rest: int) -> list[Params]:
    """A text as parameters {"text", "parse_mode"?} of one or more messages, which hold `first`,
    then `rest` UTF-16 units each. None for a text of nothing but white space.
    """
    text = clean(text)
    if format == "":
        return [{"text": part} for part in split(text, first, rest)]
    from legato.platforms._markup import html, markdown, pieces  # plain texts do without it

    if format == "markdown":
        found = pieces(markdown(text), first, rest)
    elif format == "html":
        runs = html(text)
        visible = "".join(part for part, _ in runs)
        fits = visible.strip() and units(visible) <= first
        found = [text] if fits else pieces(runs, first, rest)
    else:
        raise Misuse(f"format={format!r}: there are '' (plain), 'markdown' and 'html'")
    return [{"text": part, "parse_mode": "HTML"} for part in found]


# -- sending -----------------------------------------------------------------------------------


def _send(message: Message, place: Address) -> list[Call]:
    media = message.media
    captioned = media is not None and media.kind not in _NO_CAPTION
    parts = texts(message.text, message.format, CAPTION if captioned else TEXT, TEXT)
    base = _threaded({"chat_id": number(place.chat)}, place)
    if message.silent:
        base["disable_notification"] = True
    calls: list[Call] = []
    if media is not None:
        caption = parts.pop(0) if captioned and parts else {}
        calls.append(_media(media, base, caption))
    elif not parts:
        raise Misuse("a message needs a text, a photo or a file: this one has no visible text")
    if not message.preview:
        base["link_preview_options"] = {"is_disabled": True}
    calls += [Call("sendMessage", base | part) for part in parts]
    last, markup = calls[-1], _markup(message)
    params = last.params | {"reply_markup": markup} if markup else last.params
    calls[-1] = Call(last.method, params, last.files, result="message")
    if message.reply_to:
        calls[0] = _answering(calls[0], message.reply_to)
    return calls


def _answering(call: Call, reply_to: str) -> Call:
    """Makes the call answer a message; if that was deleted meanwhile, it is sent all the same."""
    reply: Params = {"allow_sending_without_reply": True}
    target, fill = reply_to, "reply_parameters.message_id"
    if not reply_to.startswith("ref:"):
        reply["message_id"] = number(reply_to)
        target = fill = ""
    params = call.params | {"reply_parameters": reply}
    return Call(call.method, params, call.files, target, fill, result=call.result)


def _media(media: Media, base: Params, caption: Params) -> Call:
    method = _METHODS.get(media.kind)
    if method is None:
        raise Misuse(f"Media(kind={media.kind!r}): Telegram sends {', '.join(sorted(_METHODS))}")
    source, files = _source(media, media.kind)
    params = base | ({media.kind: source} if source else {})
    if caption:
        params["caption"] = caption["text"]
        if "parse_mode" in caption:
            params["parse_mode"] = caption["parse_mode"]
    return Call(method, params, files)


def _source(media: Media, field: str) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    """(id or address, uploads) of a medium; exactly one of the two is empty."""
    given = [source for source in (media.id, media.url, media.path) if source]
    if len(given) != 1:
        raise Misuse(f"a {media.kind} needs exactly one of id, url and path")
    if media.path:
        name = media.name or media.path.replace("\\", "/").rpartition("/")[2]
        return "", ((field, media.path, name),)
    return given[0], ()


def _markup(message: Message) -> Params:
    if message.keyboard == "remove":
        return {"remove_keyboard": True}
    if not message.buttons:
        return {}
    if message.keyboard == "reply":
        return {
            "keyboard": [[_key(button) for button in row] for row in message.buttons],
            "resize_keyboard": True,
            "one_time_keyboard": True,
        }
    return {"inline_keyboard": [[_inline(button) for button in row] for row in message.buttons]}


def _key(button: Button) -> Params:
    key: Params = {"text": clean(button.text)}
    if button.request:
        if button.request not in ("contact", "location"):
            raise Misuse(f"Button(request={button.request!r}): there are 'contact' and 'location'")
        key[f"request_{button.request}"] = True
    return key


def _inline(button: Button) -> Params:
    text = clean(button.text)
    if not text.strip():
        raise Misuse("a button needs a text to show: Button('Yes', data='yes')")
    if button.request:
        raise Misuse(
            f"the button {text!r} asks for the user's {button.request}: Telegram shows such buttons "
            "only in place of the keyboard, Message(keyboard='reply')"
        )
    if button.url:
        return {"text": text, "url": clean(button.url)}
    data = clean(button.payload)
    size = len(data.encode())
    if size > CALLBACK_DATA:
        raise Misuse(
            f"the button {text!r:.80} carries {size} bytes, Telegram allows {CALLBACK_DATA}: give "
            "it a short data= (an id), and keep what it stands for in the dialog or in your own tables"
        )
    return {"text": text, "callback_data": data}


# -- what is done to a message -----------------------------------------------------------------


def _to(target: str, method: str, params: Params) -> Call:
    """A call about one message of ours (a ref, filled in when it is known) or of anybody (an id)."""
    if target.startswith("ref:"):
        return Call(method, params, target=target, fill="message_id", idempotent=True)
    return Call(method, params | {"message_id": number(target)}, idempotent=True)


def _edit(out: Edit, chat: Params) -> Call:
    message = out.message
    markup = _markup(message) if message.keyboard == "inline" else {}
    params = chat | ({"reply_markup": markup} if markup else {})
    if message.media is not None:
        return _edit_media(out, message.media, params)
    parts = texts(message.text, message.format, TEXT, TEXT)
    if len(parts) > 1:
        raise Unsupported(
            f"an edited message holds at most {TEXT:,} characters: send the rest as a new message"
        )
    if not parts:
        return _to(out.target, "editMessageReplyMarkup", params)
    if not message.preview:
        params["link_preview_options"] = {"is_disabled": True}
    return _to(out.target, "editMessageText", params | parts[0])


def _edit_media(out: Edit, media: Media, params: Params) -> Call:
    if media.kind not in _EDITABLE:
        raise Unsupported(f"Telegram cannot put a {media.kind} in place of a message")
    parts = texts(out.message.text, out.message.format, CAPTION, CAPTION)
    if len(parts) > 1:
        raise Unsupported(f"an edited caption holds at most {CAPTION:,} characters")
    source, files = _source(media, "file")
    new: Params = {"type": media.kind, "media": source or "attach://file"}
    if parts:
        new["caption"] = parts[0]["text"]
        if "parse_mode" in parts[0]:
            new["parse_mode"] = parts[0]["parse_mode"]
    call = _to(out.target, "editMessageMedia", params | {"media": new})
    return Call(call.method, call.params, files, call.target, call.fill, idempotent=True)


def _reaction(emoji: str) -> list[Params]:
    if not emoji:
        return []
    if emoji.isdigit() and len(emoji) > 4:
        return [{"type": "custom_emoji", "custom_emoji_id": emoji}]
    return [{"type": "emoji", "emoji": clean(emoji)}]


# -- any other method --------------------------------------------------------------------------


def _raw(out: Raw, place: Address) -> Call:
    """Any method, by Telegram's name or in snake_case. One that concerns a chat gets this one, and
    its thread, unless the parameters say otherwise.
    """
    head, *tail = out.method.split("_")
    method = head + "".join(word[:1].upper() + word[1:] for word in tail)
    if not (method.isascii() and method.isalpha() and len(method) <= 64):
        raise Misuse(f"{out.method[:80]!r} cannot be a method of the Bot API")
    params = dict(out.params)
    sends = method.startswith("send") and method != "sendChatAction"
    says = {"chat_id", "inline_message_id"} | ({"user_id"} if method == "sendGift" else set())
    about_chat = method.startswith(_OF_A_CHAT) or (
        "Chat" in method and not method.endswith("ChatMenuButton")
    )
    if about_chat and not params.keys() & says:
        params["chat_id"] = number(place.chat)
        if sends and "message_thread_id" not in params:
            params = _threaded(params, place)
    return Call(method, params, result="message" if sends else "")


def _threaded(params: Params, place: Address) -> Params:
    if place.thread:
        return params | {"message_thread_id": number(place.thread)}
    return params
