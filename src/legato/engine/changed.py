"""Conversations that do not run under our code. Those whose journal it does not follow are gone on with by the build
that wrote it, if that is newer than ours and there still is one; else the policy of their dialog decides.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from legato.engine import changes, journal
from legato.engine.dialog import HOLD, Dialog
from legato.engine.outcomes import IGNORED, TAKEN, GivenUp, Handed, Outcome
from legato.engine.services import Services
from legato.engine.versions import Live
from legato.engine.writer import Conflict
from legato.errors import Mismatch
from legato.model.events import Again, AnyEvent, Gone, Interrupt
from legato.model.ids import aside_key
from legato.model.records import (
    COMMITTED,
    CONFLICT,
    DUPLICATE,
    FAILED,
    HELD,
    RUNNING,
    Conversation,
    Loaded,
)

log: logging.Logger = logging.getLogger("legato.turn")

BeginAnew = Callable[[Live, AnyEvent | None, tuple[int, int]], Awaitable[Outcome]]
"""Starts a conversation in a new epoch; the fence is of the one that it takes the place of."""


class NotOurs(Exception):
    """Private: what an older build has handed over is not (or no longer) of our build. Nothing was written."""


class Changed:
    """Decides who goes on. One per process.

    Args:
        services: The surroundings.
        begin_anew: Runs a dialog that is restarted.
        stats: "handed" counts what went to another build, "mismatches" what a policy had to decide.

    Attributes:
        handed: Keys of conversations that an older build has handed over to this one, which is at them. Nothing of
            them is handed on, or done in place of another build.
    """

    def __init__(self, services: Services, begin_anew: BeginAnew, stats: dict[str, int]) -> None:
        self._services = services
        self._begin_anew = begin_anew
        self._stats = stats
        self.handed: set[str] = set()

    def check(self, row: Conversation) -> None:
        """Called for whatever is about to be run.

        Raises:
            NotOurs: It was handed over as ours, and is another build's.
        """
        if row.key in self.handed and _build(row) != self._services.build:
            raise NotOurs(row.key)

    async def elsewhere(
        self, row: Conversation, event: AnyEvent | None, moment_ms: int | None = None
    ) -> Outcome | None:
        """Hands over what a newer build has written: requests have gone back to ours, and conversations stay with the
        code that can replay them.

        Args:
            row: The conversation, as stored.
            event: For it; None = it is to be woken.
            moment_ms: See Turns.wake.

        Returns:
            None: It is for us to decide.

        Raises:
            Unavailable: Nobody can go on with it now.
        """
        services, build = self._services, _build(row)
        if services.elsewhere is None or build <= services.build or row.key in self.handed:
            return None
        if row.status in (FAILED, HELD):
            return None  # nobody's code runs it
        now = services.clock.now_ms()
        due = 0 < row.wake_ms <= (now if moment_ms is None else moment_ms)
        if event is None and row.status != RUNNING and not due:
            return IGNORED
        changes.check_free(row, now)
        try:
            outcome = await services.elsewhere(build, Handed(row.key, event, moment_ms))
        except GivenUp as error:
            return await self._park(row, str(error), event)
        if outcome is None:
            log.error("conversation %s: build %d, which wrote it, is gone", row.key, build)
            return None
        self._stats["handed"] += 1
        return outcome

    async def settle(
        self,
        key: str,
        error: Mismatch,
        event: AnyEvent | None,
        *,
        moment_ms: int | None = None,
    ) -> Outcome:
        """Deals with what does not fit.

        Raises:
            Conflict: Somebody else moved it; the event is not kept anywhere.
            Unavailable: Nobody can go on with it now.
        """
        loaded = await self._services.store.load(key)
        if loaded is None:
            return IGNORED
        self.check(loaded.conversation)
        outcome = await self.elsewhere(loaded.conversation, event, moment_ms)
        if outcome is not None:
            return outcome
        self._stats["mismatches"] += 1
        dialog = self._services.dialogs.get(loaded.conversation.dialog)
        log.warning("conversation %s (%s): %s", key, loaded.conversation.dialog, error)
        if dialog is not None and dialog.on_change != HOLD:
            return await self._restart(loaded, dialog, error, event)
        return await self.hold(loaded, str(error), event)

    async def at_rest(self, loaded: Loaded, event: AnyEvent) -> Outcome:
        """Failed and held conversations keep what comes for them; a cancellation ends them."""
        row, now = loaded.conversation, self._services.clock.now_ms()
        store = self._services.store
        if isinstance(event, Interrupt):
            done = await store.commit(changes.ended(row, event.id, now))
            return Outcome(taken=done.result == COMMITTED, duplicate=done.result == DUPLICATE)
        if isinstance(event, Gone) or changes.of_another_life(event, row):
            return IGNORED
        await store.commit(changes.deposit(aside_key(row.key, row.epoch), event, now))
        return TAKEN

    async def _park(self, row: Conversation, why: str, event: AnyEvent | None) -> Outcome:
        """It has failed, with what came for it; but for a cancellation, which would be the first thing of a retry.

        Raises:
            Conflict: Somebody else moved it; the event is not kept anywhere.
        """
        services = self._services
        loaded = await services.store.load(row.key)
        if (
            loaded is None
            or loaded.conversation.epoch != row.epoch
            or loaded.conversation.head != row.head
        ):
            raise Conflict
        kept = None if isinstance(event, Interrupt | Gone | Again) else event
        commit = changes.failed(loaded, why, kept, services.clock.now_ms())
        if (await services.store.commit(commit)).result == CONFLICT:
            raise Conflict
        log.error("conversation %s is parked: %s", row.key, why)
        return TAKEN

    async def hold(self, loaded: Loaded, why: str, event: AnyEvent | None) -> Outcome:
        """Parks a conversation with its mail.

        Raises:
            Conflict: Somebody else moved it; the event is not kept anywhere.
        """
        now = self._services.clock.now_ms()
        done = await self._services.store.commit(changes.held(loaded, why, event, now))
        if done.result == CONFLICT:
            raise Conflict
        return TAKEN

    async def _restart(
        self, loaded: Loaded, dialog: Dialog, mismatch: Mismatch, event: AnyEvent | None
    ) -> Outcome:
        """Begins the dialog anew in a new epoch; the event that found the change is used up."""
        row, now = loaded.conversation, self._services.clock.now_ms()
        try:
            live = changes.begun_anew(loaded, dialog, self._services, now)
        except Exception as error:  # the dialog's own on_restart
            log.exception("conversation %s: on_restart failed", row.key)
            text = f"on_restart failed with {type(error).__name__}: {error}; before: {mismatch}"
            return await self.hold(loaded, text, event)
        return await self._begin_anew(live, event, (row.epoch, row.head))


def _build(row: Conversation) -> int:
    return journal.decode_state(row.state).build


__all__ = ["Changed", "NotOurs"]
