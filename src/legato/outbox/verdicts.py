"""What follows from a verdict: a plain decision, without I/O."""

from __future__ import annotations

from msgspec import Struct

from legato.abc import Verdict
from legato.model.records import DEAD, QUEUED, SENT, UNKNOWN, Call, OutboxItem

MAX_MOVES = 3
"""How often one item follows its chat to a new id; more is a platform going in circles."""


class Fate(Struct, frozen=True):
    """What becomes of an item.

    Attributes:
        state: SENT, DEAD or UNKNOWN: it is done with. QUEUED: it is tried again.
        wait_s: With QUEUED: not before so many seconds.
        error: Why, for people. Empty if sent.
        moved: With QUEUED: at once, at `verdict.moved_to`.
    """

    state: str
    wait_s: float = 0.0
    error: str = ""
    moved: bool = False


def careful(item: OutboxItem, call: Call) -> bool:
    """Whether sending the item twice must be ruled out."""
    return item.delivery == "at_most_once" and not call.idempotent


def judge(
    item: OutboxItem, verdict: Verdict, *, now_ms: int, give_up_ms: int, moves: int, wait_s: float
) -> Fate:
    """Decides what becomes of `item` after `verdict`.

    Args:
        now_ms: Wall time.
        give_up_ms: No try is made after this time.
        moves: How often the item followed its chat so far.
        wait_s: The relay's own backoff, which counts unless the platform names a time.
    """
    error = verdict.error or verdict.outcome
    if verdict.moved_to and verdict.moved_to != item.place.chat and moves < MAX_MOVES:
        return Fate(QUEUED, moved=True)
    match verdict.outcome:
        case "sent":
            return Fate(SENT)
        case "gone":
            return Fate(DEAD, error=f"user is gone: {error}")
        case "unknown" if careful(item, item.call):
            return Fate(UNKNOWN, error=f"sent or not, nobody knows: {error}")
        case "retry" | "unknown":
            wait_s = verdict.retry_after_s or wait_s
            again_ms = now_ms + int(wait_s * 1000)
            expires_ms = item.call.expires_ms
            if again_ms <= give_up_ms and not 0 < expires_ms <= again_ms:
                return Fate(QUEUED, wait_s=wait_s, error=error)
            return Fate(DEAD, error=f"gave up after {item.attempts + 1} tries: {error}")
        case _:
            return Fate(DEAD, error=error)
