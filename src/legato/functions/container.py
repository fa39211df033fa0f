"""One process of a function.

    starting -> ready -> busy -> frozen -> busy ... -> dead

It is busy from the moment it is given an event until it asks for the next one; then it is stopped, with
all it has started, and stands still until the next event. So it sees time jump and connections die, as
in the clouds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from legato.errors import ConfigError
from legato.functions.config import Function
from legato.functions.limits import Cell, Limits, resident, user_of
from legato.functions.meter import Usage
from legato.functions.outcome import Lost, NotLoaded, Outcome, error_body
from legato.functions.output import Output, Pipe
from legato.functions.peers import Address, is_held, members
from legato.functions.runtime_api import Answered, Died, InitFailed, Next, RuntimeApi, Signal, Work
from legato.functions.zygotes import Zygote, ZygoteDied, base_environment

INIT_S = 10.0
"""A function must be loaded by then, as at AWS; or within its own timeout, if that is longer."""
LOOK_S = 0.1
NODE = Path(__file__).parent / "node" / "bootstrap.mjs"
OFFICIAL = Path("node_modules", "aws-lambda-ric", "bin", "index.mjs")
REGION = "local"

log: logging.Logger = logging.getLogger("legato.functions")


class State(Enum):
    """Where a process stands."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    FROZEN = "frozen"
    DEAD = "dead"


def arn_of(function: Function) -> str:
    """As functions at AWS are named."""
    return f"arn:aws:lambda:{REGION}:000000000000:function:{function.name}"


