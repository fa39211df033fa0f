"""Formatted text as runs: the small Markdown of `Message.format`, and HTML, cut without harm.

A run is (plain text, tags around it). Both formats become runs, runs become HTML in which every
character of the text is escaped, so no text of a user can break the markup or add to it.
"""

from __future__ import annotations

import re

from legato.platforms._text import cuts

Tag = tuple[str, str]
"""The opening tag as it is written, and the name that closes it."""
Run = tuple[str, tuple[Tag, ...]]

_BOLD: Tag = ("<b>", "b")
_ITALIC: Tag = ("<i>", "i")
_CODE: Tag = ("<code>", "code")
_PRE: Tag = ("<pre>", "pre")

_SIGN = re.compile(r"\\[\\*`\[\]]|```|`|\*\*|\*|\[")
_LINK = re.compile(
    r"\[([^\[\]\n]+)\]\("
    r"((?:https?|tg|mailto|tel):[^\s()\[\]<>]+(?:\([^\s()\[\]<>]*\)[^\s()\[\]<>]*)*)\)"
)
_LANGUAGE = re.compile(r"([\w+#.-]{1,32})\n")
_HTML = re.compile(
    r"<(?P<close>/?)(?P<name>[A-Za-z][\w-]*)(?P<rest>(?:\s[^<>]*)?)>"
    r"|&(?P<entity>#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|lt|gt|amp|quot);"
)
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}


def escape(text: str) -> str:
    """The text as HTML content (or inside a double-quoted attribute)."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;")


def to_html(runs: list[Run]) -> str:
    """Runs as well-nested HTML."""
    out: list[str] = []
    open_tags: tuple[Tag, ...] = ()
    for text, tags in [*runs, ("", ())]:
        shared = 0
        while shared < min(len(tags), len(open_tags)) and tags[shared] == open_tags[shared]:
            shared += 1
        out.extend(f"</{name}>" for _, name in reversed(open_tags[shared:]))
        out.extend(opening for opening, _ in tags[shared:])
        out.append(escape(text))
        open_tags = tags
    return "".join(out)


def pieces(runs: list[Run], first: int, rest: int) -> list[str]:
    """Runs as HTML messages that hold `first`, then `rest` UTF-16 units of visible text each; tags
    that are open at a cut are closed and opened again.
    """
    visible = "".join(text for text, _ in runs)
    return [to_html(_between(runs, start, end)) for start, end in cuts(visible, first, rest)]


def _between(runs: list[Run], start: int, end: int) -> list[Run]:
    found: list[Run] = []
    at = 0
    for text, tags in runs:
        part = text[max(0, start - at) : max(0, end - at)]
        if part:
            found.append((part, tags))
        at += len(text)
    return found


def markdown(text: str) -> list[Run]:
    r"""Reads **bold**, *italic*, `code`, ```pre``` and [text](url).

    Whatever is not a pair is literal, and so is a sign after a backslash. As in the prose of
    mathematics, 2 * 3 * 4 and 2*3*4 stay as they are. Linear in the length of the text.
    """
    return _runs(_Scan(text).read())


class _Mark:
    """One token: literal text, or a sign that turned out to open or close a tag."""

    __slots__ = ("closes", "tag", "text")

    def __init__(self, text: str, tag: Tag | None = None) -> None:
        self.text = text
        self.tag = tag
        self.closes = False


class _Scan:
    """One pass over a text. `_open` holds the signs that may still find their partner."""

    __slots__ = ("_at", "_marks", "_open", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._marks: list[_Mark | list[Run]] = []
        self._open: list[_Mark] = []

    def read(self) -> list[_Mark | list[Run]]:
        text = self._text
        while match := _SIGN.search(text, self._at):
            self._literal(text[self._at : match.start()])
            self._at = match.start()
            sign = match.group()
            if sign[0] == "\\":
                self._literal(sign[1])
                self._at += 2
            elif sign[0] == "`":
                self._code(sign)
            elif sign == "[":
                self._link()
            else:
                self._stars(sign)
        self._literal(text[self._at :])
        return self._marks

    def _literal(self, text: str) -> None:
        if text:
            self._marks.append(_Mark(text))

    def _code(self, sign: str) -> None:
        start = self._at + len(sign)
        end = self._text.find(sign, start)
        inside = self._text[start:end] if end >= 0 else ""
        if not inside.strip():
            self._literal(sign)
            self._at = start
            return
        tags: tuple[Tag, ...] = (_CODE,)
        if sign == "```":
            tags = (_PRE,)
            if match := _LANGUAGE.match(inside):
                tags = (_PRE, (f'<code class="language-{escape(match[1])}">', "code"))
                inside = inside[match.end() :]
            inside = inside.strip("\n") or "\n"
        self._marks.append([(inside, tags)])
        self._at = end + len(sign)

    def _link(self) -> None:
        match = _LINK.match(self._text, self._at)
        if match is None:
            self._literal("[")
            self._at += 1
            return
        tag = (f'<a href="{escape(match[2])}">', "a")
        self._marks.append([(text, (tag, *tags)) for text, tags in markdown(match[1])])
        self._at = match.end()

    def _stars(self, sign: str) -> None:
        text, at = self._text, self._at
        top = self._open[-1] if self._open else None
        if sign == "**" and text.startswith("***", at) and top is not None and top.tag == _ITALIC:
            sign = "*"  # the inner pair of ***both*** closes first
        tag = _BOLD if sign == "**" else _ITALIC
        before = text[at - 1] if at else " "
        after = text[at + len(sign)] if at + len(sign) < len(text) else " "
        self._at += len(sign)
        mark = _Mark(sign, tag)
        inside_word = _word(before) and _word(after)
        opener = next((m for m in reversed(self._open) if m.tag == tag), None)
        if opener is not None and not before.isspace() and not inside_word:
            if self._marks[-1] is not opener:
                mark.closes = True
                while self._open.pop() is not opener:
                    pass
                opener.text = mark.text = ""
                self._marks.append(mark)
                return
        elif not after.isspace() and not inside_word and opener is None:
            self._open.append(mark)
        self._marks.append(mark)


def _word(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()


def _runs(marks: list[_Mark | list[Run]]) -> list[Run]:
    runs: list[Run] = []
    tags: tuple[Tag, ...] = ()
    for mark in marks:
        if isinstance(mark, list):
            runs.extend((text, (*tags, *inner)) for text, inner in mark)
        elif mark.text:
            runs.append((mark.text, tags))
        elif mark.tag is not None:
            tags = tags[:-1] if mark.closes else (*tags, mark.tag)
    return runs


def html(text: str) -> list[Run]:
    """Reads HTML that is to be cut. Tags that do not pair are kept as literal text."""
    runs: list[Run] = []
    tags: tuple[Tag, ...] = ()
    at = 0
    for match in _HTML.finditer(text):
        if match.start() > at:
            runs.append((text[at : match.start()], tags))
        at = match.end()
        name = match["name"]
        if match["entity"]:
            runs.append((_character(match["entity"]), tags))
        elif not match["close"]:
            tags = (*tags, (match.group(), name.lower()))
        elif tags and tags[-1][1] == name.lower():
            tags = tags[:-1]
        else:
            runs.append((match.group(), tags))
    runs.append((text[at:], tags))
    return [(part, around) for part, around in runs if part]


def _character(entity: str) -> str:
    if entity[0] != "#":
        return _ENTITIES[entity]
    digits = entity[1:].lower()
    code = int(digits[1:], 16) if digits[0] == "x" else int(digits)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
