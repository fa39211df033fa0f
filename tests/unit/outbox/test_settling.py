"""Settlements are batched, ordered and never lost; at_most_once is marked before the send."""

import asyncio

from legato.abc import Verdict
from legato.model.records import DEAD, QUEUED, SENDING, UNKNOWN, Call
from tests.unit.outbox.kit import Scripted, World, item, virtual


@virtual
async def test_what_gathers_while_a_batch_is_written_is_the_next_batch() -> None:
    async with World() as w:
        w.store.slow_s = 1.0
        await w.say(item("first", "x"))
        await asyncio.sleep(0.5)
        await w.say(*(item("m", f"{n}") for n in range(5)))
        assert await w.relay.flush(60) == 0
        assert [len(batch) for batch in w.store.batches] == [1, 5]


@virtual
async def test_a_message_waits_until_the_one_before_it_in_its_chat_is_marked() -> None:
    async with World() as w:
        w.store.slow_s = 10.0
        await w.say(item("a"), item("b"), item("other", "d"))
        await asyncio.sleep(1)
        assert w.bot.methods() == ["a", "other"]  # a crash now repeats one message of each chat
        await asyncio.sleep(10)
        assert w.bot.methods() == ["a", "other", "b"]
        assert await w.relay.flush(60) == 0


@virtual
async def test_a_message_goes_on_at_once_after_a_call_that_may_be_repeated() -> None:
    async with World() as w:
        w.store.slow_s = 10.0
        await w.say(item("edit", idempotent=True), item("b"))
        await asyncio.sleep(1)
        assert w.bot.methods() == ["edit", "b"]
        assert await w.relay.flush(60) == 0


@virtual
async def test_the_settlement_of_a_sent_item_does_not_wait_for_the_next_send() -> None:
    async with World() as w:
        w.bot.takes["b"] = 100.0
        await w.say(item("a"), item("b"))
        await asyncio.sleep(1)
        assert await w.fates() == {"b": QUEUED}
        await w.relay.flush(200)


@virtual
async def test_what_was_sent_is_marked_soon_after_a_store_that_was_away_for_long_is_back() -> None:
    async with World() as w:
        await w.say(item("a"), item("b"))
        w.store.broken = True
        await asyncio.sleep(300)
        w.store.broken = False
        await asyncio.sleep(3)
        assert w.bot.methods() == ["a", "b"]
        assert await w.fates() == {}


@virtual
async def test_a_store_that_fails_loses_nothing_and_nothing_is_sent_twice() -> None:
    async with World() as w:
        said = await w.commit(item("a", ref="ref:1:0"), item("b"))
        w.store.broken = True
        w.relay.offer(said)
        assert await w.relay.flush(120) == 2
        assert w.bot.methods() == ["a"]
        w.store.broken = False
        assert await w.relay.recover() == 0
        assert await w.relay.flush(120) == 0
        assert w.bot.methods() == ["a", "b"]
        assert await w.rows() == []


@virtual
async def test_what_is_known_to_be_sent_is_written_once_more_at_the_close() -> None:
    w = World()
    said = await w.commit(item("a"))
    w.store.broken = True
    w.relay.offer(said)
    await w.relay.flush(10)
    w.store.broken = False
    await w.relay.close()
    assert await w.rows() == []


@virtual
async def test_a_close_with_a_store_that_fails_ends_all_the_same() -> None:
    w = World()
    said = await w.commit(item("a"))
    w.store.broken = True
    w.relay.offer(said)
    await w.relay.flush(10)
    await w.relay.close()
    assert await w.fates() == {"a": QUEUED}


@virtual
async def test_an_at_most_once_item_is_marked_before_it_is_sent() -> None:
    async with World() as w:
        seen: dict[str, str] = {}

        async def look(call: Call) -> None:
            seen[call.method] = (await w.fates())[call.method]

        w.bot.before = look
        await w.say(item("once", delivery="at_most_once"), item("often"))
        await w.say(item("edit", delivery="at_most_once", idempotent=True))
        assert await w.relay.flush(10) == 0
        assert seen == {"once": SENDING, "often": QUEUED, "edit": QUEUED}
        assert await w.rows() == []


