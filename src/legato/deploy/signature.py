"""Who sent an update that is no request of the platform's own: `legato listen --to https://...`.

A connection's raw update has no webhook form (an IRC line, say), so no platform has signed it. The
listener signs it with LEGATO_KEY:

    X-Legato-Signature: t=<milliseconds since 1970>,v1=<HMAC-SHA256 in hex>

over "<t>.<platform>." and the body. The key of the HMAC is derived from LEGATO_KEY, which also encrypts
accounts: neither use tells anything about the other. With several keys (commas between them) the first one
signs and each is accepted, so that a key can be replaced.

On the way of a cloud function: hashes are imported when there is something to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from legato.errors import ConfigError, Forged

if TYPE_CHECKING:
    from legato.abc import Clock, HttpRequest, Platform

HEADER = "x-legato-signature"
REPLY = "x-legato-reply"
"""With the value "none": no call may ride in the answer, whoever asks cannot use it."""
WINDOW_MS = 300_000
"""A request that was signed longer ago is one that somebody repeats."""
SHORTEST = 16
"""Characters that a key has at least."""


def check_request(platform: Platform, request: HttpRequest, key: str, clock: Clock) -> None:
    """Checks that a request comes from the platform, or from a listener that knows our key.

    Args:
        platform: To whose address it came.
        request: With header names in lower case.
        key: LEGATO_KEY; "" accepts the platform's own requests only.
        clock: Time.

    Raises:
        Forged: It does not.
    """
    given = request.headers.get(HEADER, "")
    if given and key:
        _check(given, platform.name, request.body, key, clock.now_ms())
    else:
        platform.verify(request)


def may_reply(headers: Mapping[str, str]) -> bool:
    """Whether whoever made a request can use a call that rides in the answer."""
    return headers.get(REPLY, "") != "none"


def signature(platform: str, body: bytes, key: str, now_ms: int) -> str:
    """The header's value.

    Raises:
        ConfigError: The key is too short to protect anything.
    """
    keys = _keys(key)
    short = f"LEGATO_KEY is too short to sign anything: it needs {SHORTEST} characters or more"
    if not keys or len(keys[0]) < SHORTEST:
        raise ConfigError(short)
    return f"t={now_ms},v1={_digest(keys[0], platform, body, str(now_ms))}"


def _check(given: str, platform: str, body: bytes, key: str, now_ms: int) -> None:
    from hmac import compare_digest

    parts = dict(part.partition("=")[::2] for part in given.split(","))
    stamp, found = parts.get("t", ""), parts.get("v1", "").encode("utf-8", "surrogatepass")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
        raise Forged("X-Legato-Signature has no time")
    good = False
    for one in _keys(key):  # all of them: the time must not tell which one fits
        expected = _digest(one, platform, body, stamp).encode()
        good |= len(one) >= SHORTEST and compare_digest(found, expected)
    if not good:
        raise Forged("X-Legato-Signature is wrong: is LEGATO_KEY the same on both sides?")
    if abs(now_ms - int(stamp)) > WINDOW_MS:
        raise Forged("it was signed more than 5 minutes ago (or the clock is wrong)")


def _keys(key: str) -> list[str]:
    return [one.strip() for one in key.split(",") if one.strip()]


def _digest(key: str, platform: str, body: bytes, stamp: str) -> str:
    import hmac
    from hashlib import sha256

    derived = sha256(b"legato: signature of a forwarded update 1\0" + key.encode()).digest()
    return hmac.digest(derived, f"{stamp}.{platform}.".encode() + body, "sha256").hex()


__all__ = ["HEADER", "REPLY", "WINDOW_MS", "check_request", "may_reply", "signature"]
