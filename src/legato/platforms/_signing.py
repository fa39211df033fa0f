"""What the adapters share to tell a platform's request from a forged one."""

from __future__ import annotations

from _operator import _compare_digest


def same(a: bytes, b: bytes) -> bool:
    """Compares two secrets in a time that does not tell where they differ (only their lengths).

    Bytes only: on text, a header with a non-ASCII letter would raise instead of being refused.
    This is what `hmac.compare_digest` falls back to; taken from there it would load OpenSSL into
    every cold function (2 ms), which a Telegram bot does not need.
    """
    return _compare_digest(a, b)
