"""Acknowledgements go out at once, beside the lanes."""

import asyncio
import logging

import pytest

from legato.abc import Verdict
from legato.model.records import Call
from legato.outbox.acks import WAITING
from tests.unit.outbox.kit import ELSEWHERE, World, item, place, virtual


@virtual
async def test_an_acknowledgement_overtakes_what_its_lane_waits_for() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("retry", retry_after_s=30), Verdict("sent"))
        await w.say(item("a"), item("b"))
        w.relay.ack(Call("ack"), place())
        await asyncio.sleep(1)
        assert w.bot.methods() == ["a", "ack"]
        await w.relay.flush(60)


@virtual
async def test_acknowledgements_are_bounded_and_the_oldest_waiting_ones_are_dropped() -> None:
    async with World(acks=2) as w:
        w.bot.takes_s = 1.0
        for n in range(WAITING + 10):
            w.relay.ack(Call(f"{n}"), place())
        await w.relay.flush(10_000)
        assert w.bot.most_running == 2
        assert len(w.bot.tries) == WAITING
        assert w.bot.methods()[-1] == f"{WAITING + 9}"


@virtual
async def test_an_expired_acknowledgement_is_dropped() -> None:
    async with World() as w:
        w.relay.ack(Call("late", expires_ms=1), place())
        w.relay.ack(Call("fine"), place())
        await w.relay.flush(1)
        assert w.bot.methods() == ["fine"]


@virtual
async def test_no_acknowledgement_is_sent_while_the_whole_bot_must_be_silent() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("retry", retry_after_s=30, whole_bot=True), Verdict("sent"))
        await w.say(item("a"))
        await asyncio.sleep(1)
        w.relay.ack(Call("ack"), place())
        await w.relay.flush(60)
        assert w.bot.methods() == ["a", "a"]


def test_a_failed_acknowledgement_is_a_debug_line_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @virtual
    async def fail() -> None:
        async with World() as w:
            w.bot.answer("old", Verdict("refused", error="query is too old"))
            w.bot.answer("bug", KeyError("s3cret"))
            w.relay.ack(Call("old"), place())
            w.relay.ack(Call("bug"), place())
            w.relay.ack(Call("nobody"), ELSEWHERE)
            await w.relay.flush(1)

    with caplog.at_level(logging.DEBUG, "legato.relay"):
        fail()
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert "query is too old" in caplog.text
    assert "s3cret" not in caplog.text


@virtual
async def test_a_close_drops_what_is_on_its_way() -> None:
    w = World()
    w.bot.takes_s = 1000.0
    w.relay.ack(Call("ack"), place())
    await asyncio.sleep(1)
    await w.relay.close()
    assert asyncio.get_running_loop().time() == 1001.0
