"""Taking secrets out of what people read: logs, errors, what the store keeps of a failure."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 4
"""Shorter texts are no secrets; taking each "s" out of every line would hide nothing but the line."""
ERROR_CHARS = 500
"""Of a failure that is kept or logged."""


def redacted(text: str, secrets: Iterable[str], limit: int = 0) -> str:
    """`text` with *** for each secret, the longest first, since one may be a part of another.

    Args:
        text: What may hold some.
        secrets: Those shorter than SHORTEST are left alone.
        limit: Of characters, 0 = none; a longer text ends with "…".
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, "***")
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


__all__ = ["ERROR_CHARS", "SHORTEST", "redacted"]
