"""Order within a lane, lanes side by side."""

import asyncio

import pytest

from legato.abc import Limits, Verdict
from legato.errors import Unavailable
from legato.model.records import Call
from legato.testing.clock import FakeClock
from tests.unit.outbox.kit import World, item, place, virtual


@virtual
async def test_a_lane_is_sent_in_order_one_at_a_time() -> None:
    async with World() as w:
        w.bot.takes_s = 1.0
        await w.say(item("a"), item("b"))
        await w.say(item("c"))
        assert await w.relay.flush(60) == 0
        assert [(at - 1000.0, method) for at, _, method in w.bot.tries] == [
            (0.0, "a"),
            (1.0, "b"),
            (2.0, "c"),
        ]
        assert await w.rows() == []
        assert w.relay.stats.sent == 3


@virtual
async def test_lanes_go_side_by_side_up_to_the_limit() -> None:
    async with World(concurrency=3) as w:
        w.bot.takes_s = 1.0
        await w.say(*(item("m", f"chat{n}") for n in range(10)))
        await w.relay.flush(60)
        assert w.bot.most_running == 3
        assert [at - 1000.0 for at, _, _ in w.bot.tries] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


@virtual
async def test_a_long_lane_does_not_starve_the_others() -> None:
    async with World(concurrency=1) as w:
        await w.say(*(item(f"long{n}", "a") for n in range(5)), item("short", "b"))
        await w.relay.flush(60)
        assert w.bot.methods().index("short") <= 1


@virtual
async def test_a_held_lane_waits_until_the_last_hold_is_released() -> None:
    async with World() as w:
        lane = place().lane
        w.relay.hold(lane)
        w.relay.hold(lane)
        await w.say(item("a"), item("b", "other"))
        await asyncio.sleep(1)
        assert w.bot.methods() == ["b"]
        w.relay.release(lane)
        await asyncio.sleep(1)
        assert w.bot.methods() == ["b"]
        w.relay.release(lane)
        assert await w.relay.flush(60) == 0
        assert w.bot.methods() == ["b", "a"]


@virtual
async def test_a_hold_during_a_send_stops_the_next_one_only() -> None:
    async with World() as w:
        w.bot.takes_s = 5.0
        await w.say(item("a"), item("b"))
        await asyncio.sleep(1)
        w.relay.hold(place().lane)
        await asyncio.sleep(60)
        assert w.bot.methods() == ["a"]
        w.relay.release(place().lane)
        assert await w.relay.flush(60) == 0
        assert w.bot.methods() == ["a", "b"]


@virtual
async def test_a_hold_while_the_head_waits_for_its_retry_is_respected() -> None:
    async with World() as w:
        w.bot.answer("a", Verdict("retry", retry_after_s=3), Verdict("sent"))
        await w.say(item("a"))
        await asyncio.sleep(1)
        w.relay.hold(place().lane)
        await asyncio.sleep(60)
        assert w.bot.methods() == ["a"]
        w.relay.release(place().lane)
        assert await w.relay.flush(60) == 0
        assert w.bot.methods() == ["a", "a"]


@virtual
async def test_a_release_without_hold_does_nothing_and_a_held_lane_takes_no_other_reply() -> None:
    async with World() as w:
        w.relay.release("nowhere")
        w.relay.hold("lane")
        assert not w.relay.idle("lane")
        w.relay.release("lane")
        w.relay.release("lane")
        assert w.relay.idle("lane")
        assert await w.relay.flush(1) == 0


@virtual
async def test_a_lane_is_idle_only_when_nothing_is_queued_or_under_way() -> None:
    async with World() as w:
        w.bot.takes_s = 1.0
        assert w.relay.idle(place().lane)
        await w.say(item("a"))
        await asyncio.sleep(0.5)
        assert not w.relay.idle(place().lane)
        assert w.relay.idle(place("other").lane)
        await w.relay.flush(60)
        assert w.relay.idle(place().lane)


@virtual
async def test_delivered_returns_when_the_fate_of_all_items_up_to_an_id_is_known() -> None:
    async with World() as w:
        loop = asyncio.get_running_loop()
        w.bot.takes_s = 1.0
        w.bot.answer("b", Verdict("refused"))
        said = await w.say(item("a"), item("b"), item("c"))
        await w.relay.delivered(place().lane, said[1].id)
        assert loop.time() == 1002.0
        await w.relay.delivered(place().lane, said[2].id)
        assert loop.time() == 1003.0
        await w.relay.delivered(place().lane, said[2].id)
        await w.relay.delivered("never heard of", 99)
        assert loop.time() == 1003.0


@virtual
async def test_a_call_goes_behind_what_is_queued_and_gives_its_verdict() -> None:
    async with World() as w:
        w.bot.takes_s = 1.0
        w.bot.answer("get", Verdict("retry"), Verdict("sent", result={"x": 1}))
        await w.say(item("a"))
        asked = asyncio.create_task(w.relay.call(Call("get"), place()))
        await asyncio.sleep(0)
        await w.say(item("b"))
        verdict = await asked
        assert (verdict.outcome, verdict.result) == ("sent", {"x": 1})
        await w.relay.flush(60)
        assert w.bot.methods() == ["a", "get", "get", "b"]
        assert await w.rows() == []


