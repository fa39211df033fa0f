"""The driver: runs one dialog's coroutine by `send`, feeds it records, and collects what it says.

Sans-IO: it knows no store, platform, clock or event loop. Live and replay go the same way: a
result becomes a Record first, and only a fed Record lets the dialog go on. So a dialog cannot
tell a replay from the first run.

    driver.start(...)            runs until every branch waits (or the dialog ends)
    driver.pending               what it waits for, by path
    driver.feed(record)          delivers one result; runs on until all wait again
    driver.done                  Returned | Raised | Went once the dialog is over

asyncgen hooks and the guard (engine/guard.py) are set around each slice; a replay is one slice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from legato.engine import guard
from legato.engine.branches import (
    Branch,
    Forked,
    Pending,
    Raised,
    Returned,
    Said,
    Went,
    unfit,
    where,
)
from legato.engine.commands import Fork, Goto, Op
from legato.errors import (
    Cancelled,
    ControlFlow,
    Evict,
    ForeignAwait,
    Left,
    Mismatch,
    ScopeTimeout,
)
from legato.model.messages import Outgoing
from legato.model.records import Record
from legato.model.values import decode_error

MOST_THROWS = 50
"""A frame that still lives after so many Evicts is pinned and never touched again."""

ZOMBIES: list[Any] = []
"""Frames that refused to die. Their number is worth an alert."""

INTERRUPT = "!"
SCOPE_ERROR = "~scope"
"""Name under which a ScopeTimeout is journaled: its only argument is the scope's index."""


