"""Formatted text as Telegram reads it: HTML, MarkdownV2 and the old Markdown, with its complaints.

After the parsers of https://github.com/tdlib/td (MessageEntity.cpp): what they refuse is refused in
the same words.
"""

from __future__ import annotations

from html import unescape

Entity = dict[str, object]

_TAGS = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "tg-emoji": "custom_emoji",
    "blockquote": "blockquote",
}
_SIGNS = {
    "*": "bold",
    "_": "italic",
    "__": "underline",
    "~": "strikethrough",
    "||": "spoiler",
    "`": "code",
    "```": "pre",
}
_NAMES = {
    "bold": "Bold",
    "italic": "Italic",
    "underline": "Underline",
    "strikethrough": "Strikethrough",
    "spoiler": "Spoiler",
    "code": "Code",
    "pre": "Pre",
    "text_link": "TextUrl",
}
_RESERVED = "_*[]()~`>#+-=|{}.!"


class Unparsable(ValueError):
    """Telegram's complaint, without its "Bad Request: can't parse entities: "."""


def length(text: str) -> int:
    """UTF-16 units, by which Telegram counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parse(text: str, mode: str) -> tuple[str, list[Entity]]:
    """(visible text, entities) of a text, cleaned and trimmed as Telegram does.

    Raises:
        Unparsable: The markup is broken.
    """
    name = mode.lower()
    if name == "html":
        visible, entities = _html(text)
    elif name == "markdownv2":
        visible, entities = _markdown(text, signs=_SIGNS, reserved=_RESERVED)
    elif name == "markdown":
        old = {"*": "bold", "_": "italic", "`": "code", "```": "pre"}
        visible, entities = _markdown(text, signs=old, reserved="")
    elif name:
        raise Unparsable("unsupported parse_mode")
    else:
        visible, entities = text, []
    return trimmed(visible, entities)


def trimmed(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Without white space around it; offsets follow."""
    controls = {code: " " for code in range(32) if chr(code) not in "\n\t\r"}
    text = text.translate(controls | {ord("\r"): None})
    head = length(text) - length(text.lstrip())
    text = text.strip()
    total = length(text)
    kept: list[Entity] = []
    for entity in entities:
        start = max(0, int(str(entity["offset"])) - head)
        end = min(total, int(str(entity["offset"])) - head + int(str(entity["length"])))
        if end > start:
            kept.append(entity | {"offset": start, "length": end - start})
    return text, kept


def _html(text: str) -> tuple[str, list[Entity]]:
    out: list[str] = []
    size = 0
    open_tags: list[tuple[str, Entity]] = []
    entities: list[Entity] = []
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "&":
            end = text.find(";", at, at + 12)
            shown = unescape(text[at : end + 1])
            if end < 0 or len(shown) != 1:
                shown, end = sign, at
            out.append(shown)
            size += length(shown)
            at = end + 1
        elif sign != "<":
            stop = min(
                (p for p in (text.find("<", at), text.find("&", at)) if p >= 0), default=len(text)
            )
            out.append(text[at:stop])
            size += length(text[at:stop])
            at = stop
        else:
            end = text.find(">", at)
            offset = len(text[:at].encode())
            if end < 0:
                raise Unparsable(f"Unclosed start tag at byte offset {offset}")
            inside = text[at + 1 : end]
            at = end + 1
            if inside.startswith("/"):
                entities.append(_closed(inside[1:].strip().lower(), open_tags, size, offset))
            else:
                open_tags.append(_opened(inside, size, offset))
    if open_tags:
        raise Unparsable(f'Can\'t find end tag corresponding to start tag "{open_tags[-1][0]}"')
    entities.reverse()  # the outer one of two over the same text comes first
    entities.sort(key=lambda e: (int(str(e["offset"])), -int(str(e["length"]))))
    return "".join(out), _merged(entities)


def _merged(entities: list[Entity]) -> list[Entity]:
    """With <pre><code class="language-x"> as the one entity that it means."""
    found: list[Entity] = []
    for entity in entities:
        last = found[-1] if found else {}
        inside = all(last.get(key) == entity[key] for key in ("offset", "length"))
        if inside and last.get("type") == "pre" and "language" in entity:
            last["language"] = entity["language"]
        else:
            found.append(entity)
    return found


