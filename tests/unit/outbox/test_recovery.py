"""What a new process takes over from the store."""

import asyncio
import functools
from typing import Any

import pytest

from legato.errors import StoreUnavailable
from legato.model.records import QUEUED, SENDING, UNKNOWN, Call, OutboxItem, Settled
from legato.outbox import recovery as recovery_module
from tests.unit.outbox.kit import ELSEWHERE, START_MS, World, item, place, virtual


@virtual
async def test_queued_items_are_sent_in_order_before_what_is_offered_meanwhile() -> None:
    async with World() as w:
        await w.commit(item("a"), item("b"))
        tasks: list[asyncio.Task[object]] = []

        async def meanwhile() -> None:
            (late,) = await w.commit(item("c"))
            w.relay.offer([late])
            assert not w.relay.idle(late.lane)
            tasks.append(asyncio.create_task(w.relay.call(Call("get"), place())))
            tasks.append(asyncio.create_task(w.relay.delivered(late.lane, late.id)))
            await asyncio.sleep(1)

        w.store.reading = meanwhile
        assert await w.relay.recover() == 2
        await asyncio.gather(*tasks)
        assert w.bot.methods() == ["a", "b", "c", "get"]
        await w.relay.flush(1)
        assert await w.relay.recover() == 0


def test_recovery_reads_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "PAGE", 3)

    @virtual
    async def recover() -> None:
        async with World() as w:
            await w.commit(*(item(f"m{n}") for n in range(6)))

            async def meanwhile() -> None:
                w.relay.offer(await w.commit(item("m6")))  # a later page holds it as well

            w.store.reading = meanwhile
            assert await w.relay.recover() == 7
            assert await w.relay.flush(1) == 0
            assert w.bot.methods() == [f"m{n}" for n in range(7)]

    recover()


def test_a_rescan_of_a_long_backlog_reads_what_is_new_and_a_few_pages_of_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery_module, "PAGE", 3)

    @virtual
    async def rescan() -> None:
        async with World() as w:
            reads: list[int] = []
            outbox = type(w.store).outbox

            async def counted(store: Any, **options: Any) -> list[OutboxItem]:
                reads.append(options["after"])
                return await outbox(store, **options)

            monkeypatch.setattr(type(w.store), "outbox", counted)
            later = w.clock.now_ms() + 60_000
            waits = [item(f"m{n}", f"chat{n}", not_before_ms=later) for n in range(24)]
            ids = [one.id for one in await w.commit(*waits)]
            assert await w.relay.recover(pages=2) == 24  # all of it is new
            first, *_, last = ids
            await w.commit(item("new", "else"))
            reads.clear()
            assert await w.relay.recover(pages=2) == 1
            assert reads == [first + 5, first + 8, last]
            reads.clear()
            for _ in range(4):  # the rest of one round, and the begin of the next
                assert await w.relay.recover(pages=2) == 0
            assert len(reads) <= 4 * 3
            assert 0 in reads

    rescan()


@virtual
async def test_an_interrupted_send_is_repeated_or_left_unknown_as_its_delivery_says() -> None:
    async with World() as w:
        said = await w.commit(
            item("often", "x"),
            item("once", "y", delivery="at_most_once"),
            item("edit", "z", delivery="at_most_once", idempotent=True),
        )
        await w.store.settle([Settled(one.id, SENDING) for one in said])
        assert await w.relay.recover() == 2
        assert await w.relay.flush(1) == 0
        assert sorted(w.bot.methods()) == ["edit", "often"]
        (row,) = await w.rows()
        assert (row.call.method, row.state) == ("once", UNKNOWN)
        assert row.error == "the process ended while it was being sent"


@virtual
async def test_a_restart_does_not_knock_before_the_time_the_platform_named() -> None:
    async with World() as w:
        (one,) = await w.commit(item("a"))
        until = START_MS + 1_040_000
        await w.store.settle([Settled(one.id, QUEUED, 5, until, "slow down")])
        await w.relay.recover()
        assert await w.relay.flush(100) == 0
        assert [at for at, _, _ in w.bot.tries] == [1040.0]


@virtual
async def test_a_wait_written_by_a_wrong_clock_does_not_silence_a_chat_for_ever() -> None:
    async with World(give_up_after_s=100) as w:
        (one,) = await w.commit(item("a"))
        await w.store.settle([Settled(one.id, QUEUED, 1, START_MS * 2)])
        await w.relay.recover()
        assert await w.relay.flush(200) == 0
        assert [at for at, _, _ in w.bot.tries] == [1100.0]


@virtual
async def test_only_the_items_asked_for_are_taken_over() -> None:
    async with World() as w:
        await w.commit(item("mine", "x"), item("theirs", "y"))
        assert await w.relay.recover(lambda one: one.call.method == "mine") == 1
        await w.relay.flush(1)
        assert await w.fates() == {"theirs": QUEUED}


@virtual
async def test_two_who_ask_for_different_items_at_once_both_get_theirs() -> None:
    async with World() as w:
        await w.commit(item("mine", "x"), item("yours", "y"))
        w.store.reading = functools.partial(asyncio.sleep, 1)
        taken = await asyncio.gather(
            w.relay.recover(lambda one: one.call.method == "mine"),
            w.relay.recover(lambda one: one.call.method == "yours"),
        )
        assert list(taken) == [1, 1]
        assert await w.relay.flush(1) == 0


@virtual
async def test_items_of_a_bot_that_is_not_set_up_stay_in_the_store() -> None:
    async with World() as w:
        await w.commit(item("a", place=ELSEWHERE), item("b"))
        assert await w.relay.recover() == 1
        await w.relay.flush(1)
        assert await w.fates() == {"a": QUEUED}


@virtual
async def test_items_this_process_knows_are_not_taken_twice() -> None:
    async with World() as w:
        w.bot.takes_s = 5.0
        await w.say(item("a"), item("b"))
        await asyncio.sleep(1)
        assert await w.relay.recover() == 0
        assert await w.relay.flush(60) == 0
        assert w.bot.methods() == ["a", "b"]


@virtual
async def test_what_a_recovery_finds_before_it_is_offered_is_sent_once() -> None:
    async with World() as w:
        said = await w.commit(item("a"), item("b"))  # durable, but its Turn goes on a moment later
        assert await w.relay.recover() == 2
        await w.relay.flush(1)
        w.relay.offer([*said, *await w.commit(item("c"))])
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["a", "b", "c"]


@virtual
async def test_a_recovery_that_fails_keeps_what_was_offered_meanwhile() -> None:
    async with World() as w:
        said = await w.commit(item("a"))

        async def fail() -> None:
            w.relay.offer(said)
            raise StoreUnavailable("the disk is away")

        w.store.reading = fail
        with pytest.raises(StoreUnavailable):
            await w.relay.recover()
        assert await w.relay.flush(1) == 0
        assert w.bot.methods() == ["a"]


@virtual
async def test_two_recoveries_at_once_are_one() -> None:
    async with World() as w:
        await w.commit(item("a"))
        w.store.reading = lambda: asyncio.sleep(1)
        assert sorted(await asyncio.gather(w.relay.recover(), w.relay.recover())) == [0, 1]
        await w.relay.flush(1)
        assert w.bot.methods() == ["a"]
