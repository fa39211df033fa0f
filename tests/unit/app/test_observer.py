"""What an observer is told of Turns, and what a task and a dialog know of what they work on."""

from contextvars import Context
from typing import Any

import pytest

from legato import App, Chat
from legato.abc.observer import SCOPE, Observer, Scope, Scoping, Several, current_trace
from legato.app.runtime import RuntimeSettings
from tests.unit.app.kit import World, running

app = App("x", apology="")
seen: list[tuple[str, str, str]] = []


@app.command("add")
async def add(chat: Chat) -> None:
    first = await chat.ask("First?", int)
    _look()
    await chat.say(f"Sum: {first + await chat.ask('Second?', int)}")


@app.command("loop")
async def loop(chat: Chat, left: int = 2) -> None:
    _look()
    if left:
        await chat.goto(loop, left=left - 1)


@app.command("bug")
async def bug(chat: Chat) -> None:
    await chat.ask("Go?")
    raise RuntimeError("a bug")


def _look() -> None:
    scope = SCOPE.get()
    if scope is not None:
        seen.append((scope.update, scope.conversation, scope.dialog))


class Turns(Observer):
    """Notes how Turns end."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.records: list[int] = []

    def begin_turn(self, key: str, dialog: str, context: Context) -> Any:
        return object()

    def end_turn(self, began: Any, dialog: str, outcome: str) -> None:
        assert type(began) is object
        self.ended.append((dialog, outcome))

    def replayed(self, records: int) -> None:
        self.records.append(records)


def watched(world: World) -> Turns:
    world.runtime.services.observer = observer = Turns()
    return observer


async def test_each_turn_is_told_with_its_dialog_and_how_it_ended() -> None:
    async with running(app) as world:
        observer = watched(world)

        for text in ("/add", "2", "x", "3"):
            await world.says(text)

    assert observer.ended == [("add", "waiting")] * 3 + [("add", "ended")]


async def test_a_bug_ends_a_turn_as_failed() -> None:
    async with running(app) as world:
        observer = watched(world)
        await world.says("/bug")

        await world.says("yes")

    assert observer.ended[-1] == ("bug", "failed")


async def test_a_tail_call_ends_one_turn_and_begins_another() -> None:
    async with running(app) as world:
        observer = watched(world)

        await world.says("/loop")

    assert [outcome for _, outcome in observer.ended] == ["goto", "goto", "ended"]


async def test_a_repeated_update_ends_as_a_duplicate() -> None:
    async with running(app) as world:
        await world.says("/add")
        event = await world.says("2")
        observer = watched(world)

        await world.receive(event)

    assert observer.ended == [("add", "duplicate")]


async def test_a_conversation_out_of_memory_is_told_with_the_length_of_its_journal() -> None:
    async with running(app, settings=RuntimeSettings(cache=0)) as world:
        observer = watched(world)

        for text in ("/add", "2", "3"):
            await world.says(text)

    assert observer.records == [0, 1]


@pytest.mark.parametrize("cache", [2000, 0], ids=["warm", "cold"])
async def test_a_dialog_knows_the_update_it_works_on(cache: int) -> None:
    async with running(app, settings=RuntimeSettings(cache=cache)) as world:
        world.runtime.services.observer = world.runtime.dispatcher.observer = Scoping()
        await world.says("/add")
        seen.clear()

        event = await world.says("2")

        assert seen == [(event.id, "test:bot:1:1:", "add")]
        assert SCOPE.get() is None


async def test_a_tail_call_knows_it_too() -> None:
    async with running(app) as world:
        world.runtime.services.observer = world.runtime.dispatcher.observer = Scoping()
        seen.clear()

        event = await world.says("/loop")

    assert seen == [(event.id, "test:bot:1:1:", "loop")] * 3


def test_an_update_inside_of_itself_is_one_update() -> None:
    observer = Scoping()

    outer = observer.begin_update("1", trace="a trace")
    inner = observer.begin_update("1")

    assert (inner, current_trace()) == (None, "a trace")
    observer.end_update(inner)
    assert current_trace() == "a trace"
    observer.end_update(outer)
    assert SCOPE.get() is None


def test_an_update_inside_of_another_keeps_its_trace() -> None:
    observer = Scoping()
    outer = observer.begin_update("1", trace="a trace")

    inner = observer.begin_update("1~cancel")

    scope = SCOPE.get()
    assert scope is not None
    assert (scope.update, scope.trace) == ("1~cancel", "a trace")
    observer.end_update(inner)
    observer.end_update(outer)


def test_several_observers_are_told_as_one() -> None:
    first, second = Turns(), Turns()
    both = Several(first, Scoping(), second)
    context = Context()

    update = both.begin_update("1")
    turn = both.begin_turn("key", "dialog", context)
    scope = SCOPE.get()
    both.end_turn(turn, "dialog", "ended")
    both.replayed(3)
    both.end_update(update)

    assert first.ended == second.ended == [("dialog", "ended")]
    assert first.records == second.records == [3]
    assert isinstance(scope, Scope)
    assert context.run(SCOPE.get) is scope
    assert SCOPE.get() is None
