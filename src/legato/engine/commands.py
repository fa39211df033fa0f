"""The operations a dialog can await, as data. The driver suspends on them, the Turn performs them.

Each knows how to be recorded (`kind`, `name`), what it waits for (`wait`), whether an event is
its answer (`accept`), and how a record becomes the value that `await` returns (`decode`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, Self

import msgspec
from msgspec import Struct

from legato.errors import Misuse
from legato.model.events import (
    AnyEvent,
    ButtonPressed,
    Event,
    Signal,
)
from legato.model.records import Wait
from legato.model.values import from_stored

NOT_MINE = "not mine"
ACCEPTED = "accepted"
REJECTED = "rejected"


class Answer(Struct, frozen=True):
    """What an operation says to an event: NOT_MINE; ACCEPTED with a stored value; or REJECTED
    with the reason (shown to the user unless the dialog gave a `retry` text).
    """

    verdict: str
    value: object = None
    reason: str = ""


NO = Answer(NOT_MINE)


class Op:
    """Base of all operations.

    Attributes:
        kind, name: What the journal matches besides the path.
        timeout_s: Own deadline in seconds, None = none (then the dialog's idle limit binds those
            that wait for a person).
        person: Whether it waits for a person, so that the idle limit binds.
    """

    __slots__ = ("_yielded", "name", "timeout_s")

    kind = ""
    person = False

    def __init__(self, name: str, timeout_s: float | None = None) -> None:
        self.name: str = name
        self.timeout_s: float | None = timeout_s

    # `await operation` suspends the dialog: the driver is given the operation, and answers with its
    # result. By hand and not as a generator, since one stands in each conversation in memory.

    def __await__(self) -> Any:
        self._yielded = False
        return self

    def __next__(self) -> Self:
        if self._yielded:
            raise StopIteration  # the result is None
        self._yielded = True
        return self

    def send(self, result: object) -> NoReturn:
        """Ends the `await` with a result; the interpreter calls it."""
        raise StopIteration(result)

    def wait(self, path: str) -> Wait:
        """What the router may know about this wait (deadlines are filled in by the driver)."""
        return Wait(path=path, kind=self.kind, name=self.name)

    def accept(self, event: AnyEvent) -> Answer:
        """Whether `event` ends this wait. Pure."""
        return NO

    def decode(self, value: object) -> object:
        """What `await` returns for a recorded value; a fresh object each time."""
        return from_stored(value)


class Receive(Op):
    """The next event of some kinds, as it is."""

    __slots__ = ("events", "pattern", "user")

    kind = "receive"
    person = True

    def __init__(
        self,
        name: str,
        events: tuple[str, ...],
        *,
        timeout_s: float | None = None,
        user: str = "",
        pattern: str = "",
    ) -> None:
        super().__init__(name, timeout_s)
        if pattern:
            re.compile(pattern)  # a bad one is an error at its line, not with the next message
        self.events: tuple[str, ...] = events
        self.user: str = user
        self.pattern: str = pattern

    def wait(self, path: str) -> Wait:
        return Wait(
            path=path,
            kind=self.kind,
            name=self.name,
            events=self.events,
            user=self.user,
            pattern=self.pattern,
        )

    def accept(self, event: AnyEvent) -> Answer:
        if event_tag(event) not in self.events or (self.user and event.place.user != self.user):
            return NO
        if self.pattern and not re.search(self.pattern, getattr(event, "text", "")):
            return NO
        return Answer(ACCEPTED, msgspec.to_builtins(event))

    def decode(self, value: object) -> object:
        return msgspec.convert(value, type=AnyEvent)


class Sleep(Op):
    """Nothing but time ends it."""

    __slots__ = ()

    kind = "sleep"

    def __init__(self, seconds: float, name: str = "") -> None:
        super().__init__(name, seconds)


class WaitFor(Op):
    """A signal from outside, typed."""

    __slots__ = ("signal", "type")

    kind = "signal"

    def __init__(self, signal: str, type_: Any, name: str, timeout_s: float | None) -> None:
        super().__init__(name, timeout_s)
        self.signal: str = signal
        self.type: Any = type_

    def wait(self, path: str) -> Wait:
        return Wait(
            path=path, kind=self.kind, name=self.name, events=("signal",), signal=self.signal
        )

    def accept(self, event: AnyEvent) -> Answer:
        if not isinstance(event, Signal) or event.name != self.signal:
            return NO
        try:
            self.decode(event.value)
        except (msgspec.ValidationError, TypeError) as error:
            return Answer(REJECTED, reason=f"signal {self.signal!r} is not {self.type}: {error}")
        return Answer(ACCEPTED, event.value)

    def decode(self, value: object) -> object:
        payload = from_stored(value)
        if self.type is None or (isinstance(self.type, type) and isinstance(payload, self.type)):
            return payload
        return msgspec.convert(payload, type=self.type)


class Effect(Op):
    """Base of what the Turn itself carries out: it waits for nobody."""

    __slots__ = ()


class Step(Effect):
    """A function with a side effect, run by the Turn and journaled."""

    __slots__ = ("args", "at_most_once", "fn", "kwargs", "retries")

    kind = "step"

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        retries: int = 0,
        at_most_once: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(name, timeout_s)
        self.fn: Callable[..., Any] = fn
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.retries: int = retries
        self.at_most_once: bool = at_most_once


class Tx(Effect):
    """A function that runs inside the very transaction that journals its result."""

    __slots__ = ("args", "fn", "kwargs")

    kind = "tx"

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(name, timeout_s)
        self.fn: Callable[..., Any] = fn
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs


class PlatformCall(Effect):
    """A call of the platform's own API whose answer the dialog wants."""

    __slots__ = ("method", "params")

    kind = "call"

    def __init__(self, platform: str, method: str, params: dict[str, Any], key: str = "") -> None:
        super().__init__(key or f"{platform}.{method}")
        self.method: str = method
        self.params: dict[str, Any] = params


