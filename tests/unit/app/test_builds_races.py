"""Two builds are at one conversation, an update comes twice, a process dies in between: nothing is lost or done twice."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from legato import App, Chat
from legato.app.operate import retry
from legato.engine import journal
from legato.engine.outcomes import Handed
from legato.engine.term import Term
from legato.errors import Unavailable
from legato.model.events import Interrupt
from legato.model.ids import place_of
from legato.model.records import FAILED, RUNNING, WAITING, Commit, Loaded
from legato.stores.memory import MemoryStore
from tests.unit.app.builds_kit import KEY, Builds, deployed, shop
from tests.unit.app.kit import message


@pytest.fixture(params=[2000, 0], ids=["warm", "cold"])
def cache(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


async def test_an_update_that_comes_twice_is_applied_once(cache: int) -> None:
    async with deployed(shop(1), shop(2), cache=cache) as builds:
        await builds.says("/order")
        builds.goes_back()
        tea = await builds.says("tea")
        await builds.receive(tea)
        assert builds.said == ["v2 0?", "v2 1?"]
        milk = await builds.says("milk")
        await builds.receive(milk)
        await builds.receive(tea)
        assert builds.said[2:] == ["v2: tea milk"]


async def test_requests_go_forth_and_back_and_each_build_knows_what_the_other_did() -> None:
    async with deployed(shop(2), shop(2), shop(3)) as builds:
        builds.goes_back(2)
        await builds.says("/order")
        builds.goes_back(1)
        await builds.says("tea")  # the same code: its own
        builds.goes_back(2)
        await builds.says("milk")
        assert builds.said == ["v2 0?", "v2 1?", "v2: tea milk"]


async def test_what_is_handed_over_goes_no_further(cache: int) -> None:
    async with deployed(shop(1), shop(2), shop(3), cache=cache) as builds:
        await builds.says("/order")
        second = await builds.process(2)
        event = message("tea")
        assert await second.turns.handed(Handed(KEY, event)) is None
        assert await second.turns.handed(Handed(KEY)) is None
        builds.goes_back(1)
        await builds.receive(event)
        assert builds.said == ["v3 0?", "v3 1?"]


async def test_what_the_older_code_has_taken_over_meanwhile_is_not_the_newer_builds(
    cache: int,
) -> None:
    async with deployed(shop(1), shop(2), cache=cache) as builds:
        await builds.says("/order")
        late = message("tea")
        builds.goes_back()
        await builds.says("/order")
        assert await builds.build() == 1
        newer = await builds.process(2)
        assert await newer.turns.handed(Handed(KEY, late)) is None
        assert await newer.turns.handed(Handed(KEY)) is None
        assert (await builds.rows())[0].status == WAITING
        await builds.receive(late)
        assert builds.said == ["v2 0?", "v2 bye", "v1 0?", "v1: tea"]


async def test_what_is_over_when_it_is_handed_over_is_for_others() -> None:
    async with deployed(shop(1), shop(2)) as builds:
        newer = await builds.process()
        outcome = await newer.turns.handed(Handed(KEY, message("tea")))
        assert outcome is not None
        assert not outcome.taken


async def test_what_the_newer_build_has_in_memory_is_not_older_than_what_is_stored() -> None:
    async with deployed(shop(1), shop(2)) as builds:
        await builds.says("/order")
        old = builds.processes.pop(2)  # another process of the same build goes on
        builds.goes_back()
        await builds.says("tea")
        await builds.processes.pop(2).stop()
        builds.processes[2] = old
        await builds.passes(61)
        assert builds.said == ["v2 0?", "v2 1?", "v2 quiet"]


async def test_while_the_newer_build_is_at_it_nobody_else_touches_it() -> None:
    new, begun, end = App("new"), asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await end.wait()
        return "done"

    @new.command("work")
    async def work(chat: Chat) -> None:
        await chat.say(f"v2 {await chat.run(slow)}")
        await chat.ask("v2?", key="v2")

    class Ends(Term):
        __slots__ = ()

        def until_ms(self) -> int:
            return builds.clock.now_ms() + 10_000

    async with deployed(shop(1), new) as builds:
        builds.term = Ends()
        newer = await builds.process()
        turn = asyncio.create_task(newer.handle(message("/work")))
        await begun.wait()
        builds.goes_back()
        older = await builds.process()
        with pytest.raises(Unavailable, match="another process works on"):
            await older.handle(message("hello"))
        assert builds.handed == []
        end.set()
        await turn
        await newer.relay.flush(60)
        assert builds.said == ["v2 done", "v2?"]


async def test_a_turn_of_the_newer_build_that_was_interrupted_is_finished_by_it() -> None:
    new, begun = App("new"), asyncio.Event()

    async def once() -> str:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return "done"

    @new.command("work")
    async def work(chat: Chat) -> None:
        await chat.say(f"v2 {await chat.run(once)}")

    async with deployed(shop(1), new) as builds:
        newer = await builds.process()
        turn = asyncio.create_task(newer.handle(message("/work")))
        await begun.wait()
        turn.cancel()
        await asyncio.wait({turn})
        await builds.dies(2)
        assert [row.status for row in await builds.rows()] == [RUNNING]
        builds.goes_back()
        await builds.says("hello")  # a fresh process takes up what was left
        assert builds.said == ["v2 done"]


async def test_what_a_repeated_update_left_unfinished_is_finished_without_the_mail_of_others() -> (
    None
):
    new = App("new")

    @new.command("pay")
    async def pay(chat: Chat) -> None:
        await chat.ask("Sum?", int, key="sum")
        await chat.gather(chat.ask("Name?"), chat.wait_for("paid", int))

    async with deployed(shop(1), new) as builds:
        await builds.says("/pay")
        five = await builds.says("5")
        builds.goes_back()
        await builds.process()
        for_older = message("/order")
        await (await builds.process(2)).postbox.deposit([for_older])
        newer = await builds.process(2)
        outcome = await newer.turns.handed(Handed(KEY, five))
        assert outcome is not None
        assert outcome.duplicate
        assert [mail.id for mail in await builds.kept.mail()] == [for_older.id]


async def test_the_event_of_an_interruption_is_known_by_its_update() -> None:
    async with deployed(shop(1), shop(2)) as builds:
        await builds.says("/order")
        builds.goes_back()
        order = await builds.says("/order")
        await builds.receive(order)
        interrupt = builds.handed[0][1].event
        assert isinstance(interrupt, Interrupt)
        assert interrupt.place == place_of(KEY)
        assert builds.said == ["v2 0?", "v2 bye", "v1 0?"]


# -- deaths ----------------------------------------------------------------------------------------


async def _story(builds: Builds) -> list[str]:
    """What is said while somebody orders from the newer code, goes quiet, and orders from both again."""
    builds.live = 2
    await builds.says("/order")
    builds.goes_back()
    await builds.says("tea")
    await builds.passes(61)
    builds.live = 2
    await builds.says("/order")
    builds.goes_back()
    await builds.says("/order")
    await builds.says("milk")
    assert await builds.rows() == []
    return builds.said


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_whoever_dies_at_whichever_commit_nothing_is_lost_or_done_twice(
    cache: int, after: bool
) -> None:
    async with deployed(shop(1), shop(2), cache=cache) as builds:
        told = await _story(builds)
        commits = builds.commits
    assert told == ["v2 0?", "v2 1?", "v2 quiet", "v2 0?", "v2 bye", "v1 0?", "v1: milk"]
    for fuse in range(commits):
        async with deployed(shop(1), shop(2), cache=cache) as builds:
            builds.fuse, builds.after = fuse, after
            said = await _story(builds)
            assert builds.deaths == 1
            assert _once(said) == told, f"death at commit {fuse}"


def _once(said: list[str]) -> list[str]:
    """Without what was said again right after itself: a death may leave a sent message unmarked."""
    return [text for number, text in enumerate(said) if not number or said[number - 1] != text]


async def nothing() -> None:
    """Nobody is faster."""


async def test_what_is_given_up_is_parked_with_what_came_for_it(cache: int) -> None:
    async with deployed(shop(1), shop(2), cache=cache) as builds:
        await builds.says("/order")
        builds.goes_back()
        builds.given_up = nothing
        await builds.says("tea")
        (row,) = await builds.rows()
        assert row.status == FAILED
        assert journal.decode_state(row.state).error == "it fails each time"
        builds.given_up = None
        await retry(builds.kept, row.key, builds.clock.now_ms())
        await builds.passes(1)
        await builds.says("milk")
        assert builds.said == ["v2 0?", "v2 1?", "v2: tea milk"]


@pytest.mark.parametrize("by", ["tea", "time"])
async def test_what_is_given_up_is_left_alone_if_somebody_has_moved_it_meanwhile(
    by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is read again, and between that and the write."""
    async with deployed(shop(1), shop(2)) as builds:
        await builds.says("/order")
        builds.goes_back()

        async def moves() -> None:
            if len(builds.handed) <= 2:
                (row,) = await builds.rows()
                moved = structs.replace(row, head=row.head + 1)
                fence = (row.epoch, row.head)
                await builds.kept.commit(
                    Commit(at_ms=builds.clock.now_ms(), key=row.key, expect=fence, row=moved)
                )

        load = MemoryStore.load

        async def found(store: MemoryStore, key: str) -> Loaded | None:
            loaded = await load(store, key)
            monkeypatch.setattr(MemoryStore, "load", load)
            await moves()
            return loaded

        async def patched() -> None:
            if len(builds.handed) == 1:
                monkeypatch.setattr(MemoryStore, "load", found)

        builds.given_up = moves if by == "tea" else patched
        if by == "tea":
            await builds.says("tea")
        else:
            await builds.passes(61)
            await builds.passes(1)  # the next tick
        assert len(builds.handed) == (3 if by == "tea" else 2)
        (row,) = await builds.rows()
        assert row.status == FAILED


async def test_what_is_given_up_and_over_by_then_is_nobodys() -> None:
    async with deployed(shop(1), shop(2)) as builds:
        await builds.says("/order")
        builds.goes_back()

        async def ends() -> None:
            (row,) = await builds.rows()
            fence = (row.epoch, row.head)
            await builds.kept.commit(
                Commit(at_ms=builds.clock.now_ms(), key=row.key, expect=fence, row=None)
            )

        builds.given_up = ends
        await builds.says("tea")
        assert await builds.rows() == []
        assert len(builds.handed) == 1
