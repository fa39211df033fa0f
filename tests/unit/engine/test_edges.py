"""What seldom happens to a conversation: limits that are reached, races that are lost, code that changed."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from legato import App, Cancelled, Chat
from legato.app import operate
from legato.app.runtime import RuntimeSettings
from legato.engine import journal, turns
from legato.engine.cache import LiveCache
from legato.engine.commands import could_match
from legato.engine.writer import Conflict, ReplySlot
from legato.model.events import Again, Gone, Interrupt, Signal
from legato.model.ids import place_of
from legato.model.records import (
    CONFLICT,
    FAILED,
    RUNNING,
    WAITING,
    Commit,
    Committed,
    State,
    Wait,
)
from legato.stores.memory import MemoryStore
from tests.unit.app.kit import World, message, running

app = App("x")
KEY = "test:bot:1:1:"
COLD = RuntimeSettings(cache=0)


@app.command("ask")
async def ask(chat: Chat) -> None:
    await chat.say(f"{await chat.ask('First?', key='first')}")
    await chat.say(f"{await chat.ask('Second?', key='second')}")


@app.command("nap")
async def nap(chat: Chat) -> None:
    for number in range(150):
        await chat.sleep(0, key=f"{number}")
    await chat.say("awake")


@app.command("signals")
async def signals(chat: Chat) -> None:
    first = await chat.wait_for("a", int)
    second = await chat.wait_for("b", int)
    await chat.say(f"{first} {second} {await chat.wait_for('c', int)}")


@app.command("bug")
async def bug(chat: Chat) -> None:
    raise RuntimeError("a bug")


@app.command("lost")
async def lost(chat: Chat) -> None:
    await chat.goto("nowhere")


@app.command("after")
async def after(chat: Chat) -> None:
    await chat.run(quick)
    raise RuntimeError("a bug")


async def quick() -> None:
    return None


class Fickle(MemoryStore):
    """Loses the next so many races that a conversation's commits run."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0

    async def commit(self, commit: Commit) -> Committed:
        if self.losses and commit.key:
            self.losses -= 1
            return Committed(CONFLICT)
        return await super().commit(commit)


async def rewritten(world: World, **changes: Any) -> None:
    """Somebody else writes the conversation's row."""
    loaded = await world.store.load(KEY)
    assert loaded is not None
    row = loaded.conversation
    new = msgspec.structs.replace(row, head=row.head + 1, **changes)
    await world.store.commit(Commit(at_ms=1, key=KEY, expect=(row.epoch, row.head), row=new))


# -- races and limits ------------------------------------------------------------------------------


async def test_an_answer_that_always_loses_its_race_is_kept_in_the_mailbox():
    store = Fickle()
    async with running(app, store, COLD) as world:
        await world.says("/ask")
        store.losses = turns.MOST_CONFLICTS
        await world.says("one")
        assert [mail.key for mail in await store.mail()] == [KEY]
        assert world.runtime.turns.stats["conflicts"] == turns.MOST_CONFLICTS


async def test_a_timer_that_always_loses_its_race_is_left_to_the_next_tick():
    store = Fickle()
    async with running(app, store, COLD) as world:
        await world.says("/nap")
        store.losses = turns.MOST_CONFLICTS
        await world.runtime.turns.wake(KEY)
        assert world.said == []
        assert store.losses == 0
        for _ in range(2):  # a hundred at once
            await world.runtime.turns.wake(KEY)
        await world.rest()
        assert world.said == ["awake"]


async def test_early_signals_are_found_as_many_as_a_turn_may_take(monkeypatch):
    monkeypatch.setattr(turns, "MOST_MAIL", 2)
    async with running(app, settings=COLD) as world:
        await world.says("/signals")
        for name in ("c", "b"):
            await world.runtime.signal(KEY, name, 7)
        await world.runtime.signal(KEY, "a", 7)
        await world.rest()
        await world.runtime.turns.see_to_end(KEY)
        await world.rest()
        assert world.said == ["7 7 7"]


async def test_a_signal_that_another_process_consumed_voids_this_ones_work():
    async with running(app, settings=COLD) as world:
        await world.says("/ask")
        live: Any = await world.runtime.turns._take(KEY)
        event = message("one")
        await world.store.commit(Commit(at_ms=1, update_id=event.id))
        turn = world.runtime.turns._turn(live, event)
        assert turn.offer(event)
        with pytest.raises(Conflict):
            await world.runtime.turns._go_on(turn)


async def test_an_event_for_a_turn_in_its_middle_waits_for_its_end():
    async with running(app, settings=COLD) as world:
        await world.says("/ask")
        state = journal.encode(State(said=1))
        await rewritten(world, status=RUNNING, state=state)
        assert (await world.runtime.turns.deliver(KEY, message("one"))).taken
        await world.rest()
        assert world.said == ["First?", "one", "Second?"]


