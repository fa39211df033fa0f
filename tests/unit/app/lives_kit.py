"""Processes that die over one store, as workers do that a broker hands letters to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from legato import App
from legato.abc import Store
from legato.app.runtime import Runtime, RuntimeSettings
from legato.errors import StoreUnavailable
from legato.model.events import AnyEvent
from legato.model.records import Commit, Committed, Conversation, Loaded, Mail, OutboxItem, Settled
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork

MOST_LIVES = 40
SHARES = 25
"""Rounds of the loop between two moves of the clock."""
MOVE_S = 0.25
MOST_ROUNDS = 40_000


class Mortal(Store):
    """One process's way to a store: nothing gets through once the process is dead.

    Attributes:
        kept: What outlives it.
        dead: Whether it is.
        commits: How many were made.
    """

    __slots__ = ("commits", "dead", "kept")

    def __init__(self, kept: MemoryStore) -> None:
        self.kept = kept
        self.dead = False
        self.commits = 0

    def _alive(self) -> MemoryStore:
        if self.dead:
            raise StoreUnavailable("the process is dead")
        return self.kept

    async def open(self) -> None:
        await self._alive().open()

    async def close(self) -> None:
        """It stays open for the next process."""

    async def load(self, key: str) -> Loaded | None:
        return await self._alive().load(key)

    async def commit(self, commit: Commit) -> Committed:
        await asyncio.sleep(0)  # others have their turn meanwhile
        self.commits += 1
        return await self._alive().commit(commit)

    async def settle(self, settled: Sequence[Settled]) -> None:
        await self._alive().settle(settled)

    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        return await self._alive().due(now_ms, limit, slots=slots)

    async def outbox(
        self,
        *,
        states: Sequence[str],
        after: int = 0,
        limit: int = 1000,
        key: str = "",
        slots: Collection[int] | None = None,
    ) -> list[OutboxItem]:
        return await self._alive().outbox(
            states=states, after=after, limit=limit, key=key, slots=slots
        )

    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        return await self._alive().mail(key=key, after=after, limit=limit, slots=slots)

    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        return await self._alive().find(
            status=status, dialog=dialog, after=after, limit=limit, slots=slots
        )

    async def get(self, space: str, name: str) -> bytes | None:
        return await self._alive().get(space, name)


class Lives:
    """A bot whose processes die, one after another, and its letters.

    Attributes:
        deaths: So many processes died.
        letters: Those that are not acknowledged.
        failed: Keys of what was parked.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.kept = MemoryStore()
        self.clock = FakeClock()
        self.platform = ScriptedPlatform()
        self.letters: list[AnyEvent] = []
        self.deaths = 0
        self.now = Mortal(self.kept)
        self._handed_out: set[str] = set()

    def dies(self) -> None:
        """Called by a dialog: from now on this process writes nothing."""
        self.now.dead = True

    async def settles(self, *letters: AnyEvent) -> None:
        """Starts processes until one has dealt with all letters."""
        self.letters += letters
        for _ in range(MOST_LIVES):
            if await self._life():
                return
            self.deaths += 1
        raise AssertionError(f"{len(self.letters)} letters are left after {self.deaths} deaths")

    async def _life(self) -> bool:
        self.now = Mortal(self.kept)
        runtime = Runtime(
            self.app,
            store=self.now,
            platforms=[self.platform],
            clock=self.clock,
            http=NoNetwork(),
            settings=RuntimeSettings(ack_after_s=0.01),
        )
        work: dict[asyncio.Task[object], AnyEvent] = {}
        try:
            await runtime.start(loops=False)
            await runtime.resume(0.0)
            for event in self.letters:
                again = event.id in self._handed_out
                work[asyncio.create_task(runtime.handle(event, suspect=again))] = event
            self._handed_out.update(event.id for event in self.letters)
            await self._until(runtime, work)
        except StoreUnavailable:
            assert self.now.dead
        for task, event in work.items():
            if task.done() and task.exception() is None and event in self.letters:
                self.letters.remove(event)
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if not self.now.dead:
            await runtime.relay.flush(60)
        await runtime.abandon()
        return not self.now.dead

    async def _until(self, runtime: Runtime, work: Collection[asyncio.Task[object]]) -> None:
        """Lets it live until it is dead or at rest."""
        for number in range(1, MOST_ROUNDS):
            await asyncio.sleep(0)
            if self.now.dead:
                return
            if number % SHARES == 0:
                idle = all(task.done() for task in work) and not runtime.busy
                if idle and not await runtime.tick():
                    return
                self.clock.advance(MOVE_S)
        raise AssertionError("it neither dies nor comes to rest")

    async def failed(self) -> list[str]:
        """Keys of what is parked."""
        return [row.key for row in await self.kept.find(status="failed")]

    async def tries(self) -> dict[str, bytes]:
        """What is counted in the store."""
        kept = self.kept._kept
        return {name: v.value for (_, name), v in kept.items() if name.startswith("attempt|")}

    @property
    def said(self) -> list[str]:
        """What users see."""
        return [shown.message.text for shown in self.platform.shown]