def _opened(inside: str, size: int, offset: int) -> tuple[str, Entity]:
    name, _, attributes = inside.partition(" ")
    name = name.lower()
    if name not in _TAGS:
        raise Unparsable(f'Unsupported start tag "{name}" at byte offset {offset}')
    entity: Entity = {"type": _TAGS[name], "offset": size}
    if name == "span" and 'class="tg-spoiler"' not in attributes:
        raise Unparsable(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
    if name == "a":
        entity["url"] = unescape(attributes.partition('href="')[2].partition('"')[0])
    if name == "code" and "language-" in attributes:
        entity["language"] = attributes.partition("language-")[2].partition('"')[0]
    if name == "tg-emoji":
        entity["custom_emoji_id"] = attributes.partition('emoji-id="')[2].partition('"')[0]
    return name, entity


def _closed(name: str, open_tags: list[tuple[str, Entity]], size: int, offset: int) -> Entity:
    if not open_tags:
        raise Unparsable(f"Unexpected end tag at byte offset {offset}")
    expected, entity = open_tags.pop()
    if name and name != expected:
        raise Unparsable(
            f'Unmatched end tag at byte offset {offset}, expected "</{expected}>", found "</{name}>"'
        )
    return entity | {"length": size - int(str(entity["offset"]))}


def _markdown(text: str, *, signs: dict[str, str], reserved: str) -> tuple[str, list[Entity]]:
    reader = _Markdown(text, signs, reserved)
    reader.read()
    return "".join(reader.out), reader.entities


class _Markdown:
    """One pass over a Markdown text."""

    def __init__(self, text: str, signs: dict[str, str], reserved: str) -> None:
        self._text = text
        self._signs = signs
        self._reserved = reserved
        self._at = 0
        self._size = 0
        self._open: list[tuple[str, int, int]] = []
        self.out: list[str] = []
        self.entities: list[Entity] = []

    def read(self) -> None:
        text = self._text
        while self._at < len(text):
            sign = text[self._at]
            if sign == "\\" and self._at + 1 < len(text) and 0 < ord(text[self._at + 1]) < 127:
                self._add(text[self._at + 1])
                self._at += 2
                continue
            top = self._open[-1][0] if self._open else ""
            found = next((s for s in sorted(self._signs, key=len, reverse=True) if self._is(s)), "")
            if top in ("`", "```") and found != top:
                self._add(sign)
                self._at += 1
            elif found:
                self._toggle(found, top)
            elif sign == "[" or (sign == "]" and top == "["):
                self._link(sign)
            else:
                self._plain(sign)
        if self._open:
            sign, _, offset = self._open[-1]
            name = _NAMES[self._signs.get(sign, "text_link")]
            raise Unparsable(f"Can't find end of {name} entity at byte offset {offset}")

    def _is(self, sign: str) -> bool:
        return self._text.startswith(sign, self._at)

    def _add(self, text: str) -> None:
        self.out.append(text)
        self._size += length(text)

    def _offset(self) -> int:
        return len(self._text[: self._at].encode())

    def _plain(self, sign: str) -> None:
        if sign in self._reserved and not (
            sign == ">" and self._text[: self._at][-1:] in ("", "\n")
        ):
            raise Unparsable(
                f"Character '{sign}' is reserved and must be escaped with the preceding '\\'"
            )
        self._add(sign)
        self._at += 1

    def _toggle(self, sign: str, top: str) -> None:
        if top == sign:
            self._close(self._signs[sign], {})
        elif any(entry[0] == sign for entry in self._open):
            name = _NAMES[self._signs[top]] if top in self._signs else "TextUrl"
            raise Unparsable(f"Can't find end of {name} entity at byte offset {self._open[-1][2]}")
        else:
            self._open.append((sign, self._size, self._offset()))
        self._at += len(sign)

    def _link(self, sign: str) -> None:
        if sign == "[":
            self._open.append(("[", self._size, self._offset()))
            self._at += 1
            return
        end = self._text.find(")", self._at)
        if self._text[self._at + 1 : self._at + 2] != "(" or end < 0:
            raise Unparsable(f"Can't find end of a URL at byte offset {self._offset()}")
        self._close("text_link", {"url": self._text[self._at + 2 : end]})
        self._at = end + 1

    def _close(self, kind: str, extra: Entity) -> None:
        _, start, _ = self._open.pop()
        if self._size > start:
            self.entities.append(
                {"type": kind, "offset": start, "length": self._size - start} | extra
            )
