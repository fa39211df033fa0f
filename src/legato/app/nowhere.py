"""The "platform" of what happens outside of any chat: a file came, a row changed, a time of a schedule.

A dialog that such an event starts has steps, timers and signals as any other; but nobody to talk to.
"""

from __future__ import annotations

from typing import Any

import msgspec

from legato.abc import Capabilities, HttpClient, HttpRequest, Limits, Parsed, Platform, Verdict
from legato.errors import Forged, Malformed
from legato.model.events import Address, Happened
from legato.model.messages import Outgoing
from legato.model.records import Call

NAME = "event"

LONGEST = 200
"""Bytes of an id that stands as it is: a key in a store must not be long, and the name of a file in S3 may be."""

_decoder = msgspec.json.Decoder(Happened)
_json = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class Nowhere(Platform):
    """Shows nothing to nobody."""

    __slots__ = ("bot", "capabilities", "limits", "name", "secrets")

    def __init__(self) -> None:
        self.name: str = NAME
        self.bot: str = ""
        self.capabilities: Capabilities = Capabilities(
            texts=False, buttons=False, edit=False, delete=False, react=False, pin=False,
            photos=False, files=False, typing=False,
        )  # fmt: skip
        self.limits: Limits = Limits()
        self.secrets: tuple[str, ...] = ()

    def verify(self, request: HttpRequest) -> None:
        raise Forged("events come from the function's service, not by a webhook")

    def parse(self, body: bytes) -> Parsed:
        try:
            return Parsed((_decoder.decode(body),), kind=NAME)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Malformed(f"no event: {error}") from error

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        return []  # the chat handle has refused what a dialog says; this is an apology of ours

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        return Verdict("refused", error="nobody is there")


def told(source: str, name: str, kind: str, subject: str, data: Any) -> Happened:
    """What happened, as it comes back from a store: services tell it in JSON, in which there are characters that no
    text has, and numbers that no JSON has.

    Args:
        source: Who tells it.
        name: The same when it is told again, and never that of anything else there.
        kind, subject, data: See Happened.
    """
    full = named(source, name)
    return Happened(
        id=full,
        place=Address(NAME, "", full),
        kind=_text(kind),
        subject=_text(subject),
        data=_plain(data),
    )


def named(source: str, name: str) -> str:
    """The id of something that happened: the same when it is told again, and never too long for a store."""
    full = f"{NAME}::{source}:{name}"
    raw = full.encode("utf-8", "surrogatepass")
    if len(raw) <= LONGEST and _text(full) == full:
        return full
    from hashlib import sha256

    return f"{NAME}::{_text(source[:40])}:{sha256(raw).hexdigest()}"


def _plain(data: Any) -> Any:
    try:
        return _json.decode(_encode(data))
    except UnicodeEncodeError:
        return _json.decode(_encode(_mended(data)))


def _mended(data: Any) -> Any:
    if isinstance(data, str):
        return _text(data)
    if isinstance(data, list):
        return [_mended(each) for each in data]
    if isinstance(data, dict):
        return {_mended(name): _mended(each) for name, each in data.items()}
    return data


def _text(text: str) -> str:
    """The text with its lone surrogates replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


__all__ = ["NAME", "Nowhere", "named", "told"]
