"""A hundred channels, two thousand viewers, all in a dialog at the same time, over real sockets.

LEGATO_SOAK=3: 5,000 viewers.
"""

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from legato.model.records import QUEUED, RUNNING, SENDING
from legato.stores.sqlite import SQLiteStore
from legato.testing.clock import FakeClock
from legato.testing.fake_twitch import FakeTwitch, irc, world
from tests.integration.twitch_adder import app
from tests.integration.twitch_bot import KEY, connected, log_in, running, until
from tests.integration.twitch_crowd import HEARS, Crowd
from tests.integration.twitch_loaded_bot import FAST

SOAK = int(os.environ.get("LEGATO_SOAK", "1"))
CHANNELS, VIEWERS = 100, min(20 * SOAK, 50)
KILLED = 8 * SOAK
"""Viewers of each channel when the bot is killed; LEGATO_SOAK=6 makes them about five thousand."""
pytestmark = pytest.mark.timeout(300 * SOAK)  # it is much, and the machine may be busy
ROUND_S = 30 * (math.ceil(VIEWERS * len(HEARS) / 20) - 1)
"""Three messages to each viewer of a channel, of which 20 are allowed in 30 seconds."""


async def test_all_are_served_at_the_pace_that_twitch_allows() -> None:
    clock = FakeClock()
    async with FakeTwitch(second=0.01) as twitch:
        twitch.world.now = clock.monotonic
        crowd = Crowd(twitch, CHANNELS, VIEWERS)
        for channel in crowd.channels[::2]:
            channel.gives("moderator", twitch.bot)  # where 100 are allowed
        async with running(app, twitch, clock=clock) as bot:
            while len(twitch.irc.joined(twitch.bot.login)) < CHANNELS:
                await asyncio.sleep(0.01)
                clock.advance(1.0)
            began = clock.monotonic()
            crowd.speak()
            while not crowd.done:
                await _quiet(twitch)
                clock.advance(1.0)
                assert clock.monotonic() - began < 2 * ROUND_S, crowd.answers
            assert ROUND_S <= clock.monotonic() - began < ROUND_S + 10  # and no slower
            await until(lambda: not bot.relay.left)  # an end waits by the clock, which stands still
            assert bot.failures == []
            assert bot.relay.stats.limited_429 == 0
        assert (crowd.repeated, crowd.wrong, twitch.violations) == ([], [], [])


async def _quiet(twitch: FakeTwitch) -> None:
    """Returns once nothing more is said without time going on."""
    before = -1
    while before != len(twitch.world.messages):
        before = len(twitch.world.messages)
        for _ in range(10):
            await asyncio.sleep(0)


# -- killed -------------------------------------------------------------------------------------------


@asynccontextmanager
async def loaded(twitch: FakeTwitch, path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A bot in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "SYSTEMROOT"))}
    own = {"LEGATO_STORE": f"sqlite:///{path}", "LEGATO_KEY": KEY}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.twitch_loaded_bot",
        cwd=Path(__file__).parents[2],
        env=kept | twitch.environment() | own,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await connected(twitch, "irc", 60)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _finished(path: Path) -> None:
    """Waits until the bot has done and said everything that its store asks for."""
    store = SQLiteStore(path, shared=True)
    await store.open()

    async def busy() -> bool:
        return bool(
            await store.outbox(states=(QUEUED, SENDING), limit=1)
            or await store.mail(limit=1)
            or await store.find(status=RUNNING, limit=1)
        )

    try:
        async with asyncio.timeout(100 * SOAK):
            while await busy():  # noqa: ASYNC110 # nothing announces it
                await asyncio.sleep(0.05)
    finally:
        await store.close()


async def test_killed_in_the_middle_every_open_dialog_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((world, "FEW"), (world, "MANY"), (irc, "JOINS")):
        monkeypatch.setattr(module, name, FAST)
    path = tmp_path / "bot.db"
    async with FakeTwitch(second=0.01) as twitch:
        crowd = Crowd(twitch, CHANNELS, KILLED)
        store = SQLiteStore(path)
        await store.open()
        await log_in(twitch, store)
        await store.close()
        everything = len(HEARS) * len(crowd.viewers)
        async with loaded(twitch, path) as bot:
            crowd.speak()
            await twitch.world.until(lambda: crowd.answers >= everything // 2, 100 * SOAK)
            bot.kill()
            await bot.wait()
        assert crowd.answers < everything

        async with loaded(twitch, path) as bot:
            await _finished(path)
            crowd.speak()  # what was said to a dead bot is lost: Twitch tells it nobody later
            await twitch.world.until(lambda: crowd.done, 100 * SOAK)
            bot.terminate()
            assert await bot.wait() == 0
        assert crowd.wrong == []
        assert twitch.violations == []
        # What was on its way in each channel when it was killed, and what was just not marked as sent yet.
        assert len(crowd.repeated) <= len(crowd.viewers)
