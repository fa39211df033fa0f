"""Scripted users: write a conversation down as a test.

    async def test_adder(bot):
        ann = bot.user("Ann")
        await ann.says("/start"); bot.expect("First number?")
        await ann.says("2");      bot.expect("Second number?")
        await bot.advance(seconds=20); bot.expect("You went quiet")

The bot runs for real (engine, runtime, relay, a store) on a fake clock and a platform in memory.
In mode "warm" dialogs stay in memory, in "cold" every Turn is a replay, in "crash" the process
dies after every single commit and the platform repeats its update. A test must pass in all three.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from math import ceil
from typing import Any

import msgspec

from legato.abc import HttpClient, HttpRequest, HttpResponse, NotSent, Store
from legato.app.app import App
from legato.app.runtime import Runtime, RuntimeSettings
from legato.engine import journal, versions
from legato.errors import Nondeterminism
from legato.model.events import Event
from legato.model.messages import Message
from legato.model.records import FAILED, HELD, WAITING, Commit, Conversation
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.crash import Crash, CrashingStore
from legato.testing.people import Group, Person
from legato.testing.platform import ScriptedPlatform
from legato.testing.sql import Tables
from legato.testing.strict import Watch

MODES = ("warm", "cold", "crash")
MOST_CRASHES = 1000
PATIENCE_S = 0.02
"""Real time without progress after which somebody must be waiting for the fake clock."""


class NoNetwork(HttpClient):
    """Refuses: scripted bots reach no network."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        raise NotSent("scripted tests have no network")

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise NotSent("scripted tests have no network")

    async def close(self) -> None:
        return None


