"""Letters of an update: what a gateway or a listener puts into the queue."""

from __future__ import annotations

import logging
from hashlib import sha256

from legato.abc.platform import Parsed, Platform
from legato.abc.queue import Letter
from legato.app.router import Router
from legato.engine import journal
from legato.errors import Malformed
from legato.model.events import Address
from legato.model.shards import slot_of, slot_of_key

DEAD_BYTES = 65536
"""So much of an unreadable update is kept."""

log: logging.Logger = logging.getLogger("legato.letters")


def letters(
    platform: Platform, router: Router, body: bytes, at_ms: int, trace: str = ""
) -> tuple[list[Letter], Parsed | None]:
    """One letter an event, in order, and what the platform read; none for a kind that nobody needs.

    An update that is authentic but cannot be read becomes one letter of kind "dead" beside None. All
    ids are those of the update, so that it gives the same letters when it comes again.

    Args:
        platform: Which bot got it.
        router: Knows the lanes of the app's events.
        body: The raw update, already found to be authentic.
        at_ms: Now, in milliseconds since 1970.
        trace: W3C traceparent, "" if nobody traces.
    """
    try:
        parsed = platform.parse(body)
        found = [
            Letter(
                event.id,
                slot_of_key(router.lane(event)),  # type: ignore[arg-type] # platforms give AnyEvent
                journal.encode(event),
                at_ms=at_ms,
                trace=trace,
            )
            for event in parsed.events
        ]
    except Malformed as error:
        log.warning("%s sent an unreadable update (kept as dead): %s", platform.name, error)
        return [_dead(platform, body, at_ms, trace)], None
    except Exception:
        # A bug of ours: if it were refused, the platform would repeat it, and hold up its chat, for a day.
        log.exception("an update of %s cannot be read (kept as dead)", platform.name)
        return [_dead(platform, body, at_ms, trace)], None
    return found, parsed


def _dead(platform: Platform, body: bytes, at_ms: int, trace: str) -> Letter:
    name = f"dead-{sha256(body).hexdigest()[:32]}"
    return Letter(
        f"{platform.name}:{platform.bot}:{name}",
        slot_of(Address(platform.name, platform.bot, name)),
        body[:DEAD_BYTES],
        "dead",
        at_ms,
        trace,
    )


__all__ = ["DEAD_BYTES", "letters"]
