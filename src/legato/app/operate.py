"""What an operator does with stored conversations, beside a running bot or without one.

Plain functions on an open store; none runs a dialog. A running bot sees what they wrote at its next tick
(conversations) or scan (deliveries), else the next start does. The fence keeps both from harm: what they
write is refused if the bot was faster, and they look again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from legato.abc import Capabilities, Clock, Store
from legato.app.app import App
from legato.engine import journal
from legato.engine.services import Services
from legato.engine.versions import Report
from legato.engine.versions import check as replayed
from legato.errors import LegatoError, Unavailable
from legato.model.events import AnyEvent, Interrupt, Signal
from legato.model.ids import ASIDE, aside_key, place_of
from legato.model.records import (
    COMMITTED,
    DEAD,
    FAILED,
    HELD,
    QUEUED,
    RUNNING,
    UNKNOWN,
    Birth,
    Commit,
    Conversation,
    Mail,
    OutboxItem,
    Record,
    Settled,
    State,
)
from legato.model.values import to_stored

PAGE = 500
MOST_TRIES = 20
PARKED = (FAILED, HELD)
ALL_STATES = (QUEUED, "sending", UNKNOWN, DEAD)


class Refused(LegatoError):
    """An operator's action could not be done. The message says why, and what can be done."""


class Shown(Struct, frozen=True):
    """All that is known of one conversation.

    Attributes:
        conversation: Its row.
        birth: What its epoch started from.
        state: Waits, and the error of a parked one.
        records: Its journal.
        mail: Events that wait for it.
        outbox: What it said and is not delivered.
    """

    conversation: Conversation
    birth: Birth
    state: State
    records: tuple[Record, ...]
    mail: tuple[AnyEvent, ...]
    outbox: tuple[OutboxItem, ...]


# -- looking ---------------------------------------------------------------------------------------


async def conversations(
    store: Store, *, status: str = "", dialog: str = ""
) -> AsyncIterator[Conversation]:
    """All conversations, filtered where asked, by key."""
    after = ""
    while rows := await store.find(status=status, dialog=dialog, after=after, limit=PAGE):
        for row in rows:
            yield row
        after = rows[-1].key


async def deliveries(
    store: Store, *, states: Sequence[str] = (DEAD, UNKNOWN), key: str = ""
) -> AsyncIterator[OutboxItem]:
    """Deliveries in one of `states`, by id."""
    after = 0
    while items := await store.outbox(states=states, after=after, limit=PAGE, key=key):
        for item in items:
            yield item
        after = items[-1].id


async def show(store: Store, key: str) -> Shown:
    """One conversation, decoded.

    Raises:
        Refused: There is none under this key.
    """
    loaded = await store.load(key)
    if loaded is None:
        raise _unknown(key)
    plain = key.partition(ASIDE)[0]
    kept = aside_key(plain, loaded.conversation.epoch)
    mail = [m for box in dict.fromkeys((kept, key)) for m in await store.mail(key=box, limit=PAGE)]
    return Shown(
        conversation=loaded.conversation,
        birth=journal.decode_birth(loaded.birth),
        state=journal.decode_state(loaded.conversation.state),
        records=tuple(journal.read(loaded.segments)),
        mail=tuple([journal.decode_event(m.payload) for m in mail]),
        outbox=tuple([item async for item in deliveries(store, states=ALL_STATES, key=plain)]),
    )


def _unknown(key: str) -> Refused:
    return Refused(f"there is no conversation {key!r}: `legato dialogs ls` lists them")


# -- steering --------------------------------------------------------------------------------------


async def retry(store: Store, key: str, now_ms: int) -> str:
    """Lets a failed or held conversation go on, as after a crash; returns the key it has then.

    One that was parked aside ("...!<epoch>", because a new dialog began in its place) moves back.

    Raises:
        Refused: There is none, it is not parked, or its place is taken.
    """
    key = await _moved_back(store, key, now_ms)
    for _ in range(MOST_TRIES):
        loaded = await store.load(key)
        if loaded is None:
            raise _unknown(key)
        row = loaded.conversation
        if row.status not in PARKED:
            raise Refused(f"{key} is {row.status}: only failed and held conversations are retried")
        state = replace(journal.decode_state(row.state), error="")
        going = replace(row, status=RUNNING, wake_ms=now_ms, state=journal.encode(state))
        if await _written(store, row, going, now_ms):
            return key
    raise _contended(key)


async def _moved_back(store: Store, key: str, now_ms: int) -> str:
    plain, aside, _ = key.partition(ASIDE)
    if not aside:
        return key
    loaded = await store.load(key)
    if loaded is None:
        raise _unknown(key)
    row = loaded.conversation
    commit = Commit(at_ms=now_ms, key=key, expect=(row.epoch, row.head), aside=plain)
    if (await store.commit(commit)).result != COMMITTED:
        raise Refused(
            f"another conversation runs in the place of {key}: let it end, or cancel it "
            f"(legato dialogs cancel '{plain}'), then retry"
        )
    return plain