class Driver:
    """Drives one dialog. Holds the only strong reference to its coroutine."""

    __slots__ = (
        "__weakref__",
        "_ready",
        "begun",
        "context",
        "current",
        "done",
        "evicting",
        "evicts",
        "idle_s",
        "now_ms",
        "outputs",
        "pending",
        "replaying",
        "root",
        "said",
        "skip",
    )

    def __init__(self, idle_s: float | None = None) -> None:
        self.pending: dict[str, Pending] = {}
        self.outputs: tuple[Said, ...] = ()
        self.done: Returned | Raised | Went | None = None
        self.now_ms: int = 0
        self.idle_s: float | None = idle_s
        self.said: int = 0  # things said since the last record
        self.skip: int = 0  # how many of the next ones are already committed
        self.replaying: bool = False
        self.evicting: bool = False
        self.evicts: int = 0  # times that chat.* refused work while it leaves memory
        self.begun: bool = False  # root and current are there from `start` on
        self.context: Context = Context()
        # Tuples, here and above: they are short, and cost nothing while the dialog waits.
        self._ready: tuple[tuple[Branch, Any, BaseException | None], ...] = ()

    # -- driving --------------------------------------------------------------------------------

    def start(self, coro: Coroutine[Any, Any, Any], now_ms: int, skip: int = 0) -> None:
        """Begins. `skip`: that many things said were committed before and go nowhere."""
        self.begun = True
        self.root: Branch = Branch(coro)
        self.current: Branch = self.root
        self.now_ms = now_ms
        self.skip = skip
        self._ready += ((self.root, None, None),)
        self._run()

    def feed(self, record: Record, skip: int = 0) -> None:
        """Delivers one record and runs on.

        Raises:
            Mismatch: The code does not wait for this record.
        """
        self.said = 0
        self.skip = skip
        if record.kind == INTERRUPT:
            self._interrupt(record)
        else:
            self._deliver(record)
        self._run()

    def _deliver(self, record: Record) -> None:
        pending = self.pending.get(record.path)
        if pending is None or pending.op.kind != record.kind or pending.op.name != record.name:
            raise self.mismatch(record.path, f"{record.kind} {record.name}", pending)
        del self.pending[record.path]
        self.now_ms = record.at_ms
        branch = pending.branch
        branch.blocked = ""
        branch.said = branch.draws = 0
        if record.error is not None:
            self._ready += ((branch, None, self._error(record, branch)),)
        else:
            self._ready += ((branch, pending.op.decode(record.value), None),)

    def _error(self, record: Record, branch: Branch) -> BaseException:
        assert record.error is not None
        if record.error[0] == SCOPE_ERROR:
            index = record.error[1][0]
            if not isinstance(index, int) or index >= len(branch.scopes):
                raise self.mismatch(record.path, f"chat.timeout number {index}", None)
            return ScopeTimeout(branch.scopes[index])
        return decode_error(record.error)

    def _interrupt(self, record: Record) -> None:
        """Throws into the main branch, its own branches being cancelled first."""
        root = self.root
        if root.blocked != record.path or record.error is None:
            raise self.mismatch(record.path, f"{record.kind} {record.name}", None)
        self.now_ms = record.at_ms
        error = decode_error(record.error)
        if root.fork is not None:
            self._cancel_branches(root.fork, reason=getattr(error, "reason", "gone"))
            root.fork = None
        self.pending.pop(record.path, None)
        root.blocked = ""
        root.said = root.draws = 0
        self._ready += ((root, None, error),)

    def mismatch(self, path: str, recorded: str, pending: Pending | None) -> Mismatch:
        """A Mismatch that says what the code does at `path` (or instead of it)."""
        found = pending or self.pending.get(path) or next(iter(self.pending.values()), None)
        if found is None:
            return Mismatch(path, recorded, "end of the dialog")
        actual = f"{found.op.kind} {found.op.name}"
        if found.path != path:
            actual += f" (operation {found.path})"
        return Mismatch(path, recorded, actual, where(found.branch.coro))

    def _run(self) -> None:
        """Runs every ready branch until all wait."""
        if guard.ACTIVE.driver is self:
            self._run_ready()
        else:
            self.slice(self._run_ready)

    def slice(self, work: Callable[[], None]) -> None:
        """Does `work`, in which the dialog runs (perhaps many times), as one guarded slice."""
        before = guard.enter(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=_close_generator)
        try:
            work()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            guard.leave(before)

    def _run_ready(self) -> None:
        while self._ready and self.done is None:
            first, self._ready = self._ready[0], self._ready[1:]
            self._advance(*first)
        if self.done is not None:
            self._ready = ()

    def _advance(self, branch: Branch, value: Any, error: BaseException | None) -> None:
        """Runs one branch until it waits or is over."""
        fork = branch.parent
        if fork is not None and fork.owner.fork is not fork:
            return None  # its fork was decided or cancelled meanwhile, and it is unwound
        run, coro = self.context.run, branch.coro
        while True:
            self.current = branch
            try:
                got = run(coro.send, value) if error is None else run(coro.throw, error)
            except StopIteration as stop:
                return self._finish(branch, stop.value)
            except BaseException as raised:  # noqa: BLE001  # the outcome of the dialog
                return self._fail(branch, raised)
            value = error = None
            if isinstance(got, Op):
                error = self._suspend(branch, got)
                if error is None:
                    return None
            else:  # something foreign was awaited: answer at the very line
                error = ForeignAwait(f"a dialog awaited {got!r:.80}. {guard.CURE}")

    def _suspend(self, branch: Branch, op: Op) -> BaseException | None:
        """Notes what the branch waits for. An error returned is thrown at the user's line."""
        path = f"{branch.prefix}{branch.counter}"
        branch.counter += 1
        if isinstance(op, Goto):
            self.done = Went(op.dialog, op.state)
            self._unwind(self.root, Left())
            return None
        branch.blocked = path
        if isinstance(op, Fork):
            return self._fork(branch, op, path)
        self.pending[path] = Pending(branch, op, path, self.now_ms, self.idle_s)
        return None

    # -- forks ----------------------------------------------------------------------------------

    def _fork(self, branch: Branch, op: Fork, path: str) -> BaseException | None:
        refused = unfit(op)
        if refused is not None:
            return refused
        fork = branch.fork = Forked(branch, op.name)
        fork.left = len(op.branches)
        fork.results = [None] * fork.left
        fork.branches = [
            Branch(coro, f"{path}.{index}.", fork, index, branch.scopes)
            for index, coro in enumerate(op.branches)
        ]
        if not fork.branches:
            self._join(fork, [])
        for child in fork.branches:
            self._ready += ((child, None, None),)
        return None

    def _join(self, fork: Forked, value: Any, error: BaseException | None = None) -> None:
        """The fork is over: its owner goes on."""
        owner = fork.owner
        owner.fork = None
        owner.blocked = ""
        self._ready += ((owner, value, error),)

    def _finish(self, branch: Branch, value: Any) -> None:
        fork = branch.parent
        if fork is None:
            self.done = Returned(value)
            return
        fork.left -= 1
        fork.results[branch.index] = value
        if fork.mode == "gather":
            if not fork.left:
                self._join(fork, fork.results)
            return
        self._cancel_branches(fork, but=branch)
        self._join(fork, value if fork.mode == "first" else (branch.index, value))

    def _fail(self, branch: Branch, error: BaseException) -> None:
        fork = branch.parent
        if fork is None:
            self.done = Raised(error)
        else:
            self._cancel_branches(fork, but=branch)
            self._join(fork, None, error)

    def _cancel_branches(
        self, fork: Forked, but: Branch | None = None, reason: str = "race"
    ) -> None:
        """Raises Cancelled in the branches that are still there; they may say goodbye."""
        self._ready = tuple(item for item in self._ready if item[0] not in fork.branches)
        for child in fork.branches:
            if child is not but:
                self._unwind(child, Cancelled(reason))

    # -- leaving --------------------------------------------------------------------------------

    def _unwind(self, branch: Branch, error: ControlFlow) -> None:
        """Throws `error` until the branch (its own branches first) is over."""
        if branch.fork is not None:
            for child in branch.fork.branches:
                self._unwind(child, error)
            branch.fork = None
        self.pending.pop(branch.blocked, None)
        branch.blocked = ""
        self.current = branch
        coro: Any = branch.coro
        if not coro.cr_suspended:
            coro.close()  # over already, or never started: nothing to unwind
            return
        for _ in range(MOST_THROWS):
            try:
                self.context.run(coro.throw, error)
            except BaseException:  # noqa: BLE001  # over, by whatever way: its value is not wanted
                return
        ZOMBIES.append(coro)

    def evict(self) -> None:
        """Lets the coroutine leave memory: unwinds it with every chat.* refusing work. The
        conversation is not touched; this driver is of no use afterwards.
        """
        if self.done is not None or not self.begun:
            return
        self.evicting = self.replaying = True
        before = guard.enter(self)
        try:
            self._unwind(self.root, Evict())
        finally:
            guard.leave(before)
        self.pending.clear()
        self.outputs = ()

    # -- for the chat handle --------------------------------------------------------------------

    def refuses(self) -> bool:
        """Whether chat.* raises Evict once more. A dialog that swallows everything in a loop would
        never come back to us: after enough of them it may suspend, and `_unwind` gives it up.
        """
        self.evicts += 1
        return self.evicts <= MOST_THROWS

    @property
    def position(self) -> str:
        """Where the running branch stands: the path its next operation will have."""
        return f"{self.current.prefix}{self.current.counter}"

    def pass_over(self, count: int) -> None:
        """As `say` so many times, of things that were committed before and need not be made."""
        self.current.said += count
        self.said += count

    def say(self, out: Outgoing, handle: Callable[[], Any] | None = None) -> str:
        """Puts something into the outbox, unless it is there from before; returns its ref.

        "ref:<path of the next operation>:<n>". Not in the matched sequence: a `say` can be added
        or removed under a running conversation.
        """
        branch = self.current
        ref = f"ref:{branch.prefix}{branch.counter}:{branch.said}"
        branch.said += 1
        self.said += 1
        if self.skip > 0:
            self.skip -= 1
        else:
            self.outputs += (Said(ref, out, handle),)
        return ref


ALL = sys.maxsize
"""`skip=ALL`: a replay, in which everything said was committed before."""


def _close_generator(agen: Any) -> None:
    """An async generator left by `break`: close it here and now, not in a task of the loop."""
    try:
        agen.aclose().send(None)
    except (StopIteration, RuntimeError):
        return


__all__ = ["ALL", "Driver", "Pending", "Raised", "Returned", "Said", "Went", "where"]
