"""Timers do not wait for each other, and one that cannot be rung is rung seldom."""

import asyncio
import logging
from typing import Any

import pytest
from msgspec.structs import replace

from legato import App, Chat
from legato.app.runtime import RuntimeSettings
from legato.errors import StoreCorrupt
from legato.model.records import Commit, Conversation, Loaded
from legato.stores.memory import MemoryStore
from tests.unit.app.kit import World, message, place, running

app = App("x")
gates: list[asyncio.Event] = []


@app.command("slow")
async def slow(chat: Chat) -> None:
    await chat.sleep(10)
    await chat.run(gates[-1].wait)
    await chat.say("slow")


@app.command("quick")
async def quick(chat: Chat) -> None:
    await chat.sleep(20)
    await chat.say("quick")


async def test_a_timer_whose_dialog_runs_a_slow_step_holds_up_no_other_one():
    gates.append(asyncio.Event())
    async with running(app, settings=RuntimeSettings(ack_after_s=0.01)) as world:
        await world.runtime.handle(message("/slow", place("1", "1")))
        await world.runtime.handle(message("/quick", place("2", "2")))
        world.clock.advance(10)
        assert await world.runtime.tick() == 1
        world.clock.advance(10)
        assert await world.runtime.tick() == 1  # the slow one is not woken a second time
        assert world.said == ["quick"]
        gates[-1].set()
        await world.rest()
        assert world.said == ["quick", "slow"]


async def moved(world: World, row: Conversation, **fields: Any) -> Conversation:
    """Writes a row as another process would."""
    changed = replace(row, head=row.head + 1, **fields)
    await world.store.commit(
        Commit(at_ms=0, key=row.key, expect=(row.epoch, row.head), row=changed)
    )
    world.runtime.turns.cache.clear()
    return changed


async def test_a_timer_that_a_bug_keeps_from_ringing_is_tried_and_logged_seldom(
    caplog: pytest.LogCaptureFixture,
):
    async with running(app) as world:
        await world.says("/quick")
        (row,) = await world.store.find()
        await moved(world, row, state=b"{")
        world.clock.advance(20)
        tries = 0
        for _ in range(5 * 600):
            tries += await world.runtime.tick()
            world.clock.advance(0.2)
        errors = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert 5 < tries == len(errors) < 15


async def test_once_it_is_mended_it_rings_at_once():
    async with running(app) as world:
        await world.says("/quick")
        (row,) = await world.store.find()
        bad = await moved(world, row, state=b"{")
        world.clock.advance(20)
        for _ in range(100):
            await world.runtime.tick()
            world.clock.advance(0.2)
        assert await world.runtime.tick() == 0
        await moved(world, bad, state=row.state)
        assert await world.runtime.tick() == 1
        await world.rest()
        assert world.said == ["quick"]


async def test_a_page_of_such_hides_no_timer_behind_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("legato.app.alarm.PAGE", 2)
    async with running(app) as world:
        for number in ("1", "2", "3", "4", "5"):
            await world.says("/quick", place(number, number))
            world.clock.advance(1)
        *early, _ = sorted(await world.store.find(), key=lambda row: row.wake_ms)
        for row in early:
            await moved(world, row, state=b"{")
        world.clock.advance(20)
        for _ in range(3):
            await world.runtime.tick()
        await world.rest()
        assert world.said == ["quick"]


class Damaged(MemoryStore):
    """Cannot read what the first person says."""

    damaged = False

    async def load(self, key: str) -> Loaded | None:
        """See Store.load."""
        if self.damaged and ":1:" in key:
            raise StoreCorrupt(f"{key} is damaged")
        return await super().load(key)


async def test_so_is_one_that_the_store_cannot_read(caplog: pytest.LogCaptureFixture):
    store = Damaged()
    async with running(app, store) as world:
        for number in ("1", "2"):
            await world.says("/quick", place(number, number))
        store.damaged = True
        await world.crash()
        world.clock.advance(20)
        for _ in range(5 * 60):
            await world.runtime.tick()
            world.clock.advance(0.2)
        await world.rest()
        assert world.said == ["quick"]
        assert 5 < len([r for r in caplog.records if r.levelno == logging.ERROR]) < 15


async def test_it_wakes_no_more_than_asked_for_nor_more_at_once(monkeypatch: pytest.MonkeyPatch):
    gates.append(asyncio.Event())
    async with running(app, settings=RuntimeSettings(ack_after_s=0.01)) as world:
        for number in range(7):
            await world.runtime.handle(message("/slow", place(str(number), str(number))))
        world.clock.advance(10)
        assert await world.runtime.tick(2) == 2
        ringing = asyncio.create_task(world.runtime.tick(4, at_once=3))
        done, _ = await asyncio.wait({ringing}, timeout=0.1)
        assert (done, len(gates[-1]._waiters)) == (set(), 3)
        gates[-1].set()
        assert await ringing == 4
        assert await world.runtime.tick(go_on=lambda: False) == 0
        assert await world.runtime.tick() == 1


async def test_what_is_passed_by_hides_nobody_from_whom_wakes_a_few():
    async with running(app) as world:
        for number in "123456":
            await world.says("/quick", place(number, number))
            world.clock.advance(1)
        *early, _ = sorted(await world.store.find(), key=lambda row: row.wake_ms)
        for row in early:
            strange = replace(row, key=f"elsewhere:{row.key}")
            await world.store.commit(Commit(at_ms=0, key=strange.key, row=strange))
            end = Commit(at_ms=0, key=row.key, expect=(row.epoch, row.head))
            await world.store.commit(end)
        world.runtime.turns.cache.clear()
        world.clock.advance(20)
        assert await world.runtime.tick(1) == 1
        await world.rest()
        assert world.said == ["quick"]