async def cancel(store: Store, key: str, now_ms: int, unique: str) -> str:
    """Ends a conversation: a parked one at once; else Cancelled is raised at its wait.

    Args:
        store: Where it lives.
        key: Which one.
        now_ms: Now.
        unique: Makes this cancellation differ from all others.

    Returns:
        The id of the event that the bot has yet to apply, "" if it is done.

    Raises:
        Refused: There is none.
    """
    for _ in range(MOST_TRIES):
        loaded = await store.load(key)
        if loaded is None:
            raise _unknown(key)
        row = loaded.conversation
        if row.status not in PARKED:
            event = Interrupt(
                id=f"cancel:{key}:{unique}", place=place_of(key), key=key, reason="operator"
            )
            await deposit(store, key, event, now_ms)
            return event.id
        if await _written(store, row, None, now_ms):
            return ""
    raise _contended(key)


async def signal(store: Store, key: str, name: str, value: Any, *, now_ms: int, unique: str) -> str:
    """Lets `chat.wait_for(name)` in a conversation go on with `value`, now or once it gets there.

    Args:
        store: Where it lives.
        key: Which one.
        name: What happened.
        value: Anything the journal can keep.
        now_ms: Now.
        unique: The same for the same cause: it counts once.

    Returns:
        The id of the event.

    Raises:
        Refused: There is none.
        NotStorable: The value cannot be kept.
    """
    loaded = await store.load(key)
    if loaded is None:
        raise _unknown(key)
    event = Signal(
        id=f"signal:{key}:{name}:{unique}",
        place=place_of(key),
        key=key,
        name=name,
        value=to_stored(value, where=f"the value of signal {name!r}"),
        at_ms=now_ms,
        epoch=loaded.conversation.epoch,
    )
    await deposit(store, key, event, now_ms)
    return event.id


async def taken(store: Store, event_id: str) -> bool:
    """Whether a bot has applied an event."""
    return await store.get("inbox", event_id) is not None


async def redeliver(store: Store, ids: Sequence[int]) -> list[int]:
    """Queues dead and unknown deliveries again; returns those that were."""
    found = []
    for item_id in sorted(set(ids)):
        items = await store.outbox(states=(DEAD, UNKNOWN), after=item_id - 1, limit=1)
        if items and items[0].id == item_id:
            found.append(item_id)
    await store.settle([Settled(item_id, QUEUED) for item_id in found])
    return found


async def deposit(store: Store, key: str, event: AnyEvent, now_ms: int) -> None:
    """Puts an event into the mailbox of a conversation and lets whoever works on it look there."""
    mail = Mail(event.id, key, journal.encode(event))
    await store.commit(Commit(at_ms=now_ms, deposit=(mail,)))
    await wake(store, key, now_ms)


async def wake(store: Store, key: str, now_ms: int) -> None:
    """Lets the bot look after a conversation at its next tick, mail included. Harmless for one that
    is parked or over, and for one whose process has a time of its own to finish in: that stays as it
    is, or another one would begin the same step beside it.
    """
    for _ in range(MOST_TRIES):
        loaded = await store.load(key)
        if loaded is None or loaded.conversation.status in PARKED:
            return
        row = loaded.conversation
        at_work = row.status == RUNNING and row.wake_ms > max(now_ms, row.updated_ms)
        if (
            at_work
            or 0 < row.wake_ms <= now_ms
            or await _written(store, row, replace(row, wake_ms=now_ms), now_ms)
        ):
            return
    raise _contended(key)


async def _written(store: Store, row: Conversation, new: Conversation | None, now_ms: int) -> bool:
    """Writes a row in place of another; False if that is no longer what stands there.

    In the middle of a Turn the fence is left as it is: moved on, it would make the bot throw away the
    result of the step it is running, and run that again.
    """
    if new is not None:
        moved = new.status != RUNNING or row.status != RUNNING
        new = replace(new, head=row.head + moved, updated_ms=now_ms)
    commit = Commit(at_ms=now_ms, key=row.key, expect=(row.epoch, row.head), row=new)
    return (await store.commit(commit)).result == COMMITTED


def _contended(key: str) -> Unavailable:
    return Unavailable(f"{key} changes all the time: try again")


# -- checking --------------------------------------------------------------------------------------


async def check(store: Store, app: App, clock: Clock) -> AsyncIterator[Report]:
    """Replays every stored conversation against the code of `app`, and changes nothing."""
    app.finish()
    shape = _Shape()
    services = Services(
        store=store,
        relay=cast("Any", None),  # nothing is sent
        clock=clock,
        dialogs=app.dialogs,
        platform=lambda place: cast("Any", shape),
        apology="",
        download=lambda place, file, path: path,
    )
    async for row in conversations(store):
        loaded = await store.load(row.key)
        if loaded is not None:  # else it ended meanwhile
            place = journal.decode_birth(loaded.birth).place
            dialog = app.dialogs.get(row.dialog)
            yield replayed(loaded, dialog, services.chat_services(place))


class _Shape:
    """What a replay needs to know of a platform: what is said there is thrown away."""

    capabilities = Capabilities()


__all__ = [
    "Refused",
    "Shown",
    "cancel",
    "check",
    "conversations",
    "deliveries",
    "deposit",
    "redeliver",
    "retry",
    "show",
    "signal",
    "taken",
    "wake",
]
