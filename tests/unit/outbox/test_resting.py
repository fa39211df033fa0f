"""Chats that are to be left alone for a while: who has no time does not wait for them."""

import pytest

from legato.abc import Limits, Verdict
from tests.unit.outbox.kit import World, item, virtual

SLOW = Verdict("retry", retry_after_s=30, error="slow down")


@virtual
async def test_who_gives_up_waits_for_what_can_be_sent_in_time_and_for_nothing_else() -> None:
    async with World() as w:
        w.bot.answer("limited", SLOW, Verdict("sent"))
        w.bot.takes["quick"] = 1.5
        await w.say(item("limited", "x"), item("quick", "y"))
        begun = w.clock.monotonic()
        assert await w.relay.flush(2, give_up=True) == 1
        assert w.clock.monotonic() == pytest.approx(begun + 1.5)
        assert await w.relay.flush(2, give_up=True) == 1
        assert w.clock.monotonic() == pytest.approx(begun + 1.5)
        assert await w.relay.flush(40, give_up=True) == 0


@virtual
async def test_a_bot_that_is_told_to_be_silent_keeps_nobody_waiting() -> None:
    async with World(limits=Limits(bot=(30, 1, 1))) as w:
        w.bot.answer("a", Verdict("retry", retry_after_s=30, whole_bot=True), Verdict("sent"))
        await w.say(item("a", "x"), item("b", "y"))
        await w.relay.flush(1, give_up=True)
        begun = w.clock.monotonic()
        await w.say(item("c", "z"))
        assert await w.relay.flush(10, give_up=True) > 0
        assert w.clock.monotonic() == begun
        assert await w.relay.flush(60, give_up=True) == 0


@virtual
async def test_who_waits_for_a_chat_is_told_once_it_rests_for_longer_than_they_have() -> None:
    async with World() as w:
        w.bot.answer("limited", SLOW, Verdict("sent"))
        w.bot.takes["limited"] = 1
        (one,) = await w.say(item("limited", "x"))
        begun = w.clock.monotonic()
        await w.relay.delivered(one.lane, one.id, 5)
        assert w.clock.monotonic() == pytest.approx(begun + 1)
        await w.relay.delivered(one.lane, one.id, 5)  # it rests already
        assert w.clock.monotonic() == pytest.approx(begun + 1)
        assert not w.relay.idle(one.lane)
        await w.relay.delivered(one.lane, one.id)
        assert w.relay.idle(one.lane)