@virtual
async def test_an_at_most_once_item_is_not_sent_before_the_store_has_the_mark() -> None:
    async with World() as w:
        said = await w.commit(item("once", delivery="at_most_once"))
        w.store.broken = True
        w.relay.offer(said)
        await asyncio.sleep(30)
        assert w.bot.methods() == []
        w.store.broken = False
        assert await w.relay.flush(120) == 0
        assert w.bot.methods() == ["once"]


@virtual
async def test_a_close_while_the_mark_is_written_errs_on_the_side_of_unknown() -> None:
    w = World()
    said = await w.commit(item("once", delivery="at_most_once"))
    w.store.broken = True
    w.relay.offer(said)
    await asyncio.sleep(1)
    w.store.broken = False
    await w.relay.close()
    assert await w.fates() == {"once": SENDING}
    assert w.bot.methods() == []


@virtual
async def test_an_at_most_once_item_that_was_certainly_not_sent_is_queued_again() -> None:
    async with World() as w:
        w.bot.answer("once", Verdict("retry", retry_after_s=3, error="no route"), Verdict("sent"))
        await w.say(item("once", delivery="at_most_once"))
        await asyncio.sleep(1)
        (row,) = await w.rows()
        assert (row.state, row.attempts, row.error) == (QUEUED, 1, "no route")
        assert await w.relay.flush(10) == 0
        assert await w.rows() == []


@virtual
async def test_a_crash_while_sending_leaves_the_item_for_the_next_start() -> None:
    w = World()
    w.bot.takes_s = 10.0
    await w.say(item("once", "x", delivery="at_most_once"), item("often", "y"))
    await asyncio.sleep(1)
    await w.relay.close()
    assert await w.fates() == {"once": SENDING, "often": QUEUED}
    w.start()
    assert await w.relay.recover() == 1
    assert await w.relay.flush(60) == 0
    assert w.bot.methods() == ["often", "once", "often"]
    assert await w.fates() == {"once": UNKNOWN}
    await w.relay.close()


@virtual
async def test_an_operator_sends_dead_and_unknown_items_again() -> None:
    async with World() as w:
        w.bot.answer("dead", Verdict("refused"), Verdict("retry"), Verdict("sent"))
        w.bot.answer("lost", Verdict("unknown"), Verdict("sent"))
        said = await w.say(
            item("dead", created_ms=1), item("lost", "y", delivery="at_most_once"), item("fine")
        )
        await w.relay.flush(10)
        assert await w.fates() == {"dead": DEAD, "lost": UNKNOWN}
        ids = [one.id for one in said]
        assert await w.relay.retry([*ids, *ids, 999]) == 2
        assert await w.relay.retry(ids) == 0
        assert await w.relay.flush(10) == 0
        assert await w.rows() == []
        assert w.bot.methods().count("fine") == 1


@virtual
async def test_two_operators_at_once_send_an_item_once() -> None:
    async with World() as w:
        w.bot.answer("dead", Verdict("refused"), Verdict("sent"))
        (dead,) = await w.say(item("dead"))
        await w.relay.flush(10)
        w.store.slow_s = 1.0
        counts = await asyncio.gather(w.relay.retry([dead.id]), w.relay.retry([dead.id]))
        assert sorted(counts) == [0, 1]
        await w.relay.flush(10)
        assert w.bot.methods() == ["dead", "dead"]


@virtual
async def test_counters_and_memory_are_at_rest_when_all_is_sent() -> None:
    async with World() as w:
        for n in range(300):
            await w.say(item("m", f"{n}", ref=f"ref:{n}:0"))
        assert await w.relay.flush(10) == 0
        assert w.relay.known_ids() == set()
        assert w.relay.left == 0
        assert isinstance(w.bot, Scripted)
