"""Ways to forge a webhook request, each by a change of the header that should prove it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import msgspec

from legato.abc import HttpRequest


def _turned(value: str) -> str:
    """Another character of the same kind in the first place, so that length and alphabet stay."""
    return ("b" if value[0] == "a" else "a") + value[1:]


FORGERIES: dict[str, Callable[[str], str | None]] = {
    "no header": lambda value: None,
    "empty": lambda value: "",
    "a space": lambda value: " ",
    "without its last character": lambda value: value[:-1],
    "without its first character": lambda value: value[1:],
    "its first half": lambda value: value[: len(value) // 2],
    "one character more": lambda value: value + "a",
    "one character before": lambda value: "a" + value,
    "its first character changed": _turned,
    "its last character changed": lambda value: _turned(value[::-1])[::-1],
    "reversed": lambda value: value[::-1],
    "in the other case": lambda value: value.swapcase(),
    "twice": lambda value: value * 2,
    "twice, as a list": lambda value: f"{value}, {value}",
    "a space after it": lambda value: value + " ",
    "a space before it": lambda value: " " + value,
    "a line break after it": lambda value: value + "\r\n",
    "a NUL after it": lambda value: value + "\x00",
    "a NUL in place of it": lambda value: "\x00" * len(value),
    "in quotes": lambda value: f'"{value}"',
    "as a bearer": lambda value: f"Bearer {value}",
    "in base64": lambda value: base64.b64encode(value.encode()).decode(),
    "in hexadecimal": lambda value: value.encode().hex(),
    "its hash": lambda value: hashlib.sha256(value.encode()).hexdigest(),
    "not ASCII": lambda value: "é" * len(value),
    "a look-alike letter": lambda value: "\u0430" + value[1:],
    "full-width digits": lambda value: "\uff10" * len(value),
    "a lone surrogate": lambda value: "\ud800" + value[1:],
    "with an invisible character": lambda value: value + "\u200b",
    "a megabyte": lambda value: value * (1_000_000 // len(value)),
    "null": lambda value: "null",
    "zero": lambda value: "0",
    "true": lambda value: "true",
    "a wildcard": lambda value: "*",
    "a format": lambda value: "%s{0}",
    "of another secret": lambda value: "z" * len(value),
}
"""What the header holds instead of `value`; None: the header is left out."""


def forge(how: str, genuine: HttpRequest, header: str) -> HttpRequest | None:
    """The request with one header forged; None if that changes nothing."""
    value = genuine.headers[header]
    other = FORGERIES[how](value)
    if other == value:
        return None
    headers = {name: v for name, v in genuine.headers.items() if name != header}
    if other is not None:
        headers[header] = other
    return msgspec.structs.replace(genuine, headers=headers)
