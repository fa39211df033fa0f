"""Conversations that cannot run as they are: what is written for them. Decisions without I/O."""

from __future__ import annotations

import msgspec

from legato.engine import journal
from legato.engine.dialog import Dialog
from legato.engine.services import Services
from legato.engine.versions import Live, restarted
from legato.errors import Unavailable
from legato.model.events import Again, AnyEvent, Gone, Signal
from legato.model.ids import OVERLAY, aside_key, place_of
from legato.model.records import (
    FAILED,
    HELD,
    RUNNING,
    WAITING,
    Commit,
    Conversation,
    Loaded,
    Mail,
    State,
)
from legato.model.values import to_stored

EPOCH_BITS = 20
"""Low bits of an epoch: a hash of the update that began it."""
EPOCH_PRIME = 1_048_573
"""The largest prime that fits in them: what is left of a text's number is spread evenly."""


def mail(key: str, event: AnyEvent) -> Mail:
    """An event as it lies in the mailbox of `key`."""
    return Mail(event.id, key, journal.encode(event))


def uncovered(top: Conversation) -> Mail:
    """For the mailbox of the conversation below a dialog that is over: once for each."""
    key = top.key.removesuffix(OVERLAY)
    return mail(key, Again(id=f"again:{top.key}:{top.epoch}", place=place_of(key), key=key))


def kept_mail(row: Conversation, event: AnyEvent) -> Mail:
    """An event as it is kept for a parked conversation."""
    return mail(aside_key(row.key, row.epoch), event)


def deposit(key: str, event: AnyEvent, now_ms: int) -> Commit:
    """Keeps an event for later; one that is known already is ignored."""
    return Commit(at_ms=now_ms, deposit=(mail(key, event),))


def ended(row: Conversation, update_id: str, now_ms: int) -> Commit:
    """Ends a conversation without running its code: it is parked, and somebody cancels it."""
    return Commit(
        at_ms=now_ms, key=row.key, expect=(row.epoch, row.head), row=None, update_id=update_id
    )


def held(loaded: Loaded, why: str, event: AnyEvent | None, now_ms: int) -> Commit:
    """Parks a conversation that the code no longer fits, with its journal and its mail."""
    return _parked(loaded, HELD, why, event, now_ms)


def failed(loaded: Loaded, why: str, event: AnyEvent | None, now_ms: int) -> Commit:
    """Parks a conversation that cannot be gone on with, without running its code."""
    return _parked(loaded, FAILED, why, event, now_ms)


def _parked(loaded: Loaded, status: str, why: str, event: AnyEvent | None, now_ms: int) -> Commit:
    row = loaded.conversation
    state = msgspec.structs.replace(journal.decode_state(row.state), error=why)
    return Commit(
        at_ms=now_ms,
        key=row.key,
        expect=(row.epoch, row.head),
        row=msgspec.structs.replace(
            row,
            head=row.head + 1,
            status=status,
            wake_ms=0,
            state=journal.encode(state),
            updated_ms=now_ms,
        ),
        deposit=() if event is None else (kept_mail(row, event),),
    )


def begun_anew(loaded: Loaded, dialog: Dialog, services: Services, now_ms: int) -> Live:
    """The conversation from the dialog's first line, in a new epoch, not started yet."""
    row = loaded.conversation
    birth = journal.decode_birth(loaded.birth)
    args = restarted(loaded, dialog, journal.read(loaded.segments))
    stored = birth.args if args is None else {k: to_stored(v) for k, v in args.items()}
    birth = msgspec.structs.replace(birth, args=stored, at_ms=now_ms)
    fresh = msgspec.structs.replace(row, version=dialog.version, epoch=row.epoch + 1, head=0)
    state = State(build=services.build)
    return Live(dialog, fresh, birth, services.chat_services(birth.place), state)


def unfinished(row: Conversation) -> bool:
    """Whether the Turn that left this row may have died before its end: in the middle, or before
    it looked for signals that had come early.
    """
    if row.status == WAITING:
        return any(wait.signal for wait in journal.decode_state(row.state).waits)
    return row.status == RUNNING


def check_left(live: Live, now_ms: int) -> None:
    """An unfinished Turn is for others only once the process that is at it has no time left. What an
    operator lets go on, or a process has put down, is due at the time it was written: by a clock that may
    be ahead of ours.

    Raises:
        Unavailable: It has. The conversation leaves memory.
    """
    try:
        check_free(live.conversation, now_ms)
    except Unavailable:
        live.driver.evict()
        raise


def check_free(row: Conversation, now_ms: int) -> None:
    """See `check_left`.

    Raises:
        Unavailable: Another process is at an unfinished Turn of it, and has time left.
    """
    if row.status == RUNNING and row.wake_ms > max(now_ms, row.updated_ms):
        raise Unavailable(f"another process works on {row.key}")


def new_epoch(now_ms: int, update_id: str) -> int:
    """A number that no other conversation of this key has: the time, then a hash of the update that
    starts it. Another in each attempt at the same update but within a millisecond: only one of them
    is committed.
    """
    value = int.from_bytes(update_id.encode("utf-8", "surrogatepass"), "big")
    return (now_ms << EPOCH_BITS) | value % EPOCH_PRIME


def moment(event: AnyEvent, now_ms: int) -> int:
    """When an event happened: what was due before goes first, what an answer that was given in
    time and came late goes before its deadline.
    """
    return min(now_ms, event.at_ms) if event.at_ms else now_ms


def of_another_life(event: AnyEvent, row: Conversation) -> bool:
    """Whether an event is for an earlier conversation than the one that stands there now: `goto`
    adds 1 to an epoch, a new conversation begins at another time.
    """
    if not isinstance(event, Gone | Signal) or not event.epoch:
        return False
    return event.epoch >> EPOCH_BITS != row.epoch >> EPOCH_BITS
