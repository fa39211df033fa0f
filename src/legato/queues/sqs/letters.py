"""How letters and wakes lie in a message: JSON that people can read.

{"legato": "letter", "id": ..., "slot": ..., "at": ..., "event": {...}}    an event
{"legato": "letter", "id": ..., "kind": "dead", "raw": "<base64>"}         an update that could not be read
{"legato": "wake", "key": ..., "at": ...}                                  a conversation that is to be woken
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from legato.abc.queue import Letter

LETTER, WAKE = "letter", "wake"
_KINDS = ("event", "dead")


class Wake(Struct, frozen=True):
    """A conversation that is to be woken.

    Attributes:
        key: Which.
        at_ms: When, in milliseconds since 1970.
    """

    key: str
    at_ms: int


class _Envelope(Struct, omit_defaults=True):
    legato: str = ""
    id: str = ""
    kind: str = "event"
    slot: int = 0
    at: int = 0
    trace: str = ""
    key: str = ""
    event: Raw | UnsetType = UNSET
    raw: bytes | UnsetType = UNSET


Found: TypeAlias = Letter | Wake | None

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode


def letter_text(letter: Letter) -> str:
    """The body of a letter's message."""
    envelope = _Envelope(
        LETTER, letter.id, letter.kind, letter.slot, at=letter.at_ms, trace=letter.trace
    )
    if letter.kind == "event":
        envelope.event = Raw(letter.body)
    else:
        envelope.raw = letter.body
    return _text(envelope)


def wake_text(wake: Wake) -> str:
    """The body of a wake's message."""
    return _text(_Envelope(WAKE, key=wake.key, at=wake.at_ms))


def read(text: str) -> Found:
    """What lies in a message; None if it is neither. Whoever may send may send anything."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if found.legato == WAKE and found.key:
        return Wake(found.key, found.at)
    if found.legato != LETTER or not found.id or found.kind not in _KINDS:
        return None
    body = found.event if found.kind == "event" else found.raw
    if body is UNSET:
        return None
    return Letter(found.id, found.slot, bytes(body), found.kind, found.at, found.trace)


def hashed(text: str) -> str:
    """A text as the id of a group or of a message: those may hold few characters, and 128 of them."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _text(envelope: _Envelope) -> str:
    # SQS takes what XML 1.0 takes. JSON has escaped control characters; these two are left.
    return _encode(envelope).decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


__all__ = ["Found", "Wake", "hashed", "letter_text", "read", "wake_text"]
