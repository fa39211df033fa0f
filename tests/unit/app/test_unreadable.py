"""What cannot be read in the store stops nobody but itself."""

import pytest
from msgspec.structs import replace

from legato import App, Chat
from legato.model.ids import conversation_key
from legato.model.records import RUNNING, Commit, Mail
from tests.unit.app.kit import World, message, place, running

app = App("unreadable", apology="")


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say(f"Hello {await chat.ask('Name?')}")


nap = App("nap", apology="", help=False)


@nap.command("nap")
async def sleeps(chat: Chat) -> None:
    await chat.sleep(60)
    await chat.say("awake")


async def _broken_mail(world: World) -> None:
    key = conversation_key(place("1", "1"), "user_in_chat")
    mail = Mail("test:bot:newer", key, b'{"type":"of a newer version"}')
    await world.store.commit(Commit(at_ms=0, deposit=(mail,)))


async def _broken_row(world: World) -> None:
    await world.says("/start", place("1", "1"))
    (row,) = await world.store.find()
    broken = replace(row, status=RUNNING, state=b"{", head=row.head + 1)
    commit = Commit(at_ms=0, key=row.key, expect=(row.epoch, row.head), row=broken)
    await world.store.commit(commit)
    world.runtime.turns.cache.clear()


@pytest.mark.parametrize("breaks", [_broken_mail, _broken_row])
async def test_what_cannot_be_read_stops_neither_a_start_nor_others(breaks) -> None:
    async with running(app) as world:
        await breaks(world)
        await world.says("/start", place("2", "2"))
        answer = message("Bob", place("2", "2"))
        await world.runtime.postbox.deposit([answer])
        await world.crash()
        await world.rest()
        assert world.said[-1] == "Hello Bob"
        await world.says("/start", place("3", "3"))
        assert world.said[-1] == "Name?"


async def test_a_timer_that_cannot_be_read_holds_up_no_page_behind_it(monkeypatch) -> None:
    monkeypatch.setattr("legato.app.alarm.PAGE", 2)
    async with running(nap) as world:
        for number in ("1", "2", "3"):
            await world.says("/nap", place(number, number))
            world.clock.advance(1)
        first, *_ = sorted(await world.store.find(), key=lambda row: row.wake_ms)
        broken = replace(first, state=b"{", head=first.head + 1)
        await world.store.commit(
            Commit(at_ms=0, key=first.key, expect=(first.epoch, first.head), row=broken)
        )
        world.runtime.turns.cache.clear()
        world.clock.advance(60)
        await world.runtime.tick()
        await world.rest()
        assert world.said == ["awake", "awake"]


async def test_mail_that_a_bug_keeps_from_being_applied_holds_up_none_behind_it(
    monkeypatch,
) -> None:
    async with running(app) as world:
        await world.says("/start")
        await world.runtime.postbox.deposit([message("boom"), message("Ann")])
        await world.runtime.abandon()
        world.runtime = world.process()
        dispatch = world.runtime.dispatcher.dispatch

        async def buggy(event, **options):
            if getattr(event, "text", "") == "boom":
                raise ValueError("a bug of ours")
            return await dispatch(event, **options)

        monkeypatch.setattr(world.runtime.dispatcher, "dispatch", buggy)
        await world.runtime.start(loops=False)
        await world.runtime.resume()
        await world.rest()
        assert world.said == ["Name?", "Hello Ann"]
