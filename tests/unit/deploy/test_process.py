"""The parts of a process: what happens in which order, and when a platform is out of reach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from legato import App
from legato.abc import HttpClient, Sink, Store
from legato.app.settings import Settings
from legato.deploy.process import Process
from legato.errors import BadToken, Unavailable
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform


class Moody(ScriptedPlatform):
    """A platform whose setup ends as `moods` say, one after another; tells what was done with it."""

    def __init__(self, *moods: Exception | None) -> None:
        super().__init__()
        self.moods = list(moods)
        self.did: list[str] = []
        self.changed = asyncio.Event()

    def _note(self, what: str) -> None:
        self.did.append(what)
        self.changed.set()

    async def load(self, store: Store) -> None:
        self._note("load")

    async def setup(self, http: HttpClient, store: Store, public_url: str) -> None:
        mood = self.moods.pop(0) if self.moods else None
        self._note(f"setup {public_url}".strip())
        if mood is not None:
            raise mood

    async def listen(self, sink: Sink, http: HttpClient, store: Store) -> None:
        self._note("listen")
        if self.moods and isinstance(self.moods[0], BadToken):
            raise self.moods[0]

    async def until(self, count: int) -> list[str]:
        """What was done, once it is so much."""
        async with asyncio.timeout(10):
            while len(self.did) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.did


@asynccontextmanager
async def process(
    platform: Moody, clock: FakeClock, failures: list[BaseException], url: str = ""
) -> AsyncIterator[Process]:
    made = Process(
        App("bot"),
        Settings(public_url=url),
        store=MemoryStore(),
        platforms=[platform],
        clock=clock,
        failed=failures.append,
    )
    try:
        yield made
    finally:
        await made.close(0)


async def test_a_platform_is_set_up_before_anything_runs() -> None:
    platform = Moody()
    async with process(platform, FakeClock(), [], "https://x.org") as made:
        await made.open()

        assert platform.did == ["setup https://x.org"]


async def test_a_platform_that_others_have_set_up_is_only_loaded() -> None:
    platform = Moody()
    async with process(platform, FakeClock(), []) as made:
        await made.open(set_up=False)

        assert platform.did == ["load"]


async def test_a_refused_token_ends_the_start() -> None:
    platform = Moody(BadToken("no"))
    async with process(platform, FakeClock(), []) as made:
        with pytest.raises(BadToken):
            await made.open()
        assert made.runtime.relay.left == 0


async def test_a_platform_out_of_reach_is_set_up_later() -> None:
    clock = FakeClock()
    platform = Moody(Unavailable("away"), Unavailable("still away"))
    failures: list[BaseException] = []
    async with process(platform, clock, failures) as made:
        await made.open()
        assert platform.did == ["setup", "load"]
        for count, seconds in ((3, 1.1), (4, 2.1)):
            await asyncio.sleep(0)  # it looks at the clock
            clock.advance(seconds)
            await platform.until(count)

        assert platform.did == ["setup", "load", "setup", "setup"]
        assert failures == []


async def test_a_token_that_is_revoked_later_is_told() -> None:
    platform = Moody(Unavailable("away"), BadToken("revoked"))
    failures: list[BaseException] = []
    told = asyncio.Event()
    clock = FakeClock()
    async with process(platform, clock, failures) as made:
        made.listen(platform, told.set)
        await made.open()
        await asyncio.sleep(0)
        clock.advance(1.1)
        await platform.until(4)
        await asyncio.sleep(0)

        assert [type(error) for error in failures] == [BadToken]
        assert told.is_set()
