"""Builds of one bot beside each other over one store, as after a rollback: requests go to one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from legato import App, Cancelled, Chat, Timeout
from legato.abc import Store
from legato.app.runtime import Runtime, RuntimeSettings
from legato.engine import journal
from legato.engine.outcomes import GivenUp, Handed, Outcome
from legato.engine.term import FOREVER, Term
from legato.errors import StoreError, Unavailable
from legato.model.events import Event, MessageReceived
from legato.model.records import Commit, Committed, Conversation
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from tests.unit.app.kit import message
from tests.unit.app.lives_kit import Mortal

MOST_TRIES = 5
KEY = "test:bot:1:1:"


def shop(version: int, on_change: str = "restart") -> App:
    """A bot whose order asks for one thing more in each version, and says which version it is."""
    app = App("shop", apology="Sorry")

    @app.command("order", on_change=on_change)
    async def order(chat: Chat) -> None:
        answers: list[str] = []
        try:
            for number in range(version):
                name = f"v{version}-{number}"
                answers += [await chat.ask(f"v{version} {number}?", key=name, timeout=60)]
        except Timeout:
            await chat.say(f"v{version} quiet")
            return
        except Cancelled:
            await chat.say(f"v{version} bye")
            raise
        await chat.say(f"v{version}: {' '.join(answers)}")

    if version > 1:

        @app.command("late")
        async def late(chat: Chat) -> None:
            await chat.say(f"late v{version}: {await chat.ask('When?')}")

    return app


class Fused(Mortal):
    """A process's way to the store, and its death: at the commit at which the fuse burns down, before it or after.

    Attributes:
        fuse: Commits of all processes that still go well; below zero, none dies.
        after: Whether the last one is made.
    """

    __slots__ = ("_builds",)

    def __init__(self, builds: Builds) -> None:
        super().__init__(builds.kept)
        self._builds = builds

    async def commit(self, commit: Commit) -> Committed:
        builds = self._builds
        builds.commits += 1
        dies = builds.fuse == 0
        builds.fuse -= 1
        if dies and not builds.after:
            self.dead = True
        done = await super().commit(commit)
        self.dead = self.dead or dies
        self._alive()
        return done


class Builds:
    """Builds of a bot by their numbers.

    Attributes:
        kept, clock, platform: What all share.
        live: The one that requests go to.
        apps: The code of those that there are.
        processes: One process of each, as far as it runs.
        handed: (build, work) of all that was handed over.
        commits: How many were begun.
        deaths: So many processes died.
        given_up: Done before each handing over is given up; None: none is.
    """

    def __init__(self, *apps: App, cache: int = 2000) -> None:
        self.kept = MemoryStore()
        self.clock = FakeClock()
        self.platform = ScriptedPlatform()
        self.apps = dict(enumerate(apps, 1))
        self.live = len(apps)
        self.cache = cache
        self.term: Term = FOREVER
        self.processes: dict[int, Runtime] = {}
        self.handed: list[tuple[int, Handed]] = []
        self.fuse = -1
        self.after = False
        self.commits = 0
        self.deaths = 0
        self.given_up: Callable[[], Awaitable[None]] | None = None

    async def process(self, build: int = 0) -> Runtime:
        """The process of a build, by default of the live one; it is started if there is none."""
        build = build or self.live
        if build not in self.processes:
            runtime = Runtime(
                self.apps[build],
                store=Fused(self),
                platforms=[self.platform],
                clock=self.clock,
                http=NoNetwork(),
                settings=RuntimeSettings(
                    cache=self.cache, build=build, elsewhere=self._hand_over, term=self.term
                ),
            )
            await runtime.store.open()
            runtime.app.attach(runtime)
            self.processes[build] = runtime
            if build == self.live:  # the others do only what they are handed
                await runtime.relay.recover()
                await runtime.resume()
        return self.processes[build]

    async def _hand_over(self, build: int, work: Handed) -> Outcome | None:
        self.handed.append((build, work))
        if self.given_up is not None:
            await self.given_up()
            raise GivenUp("it fails each time")
        work = msgspec.json.decode(journal.encode(work), type=Handed)
        if build not in self.apps:
            return None
        runtime = await self.process(build)
        lane = runtime.router.lane_of(work.key)
        try:
            outcome = await runtime.lanes.run(lane, partial(runtime.turns.handed, work))
        except (StoreError, Unavailable) as error:
            if isinstance(runtime.store, Mortal) and runtime.store.dead:
                await self.dies(build)
                await self.processes[self.live].relay.recover()  # nobody else sends what it has not
            raise Unavailable(str(error)) from error
        if outcome is not None and outcome.duplicate:
            await runtime.relay.recover()  # whoever had it first may have died before it was sent
        await runtime.relay.flush(60)
        if outcome is None:
            raise Unavailable("it went on meanwhile")
        return outcome

    def goes_back(self, build: int = 1) -> None:
        """Requests go to another build from now on."""
        self.live = build

    async def dies(self, build: int) -> None:
        """The process of a build ends without finishing anything."""
        self.deaths += 1
        runtime = self.processes.pop(build)
        await runtime.abandon()

    async def receive(self, event: Event) -> None:
        """One update, which the platform repeats until it is acknowledged."""
        body = msgspec.json.encode(event)
        for _ in range(MOST_TRIES):
            try:
                runtime = await self.process()
                await runtime.receive(self.platform, body)
            except (Unavailable, StoreError):
                pass
            else:
                await self.rest()
                if not self._is_dead():
                    return
            if self._is_dead():
                await self.dies(self.live)
                self.clock.advance(1)
        raise AssertionError(f"{event} is never acknowledged")

    def _is_dead(self) -> bool:
        runtime = self.processes.get(self.live)
        return runtime is not None and _store(runtime).dead

    async def says(self, text: str) -> MessageReceived:
        """Somebody writes, and everything that follows happens."""
        event = message(text)
        await self.receive(event)
        return event

    async def passes(self, seconds: float) -> None:
        """Time passes, and whatever is due then happens."""
        self.clock.advance(seconds)
        for _ in range(MOST_TRIES):
            try:
                await (await self.process()).tick()
                await self.rest()
            except StoreError:
                pass
            if not self._is_dead():
                return
            await self.dies(self.live)
            self.clock.advance(1)

    async def rest(self) -> None:
        """What the live build has under way comes to its end; a dead one's messages are found by a later tick."""
        runtime = self.processes[self.live]
        await runtime.relay.recover()
        await runtime.drained()
        await runtime.relay.flush(60)

    async def rows(self) -> list[Conversation]:
        """All conversations."""
        return await self.kept.find()

    async def build(self) -> int:
        """Which one wrote the only conversation."""
        (row,) = await self.rows()
        return journal.decode_state(row.state).build

    @property
    def said(self) -> list[str]:
        """What users see."""
        return [shown.message.text for shown in self.platform.shown]


def _store(runtime: Runtime) -> Mortal:
    store: Store = runtime.store
    assert isinstance(store, Mortal)
    return store


@asynccontextmanager
async def deployed(*apps: App, cache: int = 2000) -> AsyncIterator[Builds]:
    """Builds 1, 2 ... of a bot; the last one is live."""
    builds = Builds(*apps, cache=cache)
    try:
        yield builds
    finally:
        for runtime in builds.processes.values():
            await runtime.stop()


__all__ = ["KEY", "Builds", "deployed", "shop"]
