"""What watches a bot at work: metrics, traces and logs are told here what happens.

The engine, the relay and the shells call an Observer at each step; the one they are given by default
does nothing. `Scope` says which update and conversation the running task works on: log lines carry it,
and its trace goes along with what is put into a queue or an outbox.
"""

from __future__ import annotations

from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from legato.model.records import Call, OutboxItem

if TYPE_CHECKING:
    from legato.abc.platform import Verdict


class Scope:
    """What a task works on. One object an update, that its Turns write their names into.

    Attributes:
        update: The update's dedupe key, "" for a timer.
        conversation: Key of the conversation whose Turn ran last, "" before the first.
        dialog: Its dialog.
        trace: W3C traceparent of the innermost span, "" if nobody traces.
    """

    __slots__ = ("conversation", "dialog", "trace", "update")

    def __init__(self, update: str = "", trace: str = "") -> None:
        self.update: str = update
        self.conversation: str = ""
        self.dialog: str = ""
        self.trace: str = trace


SCOPE: ContextVar[Scope | None] = ContextVar("legato_scope", default=None)
"""Of the running task, and of the dialog that it runs; None where nobody asked for it."""


def current_trace() -> str:
    """W3C traceparent of what runs, "" if nobody traces."""
    scope = SCOPE.get()
    return "" if scope is None else scope.trace


def traced(call: Call) -> Call:
    """The call with the trace of what runs: it goes with it through the outbox."""
    trace = current_trace()
    return replace(call, trace=trace) if trace else call


class Observer:
    """Is told what happens; does nothing. Methods never wait and never raise.

    Each `begin_...` returns something that its `end_...` is given, in the same task. A begun Turn that
    does not take its event is never ended.
    """

    __slots__ = ()

    def begin_update(self, update_id: str, *, trace: str = "", at_ms: int = 0) -> Any:
        """Work on an update begins; inside of another one of the same id it is no work of its own.

        Args:
            update_id: Its dedupe key.
            trace: W3C traceparent of whoever put it into the queue.
            at_ms: When it was put there; 0 if it came another way.
        """

    def end_update(self, began: Any) -> None:
        """It is over: committed, ignored, or failed and to be tried again."""

    def begin_turn(self, key: str, dialog: str, context: Context) -> Any:
        """A Turn begins. The dialog's own code runs in `context`."""

    def end_turn(self, began: Any, dialog: str, outcome: str) -> None:
        """A Turn is over: "waiting", "ended", "failed", "duplicate", "conflict" or "error" (the store
        was out of reach, or the task was cancelled: it is tried again).
        """

    def replayed(self, records: int) -> None:
        """A conversation was rebuilt from so many records of its journal."""

    def woken(self, late_ms: int) -> None:
        """A timer fires, so long after its time."""

    def begin_send(self, item: OutboxItem) -> Any:
        """A call is about to be sent, for the first time or again."""

    def end_send(self, began: Any, item: OutboxItem, verdict: Verdict) -> None:
        """The platform has answered, or has not."""

    def begin_store(self, operation: str) -> Any:
        """A method of the store is about to be called."""

    def end_store(self, began: Any, operation: str, error: BaseException | None) -> None:
        """It has returned, or failed with `error`."""

    def begin_publish(self, letters: int) -> Any:
        """So many letters are about to be published; `current_trace` goes with them."""

    def end_publish(self, began: Any, letters: int, error: BaseException | None) -> None:
        """The queue has confirmed them, or failed with `error`."""


NOBODY = Observer()


class Scoping(Observer):
    """Keeps SCOPE, for logs."""

    __slots__ = ()

    def begin_update(self, update_id: str, *, trace: str = "", at_ms: int = 0) -> Any:
        outer = SCOPE.get()
        if outer is not None:
            if outer.update == update_id:
                return None
            trace = trace or outer.trace
        return SCOPE.set(Scope(update_id, trace))

    def end_update(self, began: Any) -> None:
        if began is not None:
            SCOPE.reset(began)

    def begin_turn(self, key: str, dialog: str, context: Context) -> Any:
        scope = SCOPE.get()
        if scope is None:  # a timer, in a task of its own
            scope = Scope()
            SCOPE.set(scope)
        scope.conversation, scope.dialog = key, dialog
        context.run(SCOPE.set, scope)
        return None

    def begin_send(self, item: OutboxItem) -> Any:
        scope = Scope("", item.call.trace)  # the relay's own task forgets it with its next item
        scope.conversation = item.key
        SCOPE.set(scope)
        return None


class Several(Observer):
    """Tells several observers, the last one's ends first."""

    __slots__ = ("_all",)

    def __init__(self, *observers: Observer) -> None:
        self._all = observers

    def begin_update(self, update_id: str, *, trace: str = "", at_ms: int = 0) -> Any:
        return [one.begin_update(update_id, trace=trace, at_ms=at_ms) for one in self._all]

    def end_update(self, began: Any) -> None:
        for one, own in zip(reversed(self._all), reversed(began), strict=True):
            one.end_update(own)

    def begin_turn(self, key: str, dialog: str, context: Context) -> Any:
        return [one.begin_turn(key, dialog, context) for one in self._all]

    def end_turn(self, began: Any, dialog: str, outcome: str) -> None:
        for one, own in zip(reversed(self._all), reversed(began), strict=True):
            one.end_turn(own, dialog, outcome)

    def replayed(self, records: int) -> None:
        for one in self._all:
            one.replayed(records)

    def woken(self, late_ms: int) -> None:
        for one in self._all:
            one.woken(late_ms)

    def begin_send(self, item: OutboxItem) -> Any:
        return [one.begin_send(item) for one in self._all]

    def end_send(self, began: Any, item: OutboxItem, verdict: Verdict) -> None:
        for one, own in zip(reversed(self._all), reversed(began), strict=True):
            one.end_send(own, item, verdict)

    def begin_store(self, operation: str) -> Any:
        return [one.begin_store(operation) for one in self._all]

    def end_store(self, began: Any, operation: str, error: BaseException | None) -> None:
        for one, own in zip(reversed(self._all), reversed(began), strict=True):
            one.end_store(own, operation, error)

    def begin_publish(self, letters: int) -> Any:
        return [one.begin_publish(letters) for one in self._all]

    def end_publish(self, began: Any, letters: int, error: BaseException | None) -> None:
        for one, own in zip(reversed(self._all), reversed(began), strict=True):
            one.end_publish(own, letters, error)


__all__ = ["NOBODY", "SCOPE", "Observer", "Scope", "Scoping", "Several", "current_trace", "traced"]
