"""Processes that die (or freeze) at a chosen point, and a platform that outlives them.

Points are before and after every write to the store, before and after every send, and around the answer to a
webhook request. What a dead process does later has no effect.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from legato import App
from legato.abc import HttpClient, HttpRequest, Parsed, Platform, Store, Verdict
from legato.app.runtime import Runtime, RuntimeSettings
from legato.model.events import Address, Event, User
from legato.model.messages import Outgoing
from legato.model.records import (
    COMMITTED,
    SENT,
    Call,
    Commit,
    Committed,
    Conversation,
    Loaded,
    Mail,
    OutboxItem,
    Settled,
)
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.crash import Crash
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from tests.property.crash_terms import Liar, Till, pointed, told
from tests.unit.app.kit import message, pressed

MOST_DEATHS = 50
PLACE = Address("test", "bot", "1", "1")
KEY = "test:bot:1:1:"


class PointStore(Store):
    """One process's sight of the store."""

    def __init__(self, process: Process, inner: Store, liar: Liar) -> None:
        self.process = process
        self.inner = inner
        self.liar = liar

    @property
    def mail_at_once(self) -> int:
        return self.inner.mail_at_once

    async def open(self) -> None:
        await self.process.alive()
        await self.inner.open()

    async def close(self) -> None:
        """The store outlives its processes."""

    async def commit(self, commit: Commit) -> Committed:
        await self.process.point("commit")
        world = self.process.world
        if self.liar.fence and commit.key:
            loaded = await self.inner.load(commit.key)
            row = None if loaded is None else loaded.conversation
            expect = None if row is None else (row.epoch, row.head)
            commit = msgspec.structs.replace(commit, expect=expect)
        if self.liar.dedupe:
            commit = msgspec.structs.replace(commit, update_id="")
        if not world.freezes:  # of a frozen process, a server ends the transaction by itself
            commit = pointed(commit, self.process.point)
        done = await self.inner.commit(commit)
        if done.result == COMMITTED:
            for number, item in zip(done.ids, commit.outbox, strict=True):
                world.queued[number] = told(item.call)
        await self.process.point("committed")
        return done

    async def settle(self, settled: Sequence[Settled]) -> None:
        await self.process.point("settle")
        for one in settled:
            if one.state == SENT:
                self.process.world.marked[self.process.world.queued[one.id]] += 1
        if not self.liar.settle:
            await self.inner.settle(settled)
        await self.process.point("settled")

    async def load(self, key: str) -> Loaded | None:
        await self.process.alive()
        return await self.inner.load(key)

    async def due(self, *asked: Any, **more: Any) -> list[Conversation]:
        await self.process.alive()
        return await self.inner.due(*asked, **more)

    async def outbox(self, **asked: Any) -> list[OutboxItem]:
        await self.process.alive()
        return await self.inner.outbox(**asked)

    async def mail(self, **asked: Any) -> list[Mail]:
        await self.process.alive()
        return await self.inner.mail(**asked)

    async def find(self, **asked: Any) -> list[Conversation]:
        await self.process.alive()
        return await self.inner.find(**asked)

    async def get(self, space: str, name: str) -> bytes | None:
        await self.process.alive()
        return None if self.liar.dedupe and space == "inbox" else await self.inner.get(space, name)


class PointPlatform(Platform):
    """One process's sight of the platform."""

    def __init__(self, process: Process, inner: ScriptedPlatform) -> None:
        self.process = process
        self.inner = inner
        self.name, self.bot = inner.name, inner.bot
        self.capabilities, self.limits = inner.capabilities, inner.limits
        self.secrets = ()

    def verify(self, request: HttpRequest) -> None:
        self.inner.verify(request)

    def parse(self, body: bytes) -> Parsed:
        return self.inner.parse(body)

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        return self.inner.render(out, place)

    def webhook_reply(self, call: Call, place: Address) -> bytes | None:
        return self.inner.webhook_reply(call, place)

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        await self.process.point("send")
        verdict = await self.process.world.show(call)
        await self.process.point("sent")
        return verdict


