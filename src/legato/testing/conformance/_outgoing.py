"""What the platforms' conformance suite sends out, and how it damages what comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

from legato.model.messages import (
    Button,
    Delete,
    Edit,
    Media,
    Message,
    Outgoing,
    Pin,
    React,
    Send,
    Typing,
)

ROWS = ((Button("Yes", data="yes"), Button("No")), (Button("Page", url="https://example.org"),))

OUTGOING: dict[str, Outgoing] = {
    "a text": Send(Message("Hello, wörld 👋")),
    "markdown": Send(Message("**b** *i* `c` ```\np\n``` [t](https://example.org) *", "markdown")),
    "buttons": Send(Message("Sure?", buttons=ROWS)),
    "a keyboard": Send(Message("Where?", buttons=((Button("Home"),),), keyboard="reply")),
    "a request": Send(
        Message("Phone?", buttons=((Button("Share", request="contact"),),), keyboard="reply")
    ),
    "no keyboard any more": Send(Message("Done.", keyboard="remove")),
    "a photo by id": Send(Message("A cat", media=Media("photo", id="id1"))),
    "a photo by address": Send(Message(media=Media("photo", url="https://example.org/cat.jpg"))),
    "a local file": Send(Message("Report", media=Media("document", path="report.pdf"))),
    "an answer to a message": Send(Message("Indeed", reply_to="17")),
    "an answer to one of ours": Send(Message("Indeed", reply_to="ref:0:1")),
    "a silent text": Send(Message("psst https://example.org", silent=True, preview=False)),
    "a mention": Send(Message("Your turn", mention="@ann")),
    "odd characters": Send(Message("a\x00b \ud800 \u202e <b>&amp; *_[](x) \U0001f1f1\U0001f1fb")),
    "an edit": Edit("17", Message("Better", buttons=ROWS)),
    "an edit of one of ours": Edit("ref:0:1", Message("**Better**", "markdown")),
    "a deletion": Delete("ref:0:1"),
    "a reaction": React("17", "👍"),
    "no reaction any more": React("ref:0:1", ""),
    "a pin": Pin("17"),
    "no pin any more": Pin("17", pinned=False),
    "a typing sign": Typing(),
}
"""One of each thing that may go out. A platform renders it or raises Unsupported."""

HOSTILE: tuple[str, ...] = (
    "null", "true", "-1", "0.5", "1e999", "NaN", "Infinity", "9" * 10_000, "99999999999999999999",
    '""', '"\\u0000"', '"\\ud800"', '"x"', "[]", "{}", "[[[]]]", "[null]", '{"":{}}',
    "[" * 5_000 + "]" * 5_000, '{"a":' * 20_000 + "1" + "}" * 20_000, '"' + "k" * 100_000 + '"',
    '{"' + "k" * 100_000 + '":1}', "",
)  # fmt: skip
"""Put in the place of each part of a payload."""


def long_texts() -> list[str]:
    """Texts that no message holds: paragraphs, one endless word, clusters, another script."""
    family = "👨‍👩‍👧‍👦"
    return [
        "\n\n".join(f"Paragraph {n}. " + "It goes on, and on. " * 20 for n in range(60)),
        "\n".join(f"line {n}" for n in range(3_000)),
        "x" * 20_001,
        family * 2_000,
        "🇱🇻" * 4_000,
        "e\u0301" * 9_000,
        "汉字也要完整。" * 2_000,
        "word " * 5_000,
    ]


def mutations(body: bytes) -> Iterator[tuple[str, bytes]]:
    """(what was done, the body after it): cut, flipped, and with every part replaced."""
    chance = Random(len(body))  # nosec B311
    for at in {0, 1, len(body) // 2, len(body) - 1}:
        yield f"the first {at} bytes only", body[:at]
    for _ in range(40):
        at = chance.randrange(len(body))
        flipped = bytes((body[at] ^ (1 << chance.randrange(8)),))
        yield f"a bit flipped at {at}", body[:at] + flipped + body[at + 1 :]
    yield "a byte order mark", b"\xef\xbb\xbf" + body
    yield "UTF-16", body.decode("utf-8", "replace").encode("utf-16")
    yield "itself twice", body + body
    yield "an endless list after it", body + b"[" * 100_000
    try:
        tree = json.loads(body)
    except ValueError:
        return
    marker = '"~here~"'
    for path in _paths(tree):
        text = json.dumps(_replaced(tree, path, "~here~"))
        for hostile in HOSTILE:
            yield f"{path} = {hostile[:20]}", text.replace(marker, hostile).encode()


Path = tuple[str | int, ...]


def _paths(tree: object, at: Path = ()) -> Iterator[Path]:
    yield at
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _paths(value, (*at, key))
    elif isinstance(tree, list):
        for n, value in enumerate(tree):
            yield from _paths(value, (*at, n))


def _replaced(tree: object, path: Path, value: object) -> object:
    if not path:
        return value
    head, *rest = path
    if isinstance(tree, dict):
        return {k: _replaced(v, tuple(rest), value) if k == head else v for k, v in tree.items()}
    assert isinstance(tree, list)
    return [_replaced(v, tuple(rest), value) if n == head else v for n, v in enumerate(tree)]