class Bot:
    """An App under test.

    Args:
        app: The App.
        mode: "warm", "cold" or "crash".
        store: Makes the store, once; by default it is in memory, beside the tables of `sql`.
        strict: Report calls to the clock, chance or files inside dialogs, and replay every
            conversation cold after every step.
    """

    def __init__(
        self,
        app: App,
        mode: str = "warm",
        *,
        store: Callable[[], Store] | None = None,
        strict: bool = True,
        settings: RuntimeSettings | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode is one of {MODES}, not {mode!r}")
        self.app: App = app
        self.mode: str = mode
        self.clock: FakeClock = FakeClock()
        self.platform: ScriptedPlatform = ScriptedPlatform()
        self.strict: bool = strict
        self.transcript: list[str] = []
        self.crashes: int = 0
        self._watch = Watch() if strict else None
        self._settings = settings or RuntimeSettings()
        self._sql: Any = None
        self._inner: Store = MemoryStore(self._transaction) if store is None else store()
        self._store: Store = self._inner
        if mode == "crash":
            self._store = CrashingStore(self._inner, self._die)
        self._runtime: Runtime | None = None
        self._read = 0
        self._ids = 0
        self._expected_failures: set[str] = set()
        self._people: dict[str, Person] = {}
        self._failures: dict[str, str] = {}
        self._abandoned = False

    # -- people -----------------------------------------------------------------------------------

    def user(self, name: str = "Ann", **about: Any) -> Person:
        """A person; the same name gives the same person. `about`: fields of User."""
        if name not in self._people:
            self._people[name] = Person(self, str(len(self._people) + 101), name, about)
        return self._people[name]

    def group(self, name: str = "room") -> Group:
        """A chat for several people: `ann.says("hi", in_=group)`."""
        return Group(name)

    # -- the app's own tables -----------------------------------------------------------------------

    @property
    def sql(self) -> Any:
        """What `chat.tx` hands to its functions: `Tables` (SQLite in memory), to be filled by
        `bot.sql.script(...)` and looked at by `bot.sql.fetch(...)`; or whatever is put here, which
        nobody rolls back.
        """
        if self._sql is None:
            self._sql = Tables()
        return self._sql

    @sql.setter
    def sql(self, sql: Any) -> None:
        self._sql = sql

    def _transaction(self) -> AbstractAsyncContextManager[Any]:
        sql = self.sql
        return sql.transaction() if isinstance(sql, Tables) else nullcontext(sql)

    # -- what the bot said --------------------------------------------------------------------------

    @property
    def unread(self) -> list[Message]:
        """Messages that no `expect` has looked at."""
        return [shown.message for shown in self.platform.shown[self._read :]]

    def expect(self, *texts: str | re.Pattern[str]) -> Message:
        """The next unread messages contain (or match) these texts, in order; returns the last.

        Raises:
            AssertionError: They do not; it shows what was said instead.
        """
        message = Message()
        for text in texts:
            unread = self.platform.shown[self._read :]
            assert unread, f"expected {_quote(text)}, but the bot said nothing more"
            message = unread[0].message
            found = (
                text.search(message.text) if isinstance(text, re.Pattern) else text in message.text
            )
            assert found, f"expected {_quote(text)}, but the bot said {message.text!r}"
            self._read += 1
        return message

    def expect_nothing(self) -> None:
        """The bot has said nothing more.

        Raises:
            AssertionError: It has.
        """
        assert not self.unread, f"expected nothing, but the bot said {self.unread[0].text!r}"

    def expect_failure(self, text: str = "") -> str:
        """Some dialog failed with a traceback that contains `text`; returns the traceback.

        Raises:
            AssertionError: None did.
        """
        for key, error in self._failures.items():
            if text in error and key not in self._expected_failures:
                self._expected_failures.add(key)
                return error
        raise AssertionError(f"no dialog failed with {text!r}; failures: {self._failures}")

    # -- what happens -------------------------------------------------------------------------------

    async def send(self, event: Event) -> None:
        """An update reaches the bot; returns when everything that follows from it is done."""
        body = msgspec.json.encode(event)
        await self._survive(lambda: self.runtime.receive(self.platform, body))
        await self._rest()

    def next_id(self) -> str:
        """A fresh update id."""
        self._ids += 1
        return f"{self.platform.name}:{self.platform.bot}:{self._ids}"

    async def advance(self, duration: timedelta | None = None, **parts: float) -> None:
        """Time passes: `seconds=20`, `hours=3`, or a timedelta. Whatever falls due on the way
        happens at its time.
        """
        await self._started()
        left = (duration or timedelta(**parts)).total_seconds()
        target = self.clock.now_ms() + round(left * 1000)
        while True:
            wakes = [row.wake_ms for row in await self.conversations() if row.wake_ms]
            now = self.clock.now_ms()
            pause = self.clock.next_s()  # somebody sleeps: a limit, a pause between tries
            sleeper = [] if pause is None else [now + max(1, ceil(pause * 1000))]
            step = min([w for w in wakes if w > now] + sleeper + [target])
            self.clock.advance((step - now) / 1000)
            await self._survive(self._tick)
            await self._rest()
            if step >= target:
                return

    async def signal(self, person: Person, name: str, value: Any = None) -> bool:
        """An outside event for the dialog with `person`, as by `app.signal`."""
        await self._started()
        self._ids += 1
        unique = f"test-{self._ids}"
        key = (await self.conversation(person)).key
        kept = await self._survive(lambda: self.runtime.signal(key, name, value, id=unique))
        await self._rest()
        return bool(kept)

    async def repeat(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Does `work` (a call from outside, such as `app.broadcast`) again after every crash."""
        result = await self._survive(work)
        await self._rest()
        return result

    async def crash(self) -> None:
        """The process dies now, and starts again."""
        await self._started()
        await self._restart()
        await self._rest()

    async def replace_app(self, app: App) -> None:
        """A new version of the code is deployed: the process stops and starts with `app`."""
        await self._stop()
        self.app = app
        await self._started()
        await self._rest()

    # -- looking inside -----------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """The running Runtime."""
        assert self._runtime is not None, "the bot has not started yet"
        return self._runtime

    async def conversations(self) -> list[Conversation]:
        """All running conversations."""
        await self._started()
        return await self._inner.find()

    async def conversation(self, person: Person) -> Conversation:
        """The conversation with a person.

        Raises:
            AssertionError: There is none.
        """
        rows = [row for row in await self.conversations() if f":{person.id}:" in row.key]
        assert rows, f"there is no conversation with {person.name}"
        return rows[0]

    async def records(self, person: Person) -> list[Any]:
        """The journal of the conversation with a person, as (path, kind, name, value or error)."""
        loaded = await self._inner.load((await self.conversation(person)).key)
        assert loaded is not None
        return [(r.path, r.kind, r.name, r.error or r.value) for r in journal.read(loaded.segments)]

    # -- running ------------------------------------------------------------------------------------

    async def _started(self) -> None:
        if self._runtime is None:
            cache = self._settings.cache if self.mode == "warm" else 0
            self._runtime = Runtime(
                self.app,
                store=self._store,
                platforms=[self.platform],
                clock=self.clock,
                http=NoNetwork(),
                settings=msgspec.structs.replace(self._settings, cache=cache, ack_after_s=60.0),
            )
            if self._watch is not None:
                self._watch.install()
            await self._survive_start()

    async def _survive_start(self) -> None:
        runtime = self._runtime
        assert runtime is not None
        try:
            await runtime.start(loops=False)
            await self._patiently(runtime.resume)  # a step may pause between its tries
        except Crash:
            await self._restart()

    async def _tick(self) -> int:
        return await self.runtime.tick()

    def _die(self, commit: Commit) -> bool:
        return self.mode == "crash" and bool(commit.key or commit.update_id)

    async def _survive(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Does it again and again after each crash, as a platform repeats its updates."""
        await self._started()
        for _ in range(MOST_CRASHES):
            try:
                return await self._patiently(work)
            except Crash:
                await self._restart()
        raise AssertionError("the work makes no progress from crash to crash")

    async def _patiently(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Awaits `work`; if it waits for the fake clock (a step's pause), time goes on."""
        task = asyncio.ensure_future(work())
        while not task.done():
            await asyncio.wait({task}, timeout=PATIENCE_S)
            pause = self.clock.next_s()
            if not task.done() and pause is not None:
                self.clock.advance(pause)
        return task.result()

    async def _restart(self) -> None:
        """Throws the process model away; only the store stays."""
        self.crashes += 1
        await self._stop()
        await self._started()

    async def _stop(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is None:
            return
        await self._quiet(runtime)
        await runtime.abandon()
        await self._inner.close()

    async def _rest(self) -> None:
        """Everything under way comes to its end; then what strict mode found is raised."""
        await self._quiet(self.runtime)
        for shown in self.platform.shown[len(self.transcript) :]:
            self.transcript.append(shown.message.text)
        await self._check()

    async def _quiet(self, runtime: Runtime) -> None:
        tries = 0
        while runtime.busy or runtime.relay.left:
            before = (runtime.busy, runtime.relay.left)
            await asyncio.sleep(0 if tries < 50 else PATIENCE_S / 10)
            tries = tries + 1 if (runtime.busy, runtime.relay.left) == before else 0
            if tries > 100:
                return  # waits for the fake clock (a limit, a backoff)

    async def _check(self) -> None:
        self._failures = {}
        for row in await self._inner.find():
            if row.status in (FAILED, HELD):
                self._failures[row.key] = journal.decode_state(row.state).error
            elif self.strict and row.status == WAITING:
                await self._replays(row)
        for key, error in self._failures.items():
            if key not in self._expected_failures and "Nondeterminism" in error:
                raise Nondeterminism(error)

    async def _replays(self, row: Conversation) -> None:
        loaded = await self._inner.load(row.key)
        if loaded is None:
            return
        services = self.runtime.services.chat_services(journal.decode_birth(loaded.birth).place)
        report = versions.check(loaded, self.app.dialogs.get(row.dialog), services)
        if report.verdict != "same":
            raise Nondeterminism(f"{row.key} does not replay: {report.detail}")

    async def close(self) -> None:
        """Stops the bot.

        Raises:
            AssertionError: A dialog failed and no `expect_failure` looked at it.
        """
        if self._watch is not None:
            self._watch.remove()
        await self._stop()
        if isinstance(self._sql, Tables):
            self._sql.close()
        left = [e for key, e in self._failures.items() if key not in self._expected_failures]
        assert self._abandoned or not left, f"a dialog failed:\n{left[0]}"

    def abandon(self) -> None:
        """The test failed already: `close` need not say more."""
        self._abandoned = True


def _quote(text: str | re.Pattern[str]) -> str:
    return repr(text.pattern if isinstance(text, re.Pattern) else text)
