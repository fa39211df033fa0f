"""IRC lines with IRCv3 tags, as Twitch speaks them. Pure.

Passes the vectors of `irc-parser-tests` (ircdocs). Why no library: the kept ones bring a client with
its own sockets, threads or event loop; a line's grammar is all that is needed here.
Grammar: https://modern.ircdocs.horse/#messages and https://ircv3.net/specs/extensions/message-tags,
Twitch's dialect: https://dev.twitch.tv/docs/chat/irc (read 2026-11-28).
"""

from __future__ import annotations

import re

from msgspec import Struct

MOST_BYTES = 16_384
"""A line longer than this is none of Twitch's (tags at most 8,191 bytes, the rest 512)."""

_ESCAPES = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}
_UNESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_RANGE = re.compile("([0-9]{1,6})-([0-9]{1,6})")
_NICK_END = re.compile("[!@]")
_BREAKS = re.compile(r"[\r\n\0]+")


class NotIrc(ValueError):
    """A line that is no IRC message."""


class Line(Struct, frozen=True):
    """One IRC message.

    Attributes:
        command: Upper case, e.g. "PRIVMSG" or "001".
        params: Parameters, the trailing one last.
        tags: IRCv3 tags, unescaped; "" for a tag without value.
        source: The prefix: "nick!user@host" or a server; "" if none.
    """

    command: str
    params: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    source: str = ""

    @property
    def nick(self) -> str:
        """The nick (on Twitch the login) of the source."""
        return _NICK_END.split(self.source, maxsplit=1)[0]

    @property
    def channel(self) -> str:
        """The channel of a channel's message, without "#", in lower case."""
        return self.params[0].removeprefix("#").lower() if self.params else ""

    @property
    def text(self) -> str:
        """The trailing parameter."""
        return self.params[-1] if self.params else ""


def parse(line: str) -> Line:
    """Reads one line (without its CR LF).

    Raises:
        NotIrc: It is none.
    """
    rest, tags, source = line, {}, ""
    if rest.startswith("@"):
        text, _, rest = rest[1:].partition(" ")
        tags = _tags(text)
        rest = rest.lstrip(" ")
    if rest.startswith(":"):
        prefix, _, rest = rest[1:].partition(" ")
        source = prefix
        rest = rest.lstrip(" ")
    head, colon, trailing = rest.partition(" :")
    words = head.split(" ")
    params = [word for word in words if word]
    if not params:
        raise NotIrc(f"no command in {line[:80]!r}")
    command, *middle = params
    return Line(command.upper(), (*middle, trailing) if colon else tuple(middle), tags, source)


def _tags(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in text.split(";"):
        if item:
            name, _, value = item.partition("=")
            found[name] = _UNESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), value)
    return found


def serialize(line: Line) -> str:
    """One line to send, without CR LF. Line breaks and NULs in it become spaces, so that no text
    of a user can become a command.
    """
    parts: list[str] = []
    if line.tags:
        parts.append("@" + ";".join(_tag(name, value) for name, value in line.tags.items()))
    if line.source:
        parts.append(f":{line.source}")
    parts.append(line.command)
    if line.params:
        *middle, last = line.params
        parts.extend(middle)
        needs_colon = not last or last.startswith(":") or " " in last
        parts.append(f":{last}" if needs_colon or line.command == "PRIVMSG" else last)
    return _BREAKS.sub(" ", " ".join(parts))


def _tag(name: str, value: str) -> str:
    if not value:
        return name
    for char, escape in (("\\", "\\\\"), (";", "\\:"), (" ", "\\s"), ("\r", "\\r"), ("\n", "\\n")):
        value = value.replace(char, escape)
    return f"{name}={value}"


class Lines:
    """Cuts a stream of bytes into lines. Bounded: a peer that never ends a line is refused."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now.

        Raises:
            NotIrc: The line that is begun is too long.
        """
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MOST_BYTES:
            raise NotIrc(f"a line of more than {MOST_BYTES} bytes")
        texts = (line.rstrip(b"\r").decode("utf-8", "replace") for line in whole)
        return [text for text in texts if text]


class Emote(Struct, frozen=True):
    """An emote in a text: `text[start:end]`."""

    id: str
    start: int
    end: int


def emotes(tag: str) -> list[Emote]:
    """The tag "emotes": "25:0-4,12-16/1902:6-10", ends included; what is malformed is left out."""
    found: list[Emote] = []
    for group in tag.split("/"):
        name, _, ranges = group.partition(":")
        for item in ranges.split(","):
            match = _RANGE.fullmatch(item)
            if name and match is not None:
                found.append(Emote(name, int(match[1]), int(match[2]) + 1))
    return sorted(found, key=lambda emote: emote.start)


def badges(tag: str) -> dict[str, str]:
    """The tag "badges": "moderator/1,subscriber/12" as {"moderator": "1", "subscriber": "12"}."""
    pairs = (item.partition("/") for item in tag.split(",") if item)
    return {name: version for name, _, version in pairs}
