"""From what a dialog writes (texts, paths, lists of buttons) to model.messages. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs

from legato.abc.platform import Capabilities
from legato.errors import Misuse
from legato.model.events import File, Photo
from legato.model.messages import Button, Media, Message, Outgoing

PLATFORMS = frozenset(
    [
        "telegram",
        "twitch",
        "line",
        "messenger",
        "botframework",
        "vk",
        "slack",
        "discord",
        "web",
        "console",
    ]
)
"""Names under which `chat.<platform>.<method>` reaches a platform's own API."""

Source = Any
"""A local path (str or os.PathLike) or an http(s) address."""

OneButton = str | Button | tuple[str, str]
Buttons = Sequence[OneButton | Sequence[OneButton]]

ROW_LABELS = 4
ROW_LABEL_LENGTH = 12
"""A flat list of at most so many buttons with labels at most so long shares one row."""


class Services(Struct, frozen=True):
    """What the chat handle is given from outside, since the engine imports no clock or chance.

    Attributes:
        capabilities: Of the platform of this conversation.
        random, uuid: Make a Random or a UUID from a seed text.
        logger: Makes a logger (conversation key, hidden).
        download: Step function (file, path) -> path.
    """

    capabilities: Capabilities
    random: Callable[[str], Any]
    uuid: Callable[[str], Any]
    logger: Callable[..., Any]
    download: Callable[..., Any]


class Offered(Struct, frozen=True):
    """Answers offered as buttons: rows to show, and for each button its payload and meaning."""

    rows: tuple[tuple[Button, ...], ...] = ()
    payloads: tuple[str, ...] = ()
    meanings: tuple[str, ...] = ()


NOTHING = Offered()


def rows(buttons: Buttons | None) -> tuple[tuple[Button, ...], ...]:
    """Buttons as rows. A flat list of few short ones is one row, else each has its own."""
    if not buttons:
        return ()
    if any(isinstance(item, list) for item in buttons):
        return tuple(
            tuple(_button(b) for b in (row if isinstance(row, list) else [row])) for row in buttons
        )
    flat = tuple(_button(item) for item in buttons)
    if len(flat) <= ROW_LABELS and all(len(b.text) <= ROW_LABEL_LENGTH for b in flat):
        return (flat,)
    return tuple((button,) for button in flat)


def _button(item: Any) -> Button:
    if isinstance(item, Button):
        return item
    if isinstance(item, str):
        return Button(item)
    if isinstance(item, tuple) and len(item) == 2:
        return Button(*item)
    raise Misuse(f"a button is a text, a Button or a (text, data) pair, not {item!r:.60}")


def offer(choices: Sequence[tuple[str, str]], buttons: Buttons | None, place: str) -> Offered:
    """Answers to a question as buttons whose payloads belong to this question only, so that a
    press on an old message never answers a new question.
    """
    if not buttons:
        if not choices:
            return NOTHING
        buttons = [Button(text, data) for text, data in choices]
    shown = rows(buttons)
    token = _token(place)
    payloads: list[str] = []
    meanings: list[str] = []
    marked: list[tuple[Button, ...]] = []
    for row in shown:
        line: list[Button] = []
        for button in row:
            if button.url or button.request:
                line.append(button)
                continue
            payload = f"{token}.{len(payloads)}"
            payloads.append(payload)
            meanings.append(button.payload)
            line.append(structs.replace(button, data=payload))
        marked.append(tuple(line))
    return Offered(tuple(marked), tuple(payloads), tuple(meanings))


def _token(place: str) -> str:
    """A short, stable name of a question: the remainder of its text, taken as one number, by a prime
    (2**61 - 1), so that no hash import is needed.
    """
    return f"~{int.from_bytes(place.encode(), 'big') % 0x1FFF_FFFF_FFFF_FFFF:x}"


def prompt(
    text: str | Message | None,
    shown: tuple[tuple[Button, ...], ...],
    format: str,
    photo: Any,
) -> Message | None:
    """The question as a Message; None if nothing is to be said."""
    if text is None:
        return None
    if isinstance(text, Message):
        return structs.replace(text, buttons=shown) if shown else text
    return Message(
        text=checked_text(text, photo, None, "inline"),
        format=format,
        buttons=shown,
        media=media(photo, None),
    )


def mentioning(message: Message, mention: str) -> Message:
    """The same message, addressed to somebody."""
    return structs.replace(message, mention=mention) if mention else message


def media(photo: Any, file: Any) -> Media | None:
    """The one medium of a message."""
    if photo is not None and file is not None:
        raise Misuse("say(photo=..., file=...): one message carries one of them")
    if photo is not None:
        return _media("photo", photo)
    if file is not None:
        return _media(file.kind if isinstance(file, File) else "document", file)
    return None


def _media(kind: str, source: Any) -> Media:
    if isinstance(source, Photo | File):
        return Media(kind=kind, id=source.id, name=getattr(source, "name", ""))
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return Media(kind=kind, url=source)
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        path = source if isinstance(source, str) else source.__fspath__()
        return Media(kind=kind, path=path, name=path.replace("\\", "/").rpartition("/")[2])
    raise Misuse(f"a photo or file is a path, an address or a received one, not {source!r:.60}")


def checked_text(text: Any, photo: Any, file: Any, keyboard: str) -> str:
    """Refuses what no platform can send, at the line that says it."""
    if not isinstance(text, str):
        raise Misuse(f"say() takes text, not {type(text).__name__}: use str(...) or an f-string")
    if not text.strip() and photo is None and file is None:
        raise Misuse("say() needs a text, a photo or a file")
    if keyboard not in ("inline", "reply", "remove"):
        raise Misuse(f"keyboard is 'inline', 'reply' or 'remove', not {keyboard!r}")
    return text


def refs(out: Outgoing) -> tuple[str, ...]:
    """The refs of our own messages that this one needs: what it changes or answers."""
    message = getattr(out, "message", None)
    found = (getattr(out, "target", ""), "" if message is None else message.reply_to)
    return tuple(ref for ref in found if ref.startswith("ref:"))
