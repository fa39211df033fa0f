"""Bringing a stored conversation back to life under today's code, and saying where it no longer
fits. Sans-IO; the Turn and `legato check` both use it.
"""

from __future__ import annotations

import msgspec

from legato.engine import journal
from legato.engine.chat import Chat
from legato.engine.commands import Effect
from legato.engine.dialog import Dialog
from legato.engine.outgoing import Services
from legato.engine.replay import ALL, Driver, Pending, Raised
from legato.errors import Mismatch
from legato.model.records import WAITING, Birth, Conversation, Loaded, Record, State, Wait
from legato.model.values import from_stored


class Live:
    """A conversation in memory: its row, and a driver that stands where the journal ends."""

    __slots__ = ("birth", "chat", "conversation", "dialog", "driver", "replayed", "state")

    def __init__(
        self,
        dialog: Dialog,
        conversation: Conversation,
        birth: Birth,
        services: Services,
        state: State,
    ) -> None:
        self.dialog: Dialog = dialog
        self.conversation: Conversation = conversation
        self.birth: Birth = birth
        self.state: State = state
        self.replayed: int = 0  # records that it was rebuilt from
        self.driver: Driver = Driver(dialog.idle_s)
        self.chat: Chat = Chat(self.driver, conversation.key, conversation.epoch, birth, services)

    def start(self, skip: int = 0) -> None:
        """Runs the dialog from its first line to its first waits."""
        try:
            args = {name: from_stored(value) for name, value in self.birth.args.items()}
            coro = self.dialog.call(self.chat, args)
        except Exception as error:  # noqa: BLE001  # a failure of the dialog like any other
            self.driver.done = Raised(error)
        else:
            self.driver.start(coro, self.birth.at_ms, skip)

    @property
    def failure(self) -> BaseException | None:
        """What the dialog raised, if that is a bug."""
        done = self.driver.done
        return done.error if isinstance(done, Raised) and done.bug else None

    @property
    def waits(self) -> tuple[Wait, ...]:
        """What it waits for."""
        return tuple([pending.wait for pending in self.driver.pending.values()])

    @property
    def beside(self) -> tuple[Wait, ...]:
        """What its other branches wait for while some carry out effects."""
        pending = self.driver.pending.values()
        return tuple(one.wait for one in pending if not isinstance(one.op, Effect))


def rebuild(loaded: Loaded, dialog: Dialog, services: Services) -> Live:
    """Replays a stored conversation.

    A bug that strikes on the way is left in `Live.failure`: the conversation is to be parked.

    Raises:
        Mismatch: The code no longer follows the journal, or waits for something else at its end.
    """
    row = loaded.conversation
    state = journal.decode_state(row.state)
    live = Live(dialog, row, journal.decode_birth(loaded.birth), services, state)
    records = journal.read(loaded.segments)
    live.replayed = len(records)
    driver = live.driver
    # In the middle of a Turn (it runs, or failed there) only the first `said` things after the last
    # record are committed.
    mid_turn = row.status != WAITING and not state.waits
    last_skip = state.said if mid_turn else ALL
    try:
        driver.replaying = bool(records)
        live.start(last_skip if not records else ALL)
        if records:
            driver.slice(lambda: _replay(live, records, last_skip))
        if mid_turn:
            _take_over(driver, state.beside)
        else:
            _check_waits(driver, state.waits)
    except Mismatch:
        driver.evict()
        raise
    driver.skip = 0
    return live


def _replay(live: Live, records: list[Record], last_skip: int) -> None:
    driver = live.driver
    for left, record in enumerate(records, 1 - len(records)):
        if driver.done is not None:
            if live.failure is not None:
                return
            raise Mismatch(record.path, f"{record.kind} {record.name}", _end(driver))
        driver.replaying = left < 0
        try:
            driver.feed(record, ALL if left else last_skip)
        except Mismatch:
            raise
        except Exception as error:
            text = f"something that cannot be made of its value: {error}"
            raise Mismatch(record.path, f"{record.kind} {record.name}", text) from error


def _end(driver: Driver) -> str:
    if isinstance(driver.done, Raised):
        return f"raise {type(driver.done.error).__name__}: {driver.done.error}"
    return "end of the dialog"


def _check_waits(driver: Driver, waits: tuple[Wait, ...]) -> None:
    """The code must wait for just what is stored; deadlines and attempts come from the store."""
    if driver.done is not None:
        if isinstance(driver.done, Raised) and driver.done.bug:
            return  # a bug in the new code: the Turn parks the conversation with its traceback
        first = waits[0] if waits else Wait("?", "?", "?")
        raise Mismatch(first.path, f"{first.kind} {first.name}", _end(driver))
    for wait in waits:
        pending = driver.pending.get(wait.path)
        if pending is None or (pending.op.kind, pending.op.name) != (wait.kind, wait.name):
            raise driver.mismatch(wait.path, f"{wait.kind} {wait.name}", pending)
        pending.wait = _merged(pending, wait)
    for path, pending in driver.pending.items():
        if not any(wait.path == path for wait in waits) and not isinstance(pending.op, Effect):
            raise Mismatch(path, "nothing", f"{pending.op.kind} {pending.op.name}")


def _take_over(driver: Driver, waits: tuple[Wait, ...]) -> None:
    """The times and counts of waits beside an effect. What changed code no longer waits for is
    found out by the records that follow.
    """
    for wait in waits:
        pending = driver.pending.get(wait.path)
        if pending is not None and (pending.op.kind, pending.op.name) == (wait.kind, wait.name):
            pending.wait = _merged(pending, wait)


def _merged(pending: Pending, stored: Wait) -> Wait:
    """What the code says now, with the times and counts that were committed."""
    return msgspec.structs.replace(
        pending.wait,
        deadline_ms=stored.deadline_ms,
        scope=stored.scope,
        remind_ms=stored.remind_ms,
        attempts=stored.attempts,
    )


class Report(msgspec.Struct, frozen=True):
    """What `legato check` says of one conversation.

    Attributes:
        key, dialog: Which one.
        verdict: "same", "mismatch", "missing" (no such dialog any more) or "raises".
        detail: The reason, "" for "same".
        records: Length of its journal.
    """

    key: str
    dialog: str
    verdict: str
    detail: str
    records: int


def check(loaded: Loaded, dialog: Dialog | None, services: Services) -> Report:
    """Dry-replays one conversation against the code; touches nothing."""
    row = loaded.conversation
    count = len(journal.read(loaded.segments))
    if dialog is None:
        text = f"no dialog is named {row.dialog!r}: rename it back or give it name={row.dialog!r}"
        return Report(row.key, row.dialog, "missing", text, count)
    try:
        live = rebuild(loaded, dialog, services)
    except Mismatch as error:
        return Report(row.key, row.dialog, "mismatch", str(error), count)
    done = live.driver.done
    live.driver.evict()
    if isinstance(done, Raised) and not journal.decode_state(row.state).error:
        return Report(
            row.key, row.dialog, "raises", f"{type(done.error).__name__}: {done.error}", count
        )
    return Report(row.key, row.dialog, "same", "", count)


def restarted(loaded: Loaded, dialog: Dialog, records: list[Record]) -> dict[str, object] | None:
    """Keyword arguments for a dialog that begins anew after a mismatch (None: as at birth)."""
    if dialog.on_restart is None:
        return None
    return dict(dialog.on_restart(journal.answers(records)))