@virtual
async def test_a_call_that_nobody_waits_for_any_more_is_not_made() -> None:
    async with World() as w:
        w.bot.takes_s = 1.0
        await w.say(item("a"))
        asked = asyncio.create_task(w.relay.call(Call("get"), place()))
        await asyncio.sleep(0.5)
        asked.cancel()
        assert await w.relay.flush(60) == 0
        assert w.bot.methods() == ["a"]


@virtual
async def test_a_call_ends_with_the_verdict_that_is_final() -> None:
    async with World(call_give_up_s=10) as w:
        w.bot.answer("refused", Verdict("refused", error="no"))
        w.bot.answer("gone", Verdict("gone", error="blocked"))
        w.bot.answer("unknown", Verdict("unknown", error="cut"))
        w.bot.answer("never", Verdict("retry", error="down"))
        for method, delivery, outcome, error in (
            ("refused", "at_least_once", "refused", "no"),
            ("gone", "at_least_once", "gone", "user is gone: blocked"),
            ("unknown", "at_most_once", "unknown", "sent or not, nobody knows: cut"),
            ("unknown", "at_least_once", "unknown", "gave up after 5 tries: cut"),
            ("never", "at_least_once", "refused", "gave up after 5 tries: down"),
        ):
            verdict = await w.relay.call(Call(method), place(), delivery, key=method, epoch=1)
            assert (verdict.outcome, verdict.error) == (outcome, error)


@virtual
async def test_whoever_waits_when_the_relay_closes_is_told_so() -> None:
    w = World()
    w.bot.takes_s = 100.0
    said = await w.say(item("a"))
    waiting = asyncio.gather(
        w.relay.call(Call("get"), place()),
        w.relay.delivered(place().lane, said[0].id),
        return_exceptions=True,
    )
    await asyncio.sleep(1)
    await w.relay.close()
    await w.relay.close()
    assert [type(error) for error in await waiting] == [Unavailable, Unavailable]
    with pytest.raises(Unavailable):
        await w.relay.call(Call("get"), place())
    w.relay.ack(Call("late"), place())
    await w.say(item("b"))
    assert await w.fates() == {"a": "queued", "b": "queued"}
    assert w.bot.methods() == ["a"]


@virtual
async def test_whoever_stopped_waiting_disturbs_nobody() -> None:
    async with World() as w:
        w.bot.takes_s = 1.0
        said = await w.say(item("a"), item("b"))
        waiting = [
            asyncio.create_task(w.relay.delivered(place().lane, said[0].id)),
            asyncio.create_task(w.relay.delivered(place().lane, said[1].id)),
            asyncio.create_task(w.relay.call(Call("get"), place("other"))),
        ]
        await asyncio.sleep(0.5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(1)
        assert w.bot.methods() == ["a", "get", "b"]
        await w.relay.close()
        assert await w.fates() == {"b": "queued"}


@virtual
async def test_flush_returns_at_its_deadline_with_what_is_left() -> None:
    async with World() as w:
        w.bot.takes_s = 10.0
        await w.say(item("a"), item("b"))
        assert await w.relay.flush(15) == 1
        assert asyncio.get_running_loop().time() == 1015.0


@virtual
async def test_answers_do_not_wait_for_the_broadcasts_of_others() -> None:
    async with World(Limits(bulk=(1, 10.0, 1))) as w:
        await w.say(*(item("news", f"{n}", key="", bulk=True) for n in range(4)))
        said = await w.say(item("answer", "3"))
        await w.relay.delivered(place("3").lane, said[0].id)
        assert asyncio.get_running_loop().time() == 1000.0
        assert await w.relay.flush(100) == 0
        assert [at - 1000 for at, _, method in w.bot.tries if method == "news"] == [0, 10, 20, 30]


@virtual
async def test_what_a_conversation_says_after_its_own_broadcast_stays_behind_it() -> None:
    async with World(Limits(bulk=(1, 10.0, 1))) as w:
        await w.say(item("news", "x", bulk=True), item("hello", "y", bulk=True))
        said = await w.say(item("more", "y"))
        await w.relay.delivered(place("y").lane, said[0].id)
        assert asyncio.get_running_loop().time() == 1010.0
        assert w.bot.methods() == ["news", "hello", "more"]


async def test_limits_hold_on_a_clock_that_moves_only_when_told() -> None:
    clock = FakeClock()
    async with World(Limits(private=(3, 1.0, 1), bot=(7, 1.0, 1)), clock=clock) as w:
        await w.say(*(item("m", f"{n % 2}") for n in range(6)))
        sent = []
        for _ in range(10):
            for _ in range(10):
                await asyncio.sleep(0)
            sent.append(w.relay.stats.sent)
            clock.advance(clock.next_s() or 0.0)
        assert sent[0] == 1
        assert sent[-1] == 6
        assert w.relay.left == 0
