"""What a page of the web chat sends, and whose page it is: the same over HTTP and over a WebSocket."""

from __future__ import annotations

from hashlib import sha256

from msgspec import Struct

from legato.platforms.web.platform import Said

LONGEST_TEXT = 16_000


class Posted(Struct):
    """What a page sends."""

    text: str = ""
    data: str = ""
    message: str = ""
    phone: str = ""
    location: tuple[float, float] | None = None


def visitor(secret: str) -> str | None:
    """Who has this session: its hash, so that no store or log holds the key to it. None if it is none."""
    if not 16 <= len(secret) <= 128:
        return None
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:20]


def said(posted: Posted, *, pressed: bool) -> Said:
    """What a visitor said; id, user and time are not set yet.

    Args:
        posted: As the page sent it.
        pressed: It is a button that was pressed.

    Raises:
        ValueError: It is no message.
    """
    if pressed:
        if not posted.data or len(posted.data) > 1000:
            raise ValueError("a press needs data")
        return Said("", "", data=posted.data, message=posted.message[:100])
    place = posted.location
    if place is not None and not (-90 <= place[0] <= 90 and -180 <= place[1] <= 180):
        raise ValueError("that is no place on Earth")
    if not (posted.text.strip() or posted.phone.strip() or place):
        raise ValueError("a message needs a text")
    if len(posted.text) > LONGEST_TEXT or len(posted.phone) > 100:
        raise ValueError("too long")
    return Said("", "", text=posted.text, phone=posted.phone, location=place)


__all__ = ["LONGEST_TEXT", "Posted", "said", "visitor"]
