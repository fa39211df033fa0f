"""One App in one process of a function service: requests and touches in, answers out.

Within an invocation the Turn runs, is committed and delivered; the last message rides in the response.
Nothing is left to run afterwards, since the machine stands still until the next invocation. Timers fire at
any touch: a scheduler that invokes the function every minute keeps them near their time.

This file is on the way of a cold start: what only some invocations need is imported by them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import Token
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from legato.abc import Clock, HttpRequest, HttpResponse, Platform
from legato.app.alarm import ALL as ALL_DUE
from legato.deploy.clock import SystemClock
from legato.deploy.function.answers import answer, later
from legato.deploy.function.closing import Closing, discarded
from legato.deploy.function.invocation import CANCEL_S, CLOSE_S, CutOff, Invocation, Strays
from legato.deploy.function.start import (
    Parts,
    fleeting,
    leftover,
    make,
    opened,
    resume,
    taken_over,
)
from legato.deploy.function.waiting import Waiting
from legato.deploy.signature import check_request, may_reply
from legato.errors import ConfigError, Forged, StoreError, StoreUnavailable, Unavailable
from legato.model.shards import ALL_SLOTS
from legato.outbox.backlog import is_broadcast

if TYPE_CHECKING:
    from legato.app.app import App
    from legato.app.runtime import Runtime
    from legato.deploy.function.builds import Builds
    from legato.deploy.function.queueing import Queues
    from legato.engine.outcomes import Handed, Outcome
    from legato.model.records import OutboxItem

T = TypeVar("T")

BODY_LIMIT = 1_000_000
PURGE_EVERY_MS = 3_600_000
OTHERS_S = 2.0
SOME = 20
"""Conversations woken while somebody waits for an answer: a crowd's timers are for the scheduler's tick."""
AT_ONCE = 100
"""Conversations that are being woken."""
LAST_ID = 2**63 - 1

log: logging.Logger = logging.getLogger("legato.function")


class Function:
    """One App in one process of a function service.

    Everything is made at the first invocation, when all dialogs are there, and kept for the next: one
    event loop, and clients that are made within it.

    Args:
        app: The bot.
        flags: Settings that go before the environment.

    Attributes:
        clock, invocation: What time it is, and how much is left.
        waiting: Requests that wait until this process has come to the end of an invocation.
        build: Number of this version of the function, whose conversations other versions know by it; 0 = none.
    """

    def __init__(self, app: App, flags: Mapping[str, str]) -> None:
        self.clock: Clock = SystemClock()
        self.invocation: Invocation = Invocation(self.clock)
        self._app = app
        self._flags = flags
        self._strays = Strays()
        self._closing = Closing()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        self._resumed = self._warned = False
        self._parts: Parts | None = None
        self._left: set[int] = set()  # what earlier invocations could not deliver
        self._purged_ms = 0
        self.waiting: Waiting = Waiting()
        self.build: int = 0
        self._builds: Builds | None = None

    # -- entries ----------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop of this process, from a handler that is no coroutine itself.

        Raises:
            ConfigError, StoreError: It cannot run like this. The message says what to do; our own lines, which the
                service would print around it, are left out.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            return self._loop.run_until_complete(work)
        except (ConfigError, StoreError) as error:
            log.debug("it came from here", exc_info=error)
            raise error.with_traceback(None) from None

    async def request(self, request: HttpRequest, budget_s: float) -> HttpResponse:
        """Answers one HTTP request within so many seconds.

        Raises:
            ConfigError, StoreError: It cannot run like this.
        """
        try:
            async with self.invoked(budget_s, takes_in=True) as runtime:
                return await self._answer(runtime, request)
        except Unavailable as error:
            return later(str(error), error.retry_after_s)
        except StoreUnavailable as error:
            return later(str(error), 1)

    async def trusted(self, platform: str, body: bytes, budget_s: float) -> None:
        """Takes an update from a source that the service has authenticated: a trigger of its own.

        Raises:
            ConfigError: This bot is not on that platform.
            Unavailable, StoreError: It is not finished and must come again.
        """
        async with self.invoked(budget_s) as runtime:
            found = self.platform(platform)
            if found is None:
                raise ConfigError(f"an update of {platform} came, and no token of it is set")
            await self.taken(runtime, found, body)

    async def taken(self, runtime: Runtime, platform: Platform, body: bytes) -> None:
        """Works on one update that is authentic, within an invocation. Raises what `trusted` raises."""
        received = await runtime.receive(platform, body)
        if received.duplicate:
            await self._before(runtime, received.lane)
        await self.tick(runtime, SOME)
        await self.delivered(runtime, "")

    def platform(self, name: str) -> Platform | None:
        """The adapter of a platform, within an invocation; None if the bot is not there."""
        return self._parts.platforms.get(name) if self._parts is not None else None

    async def hosts(self, budget_s: float) -> list[str]:
        """The names of the platforms that it serves."""
        if self._runtime is None:
            async with self.invoked(budget_s):
                pass  # the first invocation finds them
        return list(self._parts.platforms) if self._parts is not None else []

    async def touch(self, budget_s: float) -> dict[str, int]:
        """Lets what is due happen: a scheduler's tick, or an operator who tries the function.

        Returns:
            How many conversations were woken, and how many messages could not be delivered yet.
        """
        async with self.invoked(budget_s) as runtime:
            return await self.ticked(runtime)

    async def ticked(self, runtime: Runtime) -> dict[str, int]:
        """The same, within an invocation. While nobody waits for it, it sends what it has of broadcasts as long as it may."""
        broadcasts = await leftover(runtime, self.clock, self.invocation)
        if broadcasts:
            from legato.deploy.function.caring import some_broadcasts

            broadcasts = await some_broadcasts(runtime, self.invocation)
        now_ms = self.clock.now_ms()
        await runtime.leftovers.look(min(OTHERS_S, self.invocation.left_s / 4))
        woken = await self.tick(runtime)
        if self.queues is not None:
            self.invocation.wakes |= await self.queues.ahead(runtime)
        await self.delivered(runtime, "")
        if now_ms - self._purged_ms > PURGE_EVERY_MS:
            self._purged_ms = now_ms
            await self._in_time(runtime.purge())
        if broadcasts:
            from legato.deploy.function.caring import sent_on

            woken += await sent_on(self, runtime)
        return {"woken": woken, "left": runtime.relay.left}

    @asynccontextmanager
    async def invoked(
        self,
        budget_s: float,
        *,
        takes_in: bool = False,
        quiet: bool = False,
        last: Callable[[Queues], Awaitable[None]] | None = None,
    ) -> AsyncIterator[Runtime]:
        """One invocation, for which the function has so many seconds.

        Args:
            budget_s: How many.
            takes_in: It only takes an update in, if updates go into a queue: nothing else is looked for.
            quiet: Nothing else is looked for in any case: another version of the function does that.
            last: Is done at its end, however it ends, if there are queues.
        """
        self.invocation.begin(budget_s)
        token = self._strays.begin()
        turns: Collection[asyncio.Task[Any]] = ()
        cut = False
        try:
            async with self.invocation.limited():
                runtime = self._runtime or await self._start()
                turns = runtime.tasks.running
                quiet = quiet or bool(takes_in and self.queues and self.queues.takes_in)
                if not (self._resumed or quiet):
                    await resume(runtime, self.clock, self.invocation)
                    self._resumed = True
                # A Turn is acknowledged early only if it would outlast the invocation.
                runtime.settings = replace(runtime.settings, ack_after_s=self.invocation.left_s)
                if self._left:
                    await self._take_own(runtime)
                yield runtime
        except CutOff:
            cut = True
            raise
        finally:
            await self._over(token, turns, cut=cut, last=last)

    async def _take_own(self, runtime: Runtime) -> None:
        """What this process has left is for it to send, unless others send what was left at the moment."""
        left = self._left

        def own(item: OutboxItem) -> bool:
            return item.id in left

        if not await taken_over(runtime, self.invocation, own, ended=own):
            self._left = set()

    async def _over(
        self,
        token: Token[bool],
        turns: Collection[asyncio.Task[Any]],
        *,
        cut: bool,
        last: Callable[[Queues], Awaitable[None]] | None,
    ) -> None:
        """Ends an invocation. One that was cut off leaves nothing that it used: who knows in what state it is."""
        runtime = self._runtime
        if turns and runtime is not None:
            runtime.leftovers.look_again()
        await self._strays.end(token, turns, self.invocation.rest_s(CANCEL_S))
        if self.queues is not None:
            await self.queues.alarms(self.invocation.wakes)
            if last is not None:
                await last(self.queues)
        if runtime is None or cut:
            self._discard()
        else:
            self._left |= runtime.relay.waiting_ids()
            runtime.relay.drop(ALL_SLOTS)
            if self.invocation.care is not None:
                from legato.deploy.function import caring

                await caring.over(runtime, self.invocation, self.invocation.care)
        await self._closing.wait(self.invocation.rest_s(CLOSE_S))

    def _discard(self) -> None:
        """The next invocation begins anew."""
        parts, self._parts, self._runtime, self._resumed = self._parts, None, None, False
        self._left.clear()
        if parts is not None:
            self._closing.add(discarded(parts.runtime))

    async def stopped(self) -> None:
        """Ends it in order, as tests and servers do; a function service just stops the process."""
        runtime, self._runtime, self._parts, self._resumed = self._runtime, None, None, False
        self._strays.close()
        if runtime is not None:
            await runtime.stop(1.0)
            await runtime.http.close()
        await self._closing.end()
        gc.unfreeze()

    def close(self) -> None:
        """The same from outside of its loop."""
        if self._loop is not None:
            self.run(self.stopped())
            self._loop.close()
        self._loop = None

    async def _start(self) -> Runtime:
        elsewhere = self._elsewhere if (build := self.build) else None
        parts = (self._app, self._flags, self.clock, self.invocation)
        self._parts = make(*parts, build=build, elsewhere=elsewhere)
        if not self._warned and (warning := fleeting(self._parts.settings)):
            log.warning(warning)
        self._warned = True
        self._runtime = await opened(self._parts)
        # What is there now stays as long as the process: the collector need not look at it again.
        gc.freeze()
        return self._runtime

    async def _elsewhere(self, build: int, work: Handed) -> Outcome | None:
        from legato.deploy.function.builds import Builds

        assert self._parts is not None
        if self._builds is None:
            self._builds = Builds(self.clock, self.invocation)
        return await self._builds.hand(self._parts.runtime, build, work)

    @property
    def queues(self) -> Queues | None:
        """Those that are set, once it has started."""
        return self._parts.queues if self._parts is not None else None

    # -- one update -------------------------------------------------------------------------------

    async def _answer(self, runtime: Runtime, request: HttpRequest) -> HttpResponse:
        # A gateway may serve us below a path of its own: "/prod/telegram", "/api/telegram".
        name = request.url.partition("?")[0].rpartition("/")[2]
        platform = self.platform(name)
        if platform is None:
            return answer(404, "not found")
        if request.method != "POST":
            return answer(405, "POST only", allow="POST")
        if len(request.body) > BODY_LIMIT:
            return answer(413, "too large")
        try:
            return await self._update(runtime, platform, request)
        except Forged as error:
            log.warning("a request to %s was refused: %s", request.url, error)
            return answer(401, "unauthorized")
        except StoreError as error:
            return later(str(error), 1)

    async def _update(
        self, runtime: Runtime, platform: Platform, request: HttpRequest
    ) -> HttpResponse:
        assert self._parts is not None
        check_request(platform, request, self._parts.settings.key, self.clock)
        if self.queues is not None and self.queues.takes_in:
            return await self.queues.put(runtime, platform, request.body)
        answers = may_reply(request.headers)
        received = await runtime.receive(platform, request.body, may_reply=answers)
        if received.release is not None:
            received.release()  # the others go first: only then is it answered
        elif received.duplicate:
            # A repeated update: whoever had it first may have died before the others were sent, or is at it.
            await self._before(runtime, received.lane)
        await self.tick(runtime, SOME)
        await self.delivered(runtime, received.lane)
        if received.reply is None:
            return HttpResponse(200)
        if not runtime.relay.idle(received.lane):
            # What must stand before the reply is not there: the update comes again, and gets it.
            raise Unavailable("messages before the answer could not be delivered in time")
        return HttpResponse(200, {"content-type": received.reply_type}, received.reply)

    async def _before(self, runtime: Runtime, lane: str) -> None:
        def only(item: OutboxItem) -> bool:
            return item.lane == lane and not is_broadcast(item)  # these go on from tick to tick

        if await taken_over(runtime, self.invocation, only):
            raise Unavailable("another process sends what goes before the answer")

    async def delivered(self, runtime: Runtime, lane: str) -> None:
        """Delivers everything, as far as there is time; what is for `lane` goes before all."""
        if runtime.busy:
            await self._in_time(runtime.drained())
        if lane and not runtime.relay.idle(lane):
            left_s = self.invocation.left_s
            await self._in_time(runtime.relay.delivered(lane, LAST_ID, left_s))
        # A chat that must wait (a limit, a backoff) keeps the other ones no longer than this.
        await runtime.relay.flush(min(OTHERS_S, self.invocation.left_s), give_up=True)

    async def tick(self, runtime: Runtime, most: int = ALL_DUE) -> int:
        """Wakes what is due, if there is time for it: `most` where somebody waits for an answer."""
        invocation = self.invocation
        try:
            async with asyncio.timeout(invocation.left_s):
                return await runtime.tick(most, at_once=AT_ONCE, go_on=invocation.may_begin)
        except TimeoutError:
            return 0

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.wait_for(work, self.invocation.left_s)
        except TimeoutError:
            pass  # whoever needs it looks for itself


__all__ = ["Function"]