class Process:
    """One life of the bot. `gone` is set when it dies or freezes: whatever it does next takes until it
    thaws, or for ever.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.gone = asyncio.Event()
        self.thawed = asyncio.Event()
        self.buried = False
        self.runtime = Runtime(
            world.app,
            store=PointStore(self, world.store, world.liar),
            platforms=[PointPlatform(self, world.platform)],
            clock=world.clock,
            http=NoNetwork(),
            settings=world.settings,
        )

    async def alive(self) -> None:
        """Returns if it is."""
        if self.buried:
            raise Crash
        if self.gone.is_set():
            await self.thawed.wait()

    async def point(self, name: str) -> None:
        """Here it may die."""
        await self.alive()
        if self.world.at_point(name):
            self.gone.set()
            await self.thawed.wait()

    async def thaw(self) -> None:
        """It goes on where it was, not knowing that another took over; then it ends."""
        self.gone.clear()
        self.thawed.set()
        await self.runtime.drained()
        await self.runtime.relay.flush(60)
        await self.bury()

    async def bury(self) -> None:
        """Nothing of it stays in memory."""
        self.gone.set()
        self.buried = True
        try:
            await self.runtime.abandon()
        except Crash:  # it wanted to write once more
            self.runtime.turns.close()
            self.runtime.app.detach(self.runtime)


class World:
    """A store, a platform and a person, and the processes that come and go.

    Args:
        app: The bot.
        fatal: Numbers of the points at which the process that is there dies.
        freezes: It freezes instead, another takes over, and it wakes up two inputs later.
        cache: Of the runtime.
        webhook: "" = updates are fetched; "reply" = they are requests, which a call may answer;
            "last" = the last call answers, after the others are delivered.
        repeat: Every update comes so often, whether it was acknowledged or not.
        ack_after_s: 0 acknowledges every update early, from the mailbox.
        liar: What the store does wrong.
    """

    def __init__(
        self,
        app: App,
        fatal: Sequence[int] = (),
        *,
        freezes: bool = False,
        cache: int = 0,
        webhook: str = "",
        repeat: int = 1,
        ack_after_s: float = 60.0,
        liar: Liar | None = None,
    ) -> None:
        self.app = app
        self.fatal = frozenset(fatal)
        self.freezes = freezes
        self.webhook = webhook
        self.repeat = repeat
        self.liar = liar or Liar()
        self.settings = RuntimeSettings(
            cache=cache, ack_after_s=ack_after_s, reply_last=webhook == "last"
        )
        self.clock = FakeClock()
        self.till = Till(apart=self.liar.apart)
        self.store = MemoryStore(self.till.transaction)
        self.platform = ScriptedPlatform()
        self.process: Process | None = None
        self.frozen: list[tuple[int, Process]] = []
        self.points: list[str] = []
        self.died: list[str] = []
        self.log: list[str] = []  # everything that was shown, in order
        self.sold: list[str] = []  # by transactions, at the end
        self.queued: dict[int, str] = {}  # outbox id -> what
        self.marked: Counter[str] = Counter()  # what is written to be sent
        self.excused: Counter[str] = Counter()  # sent, but not marked when a process died
        self._ids = itertools.count(1)
        self._inputs = 0
        self._left: list[asyncio.Future[Any]] = []  # what frozen processes were asked to do

    # -- points -------------------------------------------------------------------------------

    def at_point(self, name: str) -> bool:
        """Counts a point; whether the process dies here."""
        self.points.append(name)
        if len(self.points) - 1 not in self.fatal:
            return False
        self.died.append(f"{len(self.points) - 1} {name}")
        for what, count in (Counter(self.log) - self.marked).items():
            self.excused[what] = max(self.excused[what], count)
        return True

    async def show(self, call: Call) -> Verdict:
        """The platform carries a call out."""
        self.log.append(told(call))
        return await self.platform.send(call, PLACE, NoNetwork())

    # -- processes ----------------------------------------------------------------------------

    async def survive(self, work: Callable[[Process], Awaitable[Any]]) -> Any:
        """Does work that is acknowledged when it returns, again after each death before that."""
        for _ in range(MOST_DEATHS):
            process = await self._running()
            done, result = await self._unless_gone(process, work(process))
            if done:
                return result
        raise AssertionError(f"no progress from death to death: {self.died}")

    async def _running(self) -> Process:
        for _ in range(MOST_DEATHS):
            if self.process is not None and not self.process.gone.is_set():
                return self.process
            await self._bury()
            process = self.process = Process(self)
            await self._unless_gone(process, self._start(process.runtime))
        raise AssertionError(f"no process starts: {self.died}")

    async def _start(self, runtime: Runtime) -> None:
        await runtime.start(loops=False)
        await runtime.resume()

    async def _unless_gone(self, process: Process, work: Awaitable[Any]) -> tuple[bool, Any]:
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(process.gone.wait())
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if task.done():
            return True, task.result()
        if self.freezes:
            self._left.append(task)
        else:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return False, None

    async def _bury(self) -> None:
        process, self.process = self.process, None
        if process is not None and self.freezes:
            self.frozen.append((self._inputs + 2, process))
        elif process is not None:
            await process.bury()

    async def _thaw(self, *, all_: bool = False) -> None:
        """Frozen processes wake up when their time has come."""
        due = [process for when, process in self.frozen if all_ or when <= self._inputs]
        self.frozen = [pair for pair in self.frozen if pair[1] not in due]
        for process in due:
            await process.thaw()

    async def rest(self) -> None:
        """Everything under way comes to its end."""
        await self.survive(self._rest)
        await self._thaw()

    async def _rest(self, process: Process) -> None:
        await process.runtime.drained()
        await process.runtime.relay.flush(60)

    async def close(self) -> None:
        """The last process stops."""
        if self.process is not None and self.process.gone.is_set():
            await self._bury()
        await self._thaw(all_=True)
        for task in self._left:
            task.cancel()
        await asyncio.gather(*self._left, return_exceptions=True)
        if self.process is not None:
            await self.process.runtime.stop()
        self.sold = self.till.sold
        self.till.close()

    # -- what happens -------------------------------------------------------------------------

    async def says(self, text: str) -> None:
        """The person writes."""
        await self._update(message(text))

    async def presses(self, label: str) -> None:
        """The person presses a button."""
        buttons = [b for s in self.platform.shown for row in s.message.buttons for b in row]
        payload = [button.payload for button in buttons if button.text == label][-1]
        await self._update(pressed(payload))

    async def _update(self, event: Event) -> None:
        event = msgspec.structs.replace(
            event, id=f"test:bot:{next(self._ids)}", user=User("1", "Ann")
        )
        body = msgspec.json.encode(event)
        for _ in range(self.repeat):
            await self.survive(lambda process: self._request(process, body))
        await self._after_input()

    async def _request(self, process: Process, body: bytes) -> None:
        runtime = process.runtime
        platform = runtime.platforms["test", "bot"]
        received = await runtime.receive(platform, body, may_reply=bool(self.webhook))
        if self.webhook == "last":  # as in deploy/function/core.py
            if received.release is not None:
                received.release()
            elif received.reply is not None:
                await runtime.relay.recover()
            await runtime.relay.flush(60)
        if received.reply is not None:
            await process.point("answer")
            call = msgspec.json.decode(received.reply, type=Call)
            self.marked[told(call)] += 1
            await self.show(call)
        if received.release is not None and self.webhook == "reply":
            received.release()

    async def signals(self, name: str, value: object) -> None:
        """Something happens outside; it is reported until that is acknowledged."""
        unique = f"{next(self._ids)}"
        await self.survive(lambda process: process.runtime.signal(KEY, name, value, id=unique))
        await self._after_input()

    async def passes(self, seconds: float) -> None:
        """Time goes by."""
        self.clock.advance(seconds)
        # A tick does not wait for the Turns it woke, so it says nothing of their deaths.
        while await self.survive(lambda process: process.runtime.tick()):
            await self.rest()
        await self._after_input()

    async def _after_input(self) -> None:
        self._inputs += 1
        await self.rest()
        self.clock.advance(0.001)