class Fork(Op):
    """Several branches at once. `mode` is "gather" (all), "first" or "race" (the first to end)."""

    __slots__ = ("branches",)

    def __init__(self, mode: str, branches: Sequence[Coroutine[Any, Any, Any]]) -> None:
        super().__init__(mode)
        self.branches: Sequence[Coroutine[Any, Any, Any]] = branches

    kind = "fork"


class Goto(Op):
    """Ends the epoch: the conversation goes on as `dialog(**state)` with an empty journal."""

    __slots__ = ("dialog", "state")

    kind = "goto"

    def __init__(self, dialog: Callable[..., Any] | str, state: dict[str, Any]) -> None:
        super().__init__("")
        self.dialog: Callable[..., Any] | str = dialog
        self.state: dict[str, Any] = state


def event_tag(event: AnyEvent) -> str:
    """The wire tag of an event: "message", "button" ..."""
    tag = event.__struct_config__.tag
    return tag if isinstance(tag, str) else ""


def event_tag_of(kind: type[Event]) -> str:
    """The wire tag of an event class.

    Raises:
        Misuse: It is no event class.
    """
    tag = kind.__struct_config__.tag if isinstance(kind, type) and issubclass(kind, Event) else None
    if not isinstance(tag, str):
        raise Misuse(f"kinds are event classes such as MessageReceived, not {kind!r:.60}")
    return tag


def could_match(wait: Wait, event: AnyEvent) -> bool:
    """Whether `event` may end the stored wait: the router's question, asked without the code."""
    if event_tag(event) not in wait.events:
        return False
    if wait.user and event.place.user != wait.user:
        return False
    if isinstance(event, Signal):
        return event.name == wait.signal
    if isinstance(event, ButtonPressed):
        return not wait.buttons or event.data in wait.buttons
    return not wait.pattern or re.search(wait.pattern, getattr(event, "text", "")) is not None