# -- parked ones -----------------------------------------------------------------------------------


async def test_a_retry_that_fails_again_says_so_once():
    async with running(app, settings=COLD) as world:
        await world.says("/after")
        await operate.retry(world.store, KEY, world.clock.now_ms())
        await world.runtime.tick()
        await world.rest()
        assert world.said == [app.apology] * 2


async def test_a_parked_conversation_is_ended_by_a_cancellation_and_by_nothing_else():
    async with running(app) as world:
        await world.says("/bug")
        (row,) = await world.store.find(status=FAILED)
        gone = Gone(id="gone", place=place_of(KEY), key=KEY, epoch=row.epoch)
        assert not (await world.runtime.handle(gone)).taken
        again = Again(id="again", place=place_of(KEY), key=KEY)
        assert not (await world.runtime.handle(again)).taken
        cancel = Interrupt(id="cancel", place=place_of(KEY), key=KEY)
        assert (await world.runtime.handle(cancel)).taken
        assert await world.store.find() == []


async def test_to_go_to_a_dialog_that_is_none_parks_it():
    async with running(app) as world:
        await world.says("/lost")
        (row,) = await world.store.find(status=FAILED)
        assert b"'nowhere' is no dialog of this app" in row.state


# -- branches, generators, and other small things ----------------------------------------------------


@pytest.mark.parametrize(("branches", "said"), [((), "at least one"), ((5,), "takes coroutines")])
async def test_a_race_needs_coroutines(bot, branches, said):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        assert await chat.gather() == []
        await chat.race(*branches)

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("Sorry")
    bot.expect_failure(said)


async def test_branches_of_a_branch_that_lost_are_not_begun_any_more(bot):
    new = App("new")
    begun: list[str] = []

    async def inner(name: str) -> str:
        begun.append(name)
        return name

    async def nested(chat: Chat) -> Any:
        return await chat.gather(inner("a"), inner("b"))

    async def at_once() -> str:
        return "won"

    async def stubborn(chat: Chat) -> str:
        try:
            await chat.ask("Never?", key="never")
        except Cancelled:
            raise RuntimeError("too late") from None
        return "never"

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.say(await chat.first(nested(chat), at_once()))
        await chat.say(await chat.first(chat.ask("Well?", key="well"), stubborn(chat)))

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go")
    bot.expect("won", "Well?", "Never?")
    await bot.crash()
    await ann.says("x")
    bot.expect("x")
    assert begun == []


async def test_an_async_generator_that_is_left_is_closed_at_once(bot):
    new = App("new")
    closed: list[str] = []

    async def numbers(chat: Chat, stubborn: bool):
        try:
            while True:
                yield 1
        finally:
            closed.append("closed")
            if stubborn:
                with contextlib.suppress(GeneratorExit):
                    yield 2

    @new.command("go")
    async def go(chat: Chat) -> None:
        for stubborn in (False, True):
            async for _ in numbers(chat, stubborn):
                break
        await chat.say("left")

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("left")
    assert closed


async def test_the_current_task_cannot_be_asked_for(bot):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        asyncio.current_task()

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("Sorry")
    bot.expect_failure("ForeignAwait")


def test_a_signal_matches_the_wait_of_its_name() -> None:
    wait = Wait("0", "signal", "a", events=("signal",), signal="a")
    assert could_match(wait, Signal(id="1", place=place_of(KEY), name="a"))
    assert not could_match(wait, Signal(id="1", place=place_of(KEY), name="b"))


def test_the_room_in_an_answer_is_taken_once_or_closed_once() -> None:
    taken, closed = ReplySlot(), ReplySlot()
    assert taken.take()
    assert taken.take()
    assert not taken.close()
    assert closed.close()
    assert closed.close()
    assert not closed.take()
    assert not closed.hold("lane")
    assert closed.after(lambda lane: None) is None


async def test_the_cache_keeps_one_of_each_and_lets_go_of_what_is_asked_for():
    async with running(app) as world:
        cache: LiveCache = world.runtime.turns.cache
        await world.says("/ask")
        assert len(cache) == 1
        first = cache.take(KEY)
        assert first is not None
        await world.runtime.turns.wake(KEY)
        second = cache.get(KEY)
        assert second is not None
        assert second is not first
        cache.keep(first)
        assert cache.get(KEY) is first
        assert second.driver.evicting
        cache.drop(lambda key: key != KEY)
        assert len(cache) == 1
        cache.drop(lambda key: key == KEY)
        assert len(cache) == 0
        assert first.conversation.status == WAITING
