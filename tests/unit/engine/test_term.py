"""A process whose time is short: a Turn stops before a step, and goes on in the next one."""

import asyncio

import pytest

from legato import App, Chat
from legato.app.runtime import RuntimeSettings
from legato.engine.term import Term
from legato.errors import Unavailable
from tests.unit.app.kit import World, message, running

KEY = "test:bot:1:1:"
ran: list[str] = []
begun = asyncio.Event()


class Short(Term):
    """A term that a test ends."""

    __slots__ = ("alarms", "over", "until")

    def __init__(self, until_ms: int = 0, *, over: bool = False) -> None:
        self.over = over
        self.until = until_ms
        self.alarms: list[tuple[str, int]] = []

    def may_begin(self) -> bool:
        return not self.over

    def until_ms(self) -> int:
        return self.until

    def alarm(self, key: str, wake_ms: int) -> None:
        self.alarms.append((key, wake_ms))


app = App("long")


@app.command("work")
async def work(chat: Chat) -> None:
    await chat.say("begun")
    for name in ("first", "second"):
        await chat.run(ran.append, name)
    await chat.say("done")
    await chat.ask("Next?", timeout=90)


@app.command("both")
async def both(chat: Chat) -> None:
    await chat.gather(chat.run(ran.append, "first"), chat.run(ran.append, "second"))
    await chat.say("done")


@app.command("once")
async def once(chat: Chat) -> None:
    await chat.run(ran.append, "once", at_most_once=True)
    await chat.say("done")


@app.command("stuck")
async def stuck(chat: Chat) -> None:
    await chat.run(stuck_once)
    await chat.say("done")


async def stuck_once() -> None:
    ran.append("stuck")
    if len(ran) == 1:
        begun.set()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()
    begun.clear()


async def test_a_turn_stops_before_a_step_for_which_there_is_no_time_and_goes_on_in_the_next_term():
    term = Short()
    async with running(app, settings=RuntimeSettings(term=term)) as world:
        term.over = True
        await world.says("/work")
        assert (ran, world.said) == ([], ["begun"])

        term.over = False
        assert await world.runtime.tick() == 1
        await world.rest()
        assert (ran, world.said) == (["first", "second"], ["begun", "done", "Next?"])


async def test_what_a_step_gave_is_kept_when_there_is_no_time_for_the_next(monkeypatch):
    term = Short()
    async with running(app, settings=RuntimeSettings(term=term)) as world:
        monkeypatch.setattr(Short, "may_begin", lambda self: not ran)
        await world.says("/work")
        assert ran == ["first"]

        monkeypatch.undo()
        await world.crash()  # the next one is cold: it replays what was written
        await world.rest()
        assert (ran, world.said) == (["first", "second"], ["begun", "done", "Next?"])


async def test_steps_side_by_side_that_run_are_waited_for(monkeypatch):
    term = Short()
    async with running(app, settings=RuntimeSettings(term=term)) as world:
        await world.says("/both")
        assert sorted(ran) == ["first", "second"]
        assert world.said == ["done"]


async def test_a_step_that_must_not_run_twice_was_not_begun_when_there_was_no_time_for_it():
    term = Short(over=True)
    async with running(app, settings=RuntimeSettings(term=term)) as world:
        await world.says("/once")
        assert ran == []
        term.over = False
        await world.runtime.tick()
        await world.rest()
        assert (ran, world.said) == (["once"], ["done"])


async def test_the_next_word_is_refused_while_a_paused_turn_has_no_time_and_nothing_of_it_is_lost():
    term = Short(over=True)
    async with running(app, settings=RuntimeSettings(term=term)) as world:
        await world.says("/work")
        word = message("hello")
        with pytest.raises(Unavailable, match="next invocation"):
            await world.receive(word)
        term.over = False
        await world.receive(word)  # the platform repeats it
        await world.rest()
        assert ran == ["first", "second"]
        assert await _status(world) == "no conversation"


async def test_an_unfinished_turn_is_left_alone_while_whoever_began_it_has_time():
    async with running(app, settings=RuntimeSettings(term=Short())) as world:
        until = world.clock.now_ms() + 10_000
        dying = World(app, world.store, RuntimeSettings(term=Short(until)))
        dying.clock = world.clock
        dying.runtime = dying.process()
        await dying.runtime.start(loops=False)
        turn = asyncio.create_task(dying.runtime.handle(message("/stuck")))
        await begun.wait()
        turn.cancel()  # it dies in the middle of its step
        await asyncio.wait({turn})
        await dying.runtime.abandon()

        with pytest.raises(Unavailable, match="another process"):
            await world.receive(message("hello"))
        assert await world.runtime.tick() == 0
        world.clock.advance(11)
        assert await world.runtime.tick() == 1
        await world.rest()
        assert (ran, world.said) == (["stuck", "stuck"], ["done"])


async def test_it_is_told_when_a_conversation_waits_for_a_time():
    term = Short()
    async with running(app, settings=RuntimeSettings(term=term)) as world:
        await world.says("/work")
        assert term.alarms == [(KEY, world.clock.now_ms() + 90_000)]


async def _status(world: World) -> str:
    loaded = await world.store.load(KEY)
    return "no conversation" if loaded is None else loaded.conversation.status
