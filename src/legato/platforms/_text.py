"""Cutting long texts where a reader would, for platforms that bound a message's length."""

from __future__ import annotations

_SENTENCE = r"[.!?…。！？]+[\"'»”’)\]]*\s+|[。！？]+"
_ZWJ = "\u200d"
_CLUSTER = 64
"""A cluster longer than this (stacked accents) may be cut: a bound, not a rule of Unicode."""


def units(text: str) -> int:
    """Length in UTF-16 code units, which is how Telegram (and JavaScript) counts."""
    return len(text) if text.isascii() else len(text) + sum(c > "\uffff" for c in text)


def clean(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD (and split pairs joined): it can then be
    encoded.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cuts(text: str, first: int, rest: int) -> list[tuple[int, int]]:
    """Where to cut a text into messages: (start, end) of each, in order.

    Args:
        text: The text, already `clean`.
        first: UTF-16 units that the first message holds.
        rest: UTF-16 units that each later one holds.

    Returns:
        Slices that together are the whole text, apart from slices of nothing but white space,
        which no platform would show. Cut after a paragraph, a line, a sentence or a word, in
        this order; never inside a surrogate pair, and inside a grapheme only if it is absurd.
    """
    found: list[tuple[int, int]] = []
    start, limit = 0, first
    while start < len(text):
        end = _fit(text, start, limit)
        if end < len(text):
            end = _boundary(text, start, end)
        if not text[start:end].isspace():
            found.append((start, end))
        start, limit = end, rest
    return found


def split(text: str, first: int, rest: int) -> list[str]:
    """The pieces that `cuts` finds."""
    if len(text) <= first and text.isascii() and not text.isspace():
        return [text] if text else []
    return [text[start:end] for start, end in cuts(text, first, rest)]


def _fit(text: str, start: int, limit: int) -> int:
    """The largest end for which text[start:end] holds at most `limit` units (but one character)."""
    end = min(len(text), start + limit)
    over = units(text[start:end]) - limit
    while over > 0:
        end -= (over + 1) // 2  # each character taken away frees at most two units
        over = units(text[start:end]) - limit
    return max(end, start + 1)


def _boundary(text: str, start: int, end: int) -> int:
    """The best place to cut text[start:end], which is followed by more text."""
    middle = start + (end - start) // 2
    for mark in ("\n\n", "\n"):
        at = text.rfind(mark, middle, end)
        if at >= 0:
            return at + len(mark)
    import re  # only long texts pay for compiling it

    sentence = 0
    for match in re.compile(_SENTENCE).finditer(text, middle, end):
        sentence = match.end()
    if sentence:
        return sentence
    if text[end].isspace():
        return end
    for at in range(end - 1, start + (end - start) // 4, -1):
        if text[at].isspace():
            return at + 1
    return _between_graphemes(text, start, end)


def _between_graphemes(text: str, start: int, end: int) -> int:
    for at in range(end, max(start, end - _CLUSTER), -1):
        if not _joined(text, start, at):
            return at
    return end


def _joined(text: str, start: int, at: int) -> bool:
    """Whether text[at - 1] and text[at] look like one sign to a reader."""
    before, after = text[at - 1], text[at]
    if after.isascii():
        return before == "\r" and after == "\n"
    if _ZWJ in (before, after) or "\u1160" <= after <= "\u11ff":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True  # skin tones, and the tags that spell the flag of Scotland
    if _regional(before) and _regional(after):
        count = 0  # flags are pairs: cut only after an even number of letters
        while at - 1 - count >= max(start, at - _CLUSTER) and _regional(text[at - 1 - count]):
            count += 1
        return count % 2 == 1
    from unicodedata import category

    return category(after).startswith("M")


def _regional(sign: str) -> bool:
    return "\U0001f1e6" <= sign <= "\U0001f1ff"
