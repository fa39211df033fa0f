"""How a shell answers the request that brought an update."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Received(Struct, frozen=True):
    """How to answer a webhook request.

    Attributes:
        reply: The body, None for an empty one.
        release: Call this once the answer is written (or failed): what follows it may be sent.
        lane: Where the first event came from, and its answers go; "" if there was none.
        reply_type: The media type of `reply`.
        duplicate: It was here before: whoever had it may have died before its answers were sent.
    """

    reply: bytes | None = None
    release: Callable[[], None] | None = None
    lane: str = ""
    reply_type: str = "application/json"
    duplicate: bool = False
