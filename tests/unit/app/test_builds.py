"""Requests go back to older code: conversations stay with the code that can replay them."""

from __future__ import annotations

import logging

import pytest

from legato import App, Cancelled, Chat
from legato.app import operate
from legato.engine import journal
from legato.model.events import Again
from legato.model.ids import place_of
from legato.model.records import FAILED, HELD, WAITING, State
from tests.unit.app.builds_kit import KEY, deployed, shop
from tests.unit.app.kit import running


@pytest.fixture(params=[2000, 0], ids=["warm", "cold"])
def cache(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


async def test_a_conversation_stays_with_the_newer_code_and_a_new_one_begins_under_the_older(
    cache: int,
) -> None:
    async with deployed(shop(1), shop(2), cache=cache) as builds:
        await builds.says("/order")
        builds.goes_back()
        await builds.says("tea")
        await builds.says("milk")
        assert builds.said == ["v2 0?", "v2 1?", "v2: tea milk"]
        assert await builds.rows() == []
        await builds.says("/order")
        await builds.says("tea")
        assert builds.said[3:] == ["v1 0?", "v1: tea"]
        assert [build for build, _ in builds.handed] == [2, 2]


async def test_its_timer_fires_under_the_newer_code(cache: int) -> None:
    async with deployed(shop(1), shop(2), cache=cache) as builds:
        await builds.says("/order")
        builds.goes_back()
        await builds.passes(59)
        assert builds.handed == []
        await builds.passes(2)
        assert builds.said == ["v2 0?", "v2 quiet"]
        assert await builds.rows() == []


async def test_a_command_cancels_it_by_its_own_code_and_then_begins_the_older_dialog(
    cache: int,
) -> None:
    async with deployed(shop(1), shop(2), cache=cache) as builds:
        await builds.says("/order")
        builds.goes_back()
        await builds.says("/order")
        assert builds.said == ["v2 0?", "v2 bye", "v1 0?"]
        assert await builds.build() == 1
        await builds.says("tea")
        assert builds.said[3:] == ["v1: tea"]


async def test_the_cancel_command_of_the_older_code_reaches_it() -> None:
    async with deployed(shop(1), shop(2)) as builds:
        await builds.says("/order")
        builds.goes_back()
        await builds.says("/cancel")
        assert builds.said[:2] == ["v2 0?", "v2 bye"]
        assert await builds.rows() == []


async def test_one_that_catches_its_cancellation_keeps_its_place() -> None:
    new = App("new")

    @new.command("order")
    async def order(chat: Chat) -> None:
        try:
            await chat.ask("Sure?", key="new")
        except Cancelled:
            await chat.say(f"No: {await chat.ask('Really not?')}")

    async with deployed(shop(1), new) as builds:
        await builds.says("/order")
        builds.goes_back()
        await builds.says("/order")
        assert builds.said == ["Sure?", "Really not?", "No: /order"]
        assert await builds.rows() == []


async def test_a_dialog_that_the_older_code_does_not_have_goes_on() -> None:
    async with deployed(shop(1), shop(2)) as builds:
        await builds.says("/late")
        builds.goes_back()
        await builds.says("soon")
        assert builds.said == ["When?", "late v2: soon"]


async def test_what_the_older_code_can_replay_is_its_own_again() -> None:
    async with deployed(shop(1), shop(1), shop(2)) as builds:
        builds.goes_back(2)
        await builds.says("/order")
        assert await builds.build() == 2
        builds.goes_back(1)
        await builds.says("tea")
        assert builds.said == ["v1 0?", "v1: tea"]
        assert builds.handed == []


async def test_newer_code_decides_by_policy_about_what_older_code_wrote() -> None:
    async with deployed(shop(1), shop(2)) as builds:
        builds.goes_back(1)
        await builds.says("/order")
        builds.goes_back(2)
        await builds.says("tea")
        assert builds.handed == []
        assert builds.said == ["v1 0?", "v2 0?"]
        assert await builds.build() == 2


async def test_where_the_newer_build_is_gone_the_policy_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for policy, status in (("restart", WAITING), ("hold", HELD)):
        async with deployed(shop(1, on_change=policy), shop(2)) as builds:
            await builds.says("/order")
            builds.goes_back()
            del builds.apps[2]
            await builds.says("tea")
            assert "build 2, which wrote it, is gone" in caplog.text
            (row,) = await builds.rows()
            assert row.status == status
            assert builds.said == ["v2 0?", "v1 0?"][: 2 if policy == "restart" else 1]


def breaking(version: int) -> App:
    """In its first version it fails once it was told something."""
    app = App("breaking", apology="Sorry")

    @app.command("trip")
    async def trip(chat: Chat) -> None:
        where = await chat.ask("Where?", timeout=60)
        if version == 1:
            raise RuntimeError("an old bug")
        await chat.say(f"{where}, {await chat.ask('When?', timeout=60)}")

    return app


async def test_older_code_that_fails_in_the_replay_parks_nothing() -> None:
    async with deployed(breaking(1), breaking(2)) as builds:
        await builds.says("/trip")
        await builds.says("Rome")
        builds.goes_back()
        await builds.passes(10)
        await builds.says("today")
        assert builds.said == ["Where?", "When?", "Rome, today"]


@pytest.mark.parametrize("gone", [False, True])
async def test_a_timer_at_which_older_code_fails_in_the_replay_is_the_newer_builds(
    gone: bool,
) -> None:
    async with deployed(breaking(1), breaking(2)) as builds:
        await builds.says("/trip")
        await builds.says("Rome")
        builds.goes_back()
        if gone:
            del builds.apps[2]
        await builds.passes(61)
        assert [work.event for _, work in builds.handed] == [None]
        if gone:
            (row,) = await builds.rows()
            assert row.status == FAILED
            assert builds.said[2:] == ["Sorry"]
        else:
            assert await builds.rows() == []


async def test_older_code_that_fails_in_the_replay_of_a_build_that_is_gone_parks_it() -> None:
    async with deployed(breaking(1), breaking(2)) as builds:
        await builds.says("/trip")
        await builds.says("Rome")
        builds.goes_back()
        del builds.apps[2]
        await builds.says("today")
        (row,) = await builds.rows()
        assert row.status == FAILED
        assert journal.decode_state(row.state).build == 2  # its journal is


async def test_a_failure_of_the_older_code_itself_stays_its_own() -> None:
    async with deployed(breaking(1), breaking(2)) as builds:
        await builds.says("/trip")
        builds.goes_back()
        await builds.says("Rome")  # the older code replays it, and goes on
        assert builds.handed == []
        (row,) = await builds.rows()
        assert row.status == FAILED
        await operate.retry(builds.kept, row.key, builds.clock.now_ms())
        await builds.passes(1)
        assert builds.handed == []  # what it is retried with was not written by anybody
        assert [one.status for one in await builds.rows()] == [FAILED]


async def test_an_operator_retries_what_the_newer_build_has_parked() -> None:
    new, broken = App("new", apology="Sorry"), [True]

    @new.command("trip")
    async def trip(chat: Chat) -> None:
        where = await chat.ask("Where to?", key="new")
        if broken:
            raise RuntimeError("a bug")
        await chat.say(f"To {where}")

    async with deployed(shop(1), new) as builds:
        await builds.says("/trip")
        await builds.says("Rome")
        builds.goes_back()
        await builds.says("Well?")
        assert builds.handed == []  # what is parked runs nowhere
        broken.clear()
        (row,) = await builds.rows()
        await operate.retry(builds.kept, row.key, builds.clock.now_ms())
        await builds.passes(1)
        assert builds.said == ["Where to?", "Sorry", "To Rome"]


async def test_an_operator_cancels_and_signals_it() -> None:
    new = App("new")

    @new.command("pay")
    async def pay(chat: Chat) -> None:
        await chat.say(f"paid {await chat.wait_for('paid', int)}")
        await chat.wait_for("sent")

    async with deployed(shop(1), new) as builds:
        await builds.says("/pay")
        builds.goes_back()
        await operate.signal(builds.kept, KEY, "paid", 7, now_ms=builds.clock.now_ms(), unique="1")
        await builds.passes(1)
        assert builds.said == ["paid 7"]
        await operate.cancel(builds.kept, KEY, builds.clock.now_ms(), "2")
        await builds.passes(1)
        assert await builds.rows() == []


def helpful(version: int) -> App:
    """Something answers beside the order."""
    app = shop(version)

    @app.command("hours", anywhere=True)
    async def hours(chat: Chat) -> None:
        await chat.say("9 to 5")

    return app


async def test_after_something_else_was_said_beside_it_the_newer_code_asks_again() -> None:
    async with deployed(helpful(1), helpful(2)) as builds:
        await builds.says("/order")
        builds.goes_back()
        await builds.says("/hours")
        assert builds.said == ["v2 0?", "9 to 5", "v2 0?"]
        del builds.apps[2]
        await builds.says("/hours")
        assert builds.said[3:] == ["9 to 5"]  # nobody can ask, and nothing is lost
        assert len(await builds.rows()) == 1


async def test_older_code_that_fails_in_the_replay_lets_the_newer_one_ask_again() -> None:
    old, new = breaking(1), breaking(2)
    for app in (old, new):

        @app.command("hours", anywhere=True)
        async def hours(chat: Chat) -> None:
            await chat.say("9 to 5")

    async with deployed(old, new) as builds:
        await builds.says("/trip")
        await builds.says("Rome")
        builds.goes_back()
        await builds.says("/hours")
        assert builds.said[2:] == ["9 to 5", "When?"]


async def test_nothing_is_handed_over_for_which_nothing_is_to_be_done() -> None:
    async with deployed(breaking(2), breaking(1)) as builds:
        again = Again(id="again", place=place_of(KEY), key=KEY)
        assert not (await (await builds.process()).turns.ask_again(again)).taken  # nobody is there
        await builds.says("/trip")
        builds.goes_back()
        older = await builds.process()
        older.app.dialogs._by_name.clear()
        await older.dispatcher.wake(KEY)  # not due yet
        await builds.says("Rome")  # fails there
        assert [build for build, _ in builds.handed] == [2]
        assert [row.status for row in await builds.rows()] == [FAILED]
        assert not (await older.turns.ask_again(again)).taken  # what is parked says nothing
        assert len(builds.handed) == 1


# -- without builds --------------------------------------------------------------------------------


async def test_where_builds_have_no_number_none_is_stored() -> None:
    async with running(shop(2)) as world:
        await world.says("/order")
        loaded = await world.store.load(KEY)
        assert loaded is not None
        assert b"build" not in loaded.conversation.state
    assert journal.encode(State()) == b"{}"


async def test_a_build_beside_which_there_is_no_other_decides_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with deployed(shop(1), shop(2)) as builds:
        await builds.says("/order")
        builds.goes_back()
        older = await builds.process()
        older.services.elsewhere = None
        await builds.says("tea")
        assert builds.said == ["v2 0?", "v1 0?"]
        assert "the journal has 'ask v2-0'" in caplog.text
