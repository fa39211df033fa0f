"""What the driver keeps about a dialog: its branches, forks, pending operations, and its end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from legato.engine.commands import Effect, Fork, Op
from legato.errors import Cancelled, Misuse, Timeout, TooManyAttempts, UserGone
from legato.model.messages import Outgoing
from legato.model.records import Wait


class Returned(Struct, frozen=True):
    """The dialog returned."""

    value: Any


QUIET = (Timeout, TooManyAttempts, UserGone, Cancelled)
"""Uncaught, these end a dialog in peace."""


class Raised(Struct, frozen=True):
    """The dialog raised."""

    error: BaseException

    @property
    def bug(self) -> bool:
        """Whether that is a failure, and not one way to end."""
        return not isinstance(self.error, QUIET)


class Went(Struct, frozen=True):
    """The dialog went to another one."""

    dialog: Callable[..., Any] | str
    state: dict[str, Any]


class Said:
    """One thing that goes out. `handle` is a weak reference, or None: if nobody holds the handle
    at the commit, nobody can ever ask for the message's id.
    """

    __slots__ = ("epoch", "handle", "out", "ref")

    def __init__(self, ref: str, out: Outgoing, handle: Callable[[], Any] | None) -> None:
        self.epoch: int = 0  # whose refs these are; 0 = that of the segment it is committed with
        self.ref: str = ref
        self.out: Outgoing = out
        self.handle: Callable[[], Any] | None = handle

    @property
    def wanted(self) -> bool:
        return self.handle is not None and self.handle() is not None


class Branch:
    """One strand of the dialog: the main one, or a branch of a fork."""

    __slots__ = (
        "blocked",
        "coro",
        "counter",
        "draws",
        "fork",
        "index",
        "parent",
        "prefix",
        "said",
        "scopes",
        "typing",
    )

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        prefix: str = "",
        parent: Forked | None = None,
        index: int = 0,
        scopes: tuple[Any, ...] = (),
    ) -> None:
        self.coro: Coroutine[Any, Any, Any] = coro
        self.prefix: str = prefix
        self.parent: Forked | None = parent
        self.index: int = index
        self.scopes: tuple[Any, ...] = scopes  # chat.timeout() scopes open here, outermost first
        self.counter: int = 0
        self.said: int = 0  # messages since this branch's last operation
        self.draws: int = 0  # chat.random and chat.uuid() since then
        self.typing: int = 0  # chat.typing() blocks open here
        self.blocked: str = ""  # path of the operation it waits for, "" while it runs or is over
        self.fork: Forked | None = None  # set while it waits for its own branches

    @property
    def types(self) -> bool:
        """Whether the typing sign is to be shown while this branch has something carried out."""
        branch = self
        while not branch.typing and branch.parent is not None:
            branch = branch.parent.owner
        return branch.typing > 0


class Forked:
    """A fork in progress. Invariant: `left` branches are not over yet."""

    __slots__ = ("branches", "left", "mode", "owner", "results")

    def __init__(self, owner: Branch, mode: str) -> None:
        self.owner: Branch = owner
        self.mode: str = mode
        self.branches: list[Branch] = []
        self.results: list[Any] = []
        self.left: int = 0


class Pending:
    """An operation that a branch waits for.

    Args:
        branch, op, path: Which.
        since_ms: When it began to wait.
        idle_s: Limit of waits for a person that have none of their own.
    """

    __slots__ = ("_idle_s", "_since_ms", "_wait", "branch", "op", "path")

    def __init__(
        self, branch: Branch, op: Op, path: str, since_ms: int, idle_s: float | None
    ) -> None:
        self.branch: Branch = branch
        self.op: Op = op
        self.path: str = path
        self._since_ms = since_ms
        self._idle_s = idle_s
        self._wait: Wait | None = None

    @property
    def wait(self) -> Wait:
        """What is stored of it; made when it is first asked for, since a replay passes most by."""
        if self._wait is None:
            self._wait = self._with_times()
        return self._wait

    @wait.setter
    def wait(self, wait: Wait) -> None:
        self._wait = wait

    def _with_times(self) -> Wait:
        op, since_ms = self.op, self._since_ms
        wait = op.wait(self.path)
        if isinstance(op, Effect):
            return wait
        seconds = op.timeout_s
        if seconds is None and op.person:
            seconds = self._idle_s
        deadline = 0 if seconds is None else since_ms + max(0, round(seconds * 1000))
        scope = -1
        for index, opened in enumerate(self.branch.scopes):
            if not deadline or opened.deadline_ms < deadline:
                deadline, scope = opened.deadline_ms, index
        remind_s = getattr(op, "remind_s", None)
        remind = 0 if remind_s is None else since_ms + round(remind_s * 1000)
        if not deadline and not remind:
            return wait
        return Wait(
            wait.path, wait.kind, wait.name, wait.events, wait.user, wait.signal, wait.buttons,
            wait.pattern, deadline, scope, remind, wait.attempts,
        )  # fmt: skip


def unfit(fork: Fork) -> Misuse | None:
    """Why these branches cannot run side by side, if so."""
    call = f"chat.{fork.name}()"
    if not fork.branches and fork.name != "gather":
        return Misuse(f"{call} needs at least one coroutine to wait for")
    seen: list[Any] = []
    coro: Any
    for coro in fork.branches:
        if not hasattr(coro, "cr_frame"):
            return Misuse(f"{call} takes coroutines such as chat.ask(...), not {coro!r:.60}")
        if coro.cr_frame is None or coro.cr_suspended or any(coro is other for other in seen):
            return Misuse(
                f"{call} was given one coroutine twice, or one that ran before: make a new one for "
                "each branch by calling its function again"
            )
        seen.append(coro)
    return None


def where(coro: Any) -> str:
    """file:line of the innermost frame of the user's code in a suspended coroutine."""
    place = ""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None)
        if frame is not None and not frame.f_globals.get("__name__", "").startswith("legato."):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        coro = getattr(coro, "cr_await", None)
    return place
