"""What the Turns of a process tell their caller."""

from __future__ import annotations

from msgspec import Struct

from legato.engine.commands import could_match
from legato.model.events import AnyEvent
from legato.model.records import WAITING, Conversation, Loaded, Wait

Peeked = tuple[Conversation, tuple[Wait, ...], Loaded | None]
"""A conversation's row and what it waits for; all of it, if it was not in memory."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of an event at one conversation.

    Attributes:
        taken: It was consumed, or is kept in the mailbox.
        duplicate: It had been consumed before.
        reply: Body for the webhook request, if one rides there.
    """

    taken: bool
    duplicate: bool = False
    reply: bytes | None = None


IGNORED = Outcome(taken=False)
TAKEN = Outcome(taken=True)


def may_take(row: Conversation, waits: tuple[Wait, ...], event: AnyEvent) -> bool:
    """Whether it is worth loading the code for this event: asked of the stored waits."""
    return row.status != WAITING or any(could_match(wait, event) for wait in waits)