class Container:
    """One process that serves one request at a time.

    Args:
        function: What it runs.
        number: Unique in this runtime.
        zygote: Forks it.
        limits: Gives it a cell.
        output: Gets what it prints.
        clock_s: So much its clock is wrong.

    Attributes:
        state: See the top of this file.
        since: When it came into this state (monotonic).
        usage: Of the last invocation, once `rest` has returned.
        init_s: How long its start took.
        mark: Of the code that it runs, for whoever compares.
    """

    def __init__(
        self,
        function: Function,
        number: int,
        zygote: Zygote,
        limits: Limits,
        output: Output,
        *,
        clock_s: float = 0.0,
    ) -> None:
        self.function = function
        self.zygote = zygote
        self.name: str = f"{function.name}-{number}"
        self.state: State = State.STARTING
        self.since: float = time.monotonic()
        self.usage: Usage | None = None
        self.init_s: float = 0.0
        self.pid: int = 0
        self.mark: int = 0
        self.gone: asyncio.Event = asyncio.Event()
        self._limits = limits
        self._output = output
        self._clock_s = clock_s
        self._cell = Cell()
        self._api = RuntimeApi(self._told, self._is_its)
        self._pipe = Pipe(output)
        self._signals: asyncio.Queue[Signal] = asyncio.Queue()
        self._pidfd = -1
        self._reaping: asyncio.Task[None] | None = None
        self._work: Work | None = None
        self._given = 0.0
        self._kind = "ok"
        self._over_memory = False
        self._killed = False

    @property
    def api_port(self) -> int:
        """Where it asks for work, on 127.0.0.1."""
        return int(self._api.address.rpartition(":")[2] or 0)

    # -- its start ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns once it asks for work.

        Raises:
            NotLoaded: It ended, or said that it cannot, or took too long. It is closed then.
            ConfigError: It cannot be started like this.
        """
        began = time.monotonic()
        try:
            await self._fork()
            outcome = await self._loaded(max(INIT_S, self.function.timeout_s))
            if outcome is not None:
                raise NotLoaded(outcome, time.monotonic() - began)
        except BaseException:
            await self.close()
            raise
        self.init_s = time.monotonic() - began
        self._enter(State.READY)

    async def _fork(self) -> None:
        self._cell = self._limits.cell(self.name, self.function)
        self._api.open()
        writing = await self._pipe.open()
        try:
            self.pid = await self.zygote.fork(self._job(), writing)
        except ZygoteDied as error:
            body = error_body("Runtime.ForkFailed", "the zygote is gone")
            raise NotLoaded(Outcome("init", body)) from error
        finally:
            os.close(writing)
        self._pidfd = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)
        await self._api.serve()

    def _is_its(self, ours: Address, theirs: Address) -> bool:
        return is_held(ours, theirs, self._members())

    def _members(self) -> Iterator[int]:
        """Its processes; nearly always it is the first that is looked for."""
        yield self.pid
        yield from self._cell.pids() if self._cell.groups else members(self.pid)

    def _job(self) -> dict[str, object]:
        function = self.function
        program = _node(function) if function.runtime == "nodejs" else []
        return {
            "cwd": str(function.folder),
            "handler": function.handler,
            "env": self._environment(),
            "groups": self._cell.groups,
            "rlimits": self._cell.rlimits,
            # Who is not root is that user already.
            "user": user_of(function) if function.user and os.getuid() == 0 else None,
            "exec": program,
            "clock_s": self._clock_s,
        }

    def _environment(self) -> dict[str, str]:
        function = self.function
        return (
            base_environment()
            | {"TZ": ":UTC", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
            | function.env
            | function.secrets
            | {
                "AWS_LAMBDA_RUNTIME_API": self._api.address,
                "AWS_LAMBDA_FUNCTION_NAME": function.name,
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
                "AWS_LAMBDA_LOG_STREAM_NAME": self.name,
                "LAMBDA_TASK_ROOT": str(function.folder),
                "LEGATO_FUNCTIONS": "on",  # a store in a file is no mistake here
                "_HANDLER": function.handler,
            }
        )

    async def _loaded(self, within_s: float) -> Outcome | None:
        """What went wrong with its start, None if it asks for work."""
        failure: bytes | None = None
        try:
            async with asyncio.timeout(within_s):
                while True:
                    match await self._heard():
                        case Next():
                            return None
                        case InitFailed(body):
                            failure = body
                        case Died(status):
                            return Outcome("init", failure or self._death(status))
                        case Answered():
                            continue
        except TimeoutError:
            text = f"Init timed out after {within_s:.2f} seconds"
            return Outcome("init", error_body("Sandbox.Timedout", text))

    # -- an invocation ------------------------------------------------------------------------

    async def invoke(self, work: Work, kill_after_s: float | None = None) -> Outcome:
        """Gives it an event and waits for the answer; `rest` must follow.

        Args:
            work: What it is given.
            kill_after_s: It is killed then, whatever it does: somebody tries what that leads to.

        Raises:
            Lost: It had died before, and has seen nothing of the event: another one may take it.
        """
        self._work, self._kind = work, "ok"
        left_s = self.function.timeout_s
        self._given = time.monotonic()
        loop = asyncio.get_running_loop()
        killer = loop.call_later(kill_after_s, self.kill) if kill_after_s is not None else None
        try:
            if self._reaping is not None or _is_readable(self._pidfd):
                raise ConnectionError("it has died, and the loop has not come to that yet")
            self._api.give(work)
            self.thaw()  # it finds the event when it wakes
            self._enter(State.BUSY)
            async with asyncio.timeout(left_s):
                while True:
                    match await self._heard():
                        case Answered(id, body, failed, kind) if id == work.id:
                            return self._outcome("error" if failed else "ok", body, kind)
                        case Died(status):
                            return self._outcome("crash", self._death(status))
                        case _:
                            continue
        except TimeoutError:
            self.kill()
            text = f"{work.id} Task timed out after {left_s:.2f} seconds"
            return self._outcome("timeout", error_body("Sandbox.Timedout", text))
        except ConnectionError as error:
            self.kill()
            raise Lost from error
        finally:
            if killer is not None:
                killer.cancel()

    async def rest(self) -> bool:
        """Waits until it asks for more, or dies, and lets it stand still; then `usage` is known.

        Returns:
            Whether it can be used again.
        """
        alive = not (self._killed or self._dead) and await self._asks()
        if not alive:
            self.kill()
            await self.gone.wait()
        took_s = time.monotonic() - self._given
        peak = self._cell.peak_bytes(self.pid)
        self.usage = Usage(took_s=took_s, kind=self._kind, peak_bytes=peak, work=self._work)
        if alive:
            self.freeze()
        return alive

    async def _asks(self) -> bool:
        left_s = self._given + self.function.timeout_s - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                while True:
                    match await self._heard():
                        case Next():
                            return True
                        case Died():
                            return False
                        case _:
                            continue
        except TimeoutError:
            return False

    async def _heard(self) -> Signal:
        """The next that it says. Where the kernel does not limit memory, we look."""
        if self._cell.groups:
            return await self._signals.get()
        limit = self.function.memory_mb * 1024 * 1024
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    return await self._signals.get()
            except TimeoutError:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise
                if resident(self.pid) > limit:
                    self._over_memory = True
                    self.kill()

    def _outcome(self, kind: str, body: bytes, streamed: str = "") -> Outcome:
        self._kind = kind
        return Outcome(kind, body, streamed)

    def _death(self, status: int) -> bytes:
        if self._over_memory or self._cell.out_of_memory():
            text = f"it needed more than {self.function.memory_mb} MB (memory_mb of function.toml)"
            return error_body("Runtime.OutOfMemory", text)
        code = os.waitstatus_to_exitcode(status)
        how = f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return error_body("Runtime.ExitError", f"Runtime exited: {how}")

    # -- standing still -----------------------------------------------------------------------

    def freeze(self) -> None:
        """Stops it, with all that it has started."""
        self._cell.freeze(self.pid)
        self._enter(State.FROZEN)

    def thaw(self) -> None:
        """Lets it go on."""
        if self.state is State.FROZEN:
            self._cell.thaw(self.pid)

    # -- its end ------------------------------------------------------------------------------

    @property
    def _dead(self) -> bool:
        return self.gone.is_set()

    def kill(self) -> None:
        """Ends it at once. Idempotent."""
        self._killed = True
        if self.pid and self._reaping is None:  # else its number may be somebody else's by now
            self._cell.kill(self.pid)

    async def close(self) -> None:
        """Ends it and takes everything away that was made for it. Idempotent."""
        self.kill()
        if self._pidfd >= 0:
            await self.gone.wait()
        if self._reaping is not None:
            await self._reaping
        await self._api.close()
        await self._pipe.close()
        await self._cell.remove()
        self._enter(State.DEAD)

    def _ended(self) -> None:
        """The kernel says that the process is no more."""
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._reaping = asyncio.create_task(self._reap())

    async def _reap(self) -> None:
        self._cell.kill(self.pid)  # whom it left behind
        await self._cell.emptied()
        status = await self.zygote.reap(self.pid)
        self.gone.set()
        self._signals.put_nowait(Died(status))

    def _told(self, what: Signal) -> None:
        self._signals.put_nowait(what)

    def _enter(self, state: State) -> None:
        self.state, self.since = state, time.monotonic()


def _is_readable(descriptor: int) -> bool:
    """A pidfd is once its process has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _node(function: Function) -> list[str]:
    """The command of a Node.js function: AWS's client if the function brings it, else ours."""
    found = shutil.which("node")
    if found is None:
        raise ConfigError("there is no node on this machine: install Node.js 18 or newer")
    official = function.folder / OFFICIAL
    return [found, str(official), function.handler] if official.is_file() else [found, str(NODE)]


__all__ = ["REGION", "Container", "State", "arn_of"]
