"""What the Turns of a process tell their caller, and what they hand over to another build."""

from __future__ import annotations

from typing import Protocol

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


class Handed(Struct, frozen=True, omit_defaults=True):
    """What is to be done with a conversation, by the build that wrote it.

    Attributes:
        key: Which.
        event: For it; None = it is to be woken.
        moment_ms: What was due then happens; None = now.
    """

    key: str
    event: AnyEvent | None = None
    moment_ms: int | None = None


class GivenUp(Exception):
    """Private: the build that a conversation is to go on in fails each time. The message is for the operator."""


class Elsewhere(Protocol):
    """Lets another build, which runs beside ours over the same store, do something."""

    async def __call__(self, build: int, work: Handed) -> Outcome | None:
        """What became of it, once what it said is delivered; None if there is no such build any more.

        Raises:
            Unavailable: It is not known to be done, and must be tried again.
            GivenUp: It was tried so often that it is not any more.
        """
        ...


def may_take(row: Conversation, waits: tuple[Wait, ...], event: AnyEvent) -> bool:
    """Whether it is worth loading the code for this event: asked of the stored waits."""
    return row.status != WAITING or any(could_match(wait, event) for wait in waits)
