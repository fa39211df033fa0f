"""Messages as a terminal shows them. Pure."""

from __future__ import annotations

import re

from msgspec import Struct

from legato.model.messages import Message
from legato.platforms._markup import Run, html, markdown
from legato.platforms._text import clean

_HREF = re.compile(r'<a href="([^"]*)">')
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Key(Struct, frozen=True):
    """A button as it can be pressed. `say` is what it types, where it stands for a text."""

    text: str
    data: str = ""
    say: str = ""


def params_of(message: Message) -> dict[str, object]:
    """What the terminal needs of a message, as JSON builtins."""
    params: dict[str, object] = {"text": _visible(message)}
    if message.media is not None:
        source = message.media.path or message.media.url or message.media.id
        params["media"] = f"[{message.media.kind}: {clean(source)}]"
    if message.buttons and message.keyboard != "remove":
        params["keyboard"] = message.keyboard
        params["buttons"] = [
            [[clean(b.text), clean(b.payload), b.url, b.request] for b in row]
            for row in message.buttons
        ]
    return params


def _visible(message: Message) -> str:
    """The text as a terminal can show it: without marks, with the addresses of links."""
    text = clean(message.text)
    if message.format not in ("markdown", "html"):
        return text
    runs = markdown(text) if message.format == "markdown" else html(text)
    return "".join(_plain(run) for run in runs)


def _plain(run: Run) -> str:
    text, tags = run
    for opening, _ in tags:
        match = _HREF.fullmatch(opening)
        if match is not None and match[1] != text:
            return f"{text} ({match[1].replace('&amp;', '&')})"
    return text


def keys_of(params: dict[str, object]) -> list[Key]:
    """The buttons that can be pressed, in the order of their numbers."""
    keys: list[Key] = []
    for text, data, url, request in _buttons(params):
        if request:
            made_up = "+10000000000" if request == "contact" else "0, 0"
            keys.append(Key(text, say=f"[{request}: {made_up}]"))
        elif not url:
            keys.append(Key(text, say=text) if params["keyboard"] == "reply" else Key(text, data))
    return keys


def _buttons(params: dict[str, object]) -> list[list[str]]:
    return [button for row in _rows(params) for button in row]


def _rows(params: dict[str, object]) -> list[list[list[str]]]:
    return params.get("buttons", [])  # type: ignore[return-value]


def block(mark: str, params: dict[str, object], answers: str) -> str:
    """A message as lines: "bot: " before the first, the others below it."""
    lines = [str(params[part]) for part in ("media", "text") if params.get(part)]
    text = "\n".join(lines)
    if answers:
        text = f"(to: {brief(answers)}) {text}"
    number = 0
    for row in _rows(params):
        shown = []
        for label, _, url, _ in row:
            number += 0 if url else 1
            shown.append(f"{label}: {url}" if url else f"[{number}] {label}")
        text += "\n" + "   ".join(shown)
    return "bot: " + (mark + printable(text)).replace("\n", "\n     ") + "\n"


def headline(params: dict[str, object]) -> str:
    """By what a person knows the message again."""
    return str(params.get("text") or params.get("media", ""))


def brief(text: str) -> str:
    """The beginning of a message, in one line."""
    line = " ".join(printable(text).split())
    return line if len(line) <= 40 else line[:39] + "…"


def printable(text: str) -> str:
    """Without what would move the cursor, change colours or turn the text around."""
    return _UNPRINTABLE.sub("\ufffd", text)
