"""Several relays share one outbox: each sends what belongs to its slots, while they are its own."""

import asyncio

import pytest

from legato.abc import Verdict
from legato.app.share import Part
from legato.errors import Unavailable
from legato.model.records import QUEUED, SENT, Call, Settled
from legato.model.shards import SLOTS, slot_of
from legato.outbox.relay import Relay
from tests.unit.outbox.kit import NoHttp, World, item, place, virtual

MINE, OTHERS = place("mine"), place("others")


class Shared(World):
    """A relay that owns the slot of the chat "mine" for a minute."""

    def start(self) -> Relay:
        self.share = Part(self.clock)
        self.share.gain([slot_of(MINE)])
        self.renew()
        self.relay = Relay(
            self.store,
            {("test", "1"): self.bot},
            NoHttp(),
            self.clock,
            on_gone=self.on_gone,
            settings=self.settings,
            ours=self.share,
        )
        return self.relay

    def renew(self, seconds: float = 60.0) -> None:
        self.share.last(seconds, self.clock.monotonic(), self.clock.now_ms())


@virtual
async def test_what_belongs_to_another_process_is_left_to_it():
    async with Shared() as world:
        await world.say(item("a", "mine"), item("b", "others"))
        await world.relay.flush(10)
        assert world.bot.methods() == ["a"]
        assert await world.fates() == {"b": QUEUED}


@virtual
async def test_a_recovery_looks_only_for_its_own():
    async with Shared() as world:
        await world.commit(item("a", "mine"), item("b", "others"))
        assert await world.relay.recover() == 1
        await world.relay.flush(10)
        assert world.bot.methods() == ["a"]


@virtual
async def test_a_recovery_of_slots_that_were_just_gained_takes_only_these():
    async with Shared() as world:
        await world.commit(item("a", "mine"), item("b", "others"))
        world.share.gain([slot_of(OTHERS)])
        first = asyncio.create_task(world.relay.recover())
        await asyncio.sleep(0)
        await world.relay.recover(slots=[slot_of(OTHERS)])
        await first
        await world.relay.flush(10)
        assert sorted(world.bot.methods()) == ["a", "b"]


@virtual
async def test_a_recovery_leaves_what_was_lost_while_the_store_was_asked():
    async with Shared() as world:
        await world.commit(item("a", "mine"))

        async def lose() -> None:
            world.share.lose([slot_of(MINE)])

        world.store.reading = lose
        assert await world.relay.recover() == 0
        assert world.relay.left == 0


@virtual
async def test_nothing_is_sent_once_the_leases_are_over():
    async with Shared() as world:
        world.renew(1.0)
        await asyncio.sleep(2)
        await world.say(item("a", "mine"))
        assert await world.relay.flush(10) == 0
        assert world.bot.methods() == []
        assert await world.fates() == {"a": QUEUED}


@virtual
async def test_what_waited_for_its_time_in_a_lane_is_not_sent_by_a_process_that_lost_it():
    async with Shared() as world:
        world.bot.answer("a", Verdict("retry", retry_after_s=30), Verdict("sent"))
        await world.say(item("a", "mine"), item("b", "mine"))
        await asyncio.sleep(1)
        world.share.lose([slot_of(MINE)])
        await asyncio.sleep(60)
        assert world.bot.methods() == ["a"]
        assert world.relay.left == 0
        assert await world.fates() == {"a": QUEUED, "b": QUEUED}


@virtual
async def test_the_check_comes_after_the_last_wait_before_a_send():
    async with Shared() as world:
        world.store.slow_s = 5.0  # to write that an item is about to be sent
        await world.say(item("a", "mine", delivery="at_most_once"))
        await asyncio.sleep(1)
        world.share.lose([slot_of(MINE)])
        await asyncio.sleep(60)
        assert world.bot.methods() == []


@virtual
async def test_dropped_slots_leave_memory_but_a_send_under_way_comes_to_its_end():
    async with Shared() as world:
        world.bot.takes_s = 5.0
        await world.say(item("a", "mine"), item("b", "mine"))
        await asyncio.sleep(1)
        world.share.lose([slot_of(MINE)])
        world.relay.drop([slot_of(MINE)])
        await world.relay.flush(60)
        assert world.bot.methods() == ["a"]
        assert await world.fates() == {"b": QUEUED}


@virtual
async def test_what_was_about_to_be_sent_is_asked_for_anew_when_its_slot_comes_back():
    async with Shared() as world:
        said = await world.say(item("a", "mine"), item("b", "mine"), item("c", "mine"))
        world.store.broken = True  # "b" waits until the store knows of "a"
        await asyncio.sleep(1)
        world.share.lose([slot_of(MINE)])
        world.relay.drop([slot_of(MINE)])
        world.store.broken = False
        # Its owner of the meantime sends two of them.
        await world.store.settle([Settled(one.id, SENT) for one in said[:2]])
        world.share.gain([slot_of(MINE)])
        assert await world.relay.recover(slots=[slot_of(MINE)]) == 1
        await world.relay.flush(60)
        assert world.bot.methods() == ["a", "c"]
        assert await world.fates() == {}


@virtual
async def test_a_send_that_failed_while_its_slot_was_lost_is_not_tried_again_from_memory():
    async with Shared() as world:
        world.bot.takes_s = 5.0
        world.bot.answer("a", Verdict("retry", error="500"), Verdict("sent"))
        said = await world.say(item("a", "mine"), item("b", "mine"))
        await asyncio.sleep(1)
        world.share.lose([slot_of(MINE)])
        world.relay.drop([slot_of(MINE)])
        await world.store.settle([Settled(said[0].id, SENT)])  # by its owner of the meantime
        await asyncio.sleep(4.1)  # it has failed, and would be tried again soon
        world.share.gain([slot_of(MINE)])
        assert await world.relay.recover(slots=[slot_of(MINE)]) == 1
        await world.relay.flush(60)
        assert world.bot.methods() == ["a", "b"]
        assert await world.fates() == {}


@virtual
async def test_who_waits_for_a_lane_that_is_lost_is_told():
    async with Shared() as world:
        world.bot.answer("a", Verdict("retry", retry_after_s=30))
        first, second = await world.say(item("a", "mine"), item("b", "mine"))
        waiting = asyncio.create_task(world.relay.delivered(first.lane, second.id))
        calling = asyncio.create_task(world.relay.call(Call("c"), MINE))
        await asyncio.sleep(1)
        world.share.lose([slot_of(MINE)])
        world.relay.drop([slot_of(MINE)])
        for task in (waiting, calling):
            with pytest.raises(Unavailable, match="another process"):
                await task


@virtual
async def test_a_call_whose_answer_a_turn_wants_goes_to_any_chat_while_the_leases_run():
    async with Shared() as world:
        assert (await world.relay.call(Call("a"), OTHERS)).outcome == "sent"
        world.share.end()
        with pytest.raises(Unavailable, match="another process"):
            await world.relay.call(Call("b"), OTHERS)
        assert world.bot.methods() == ["a"]


@virtual
async def test_a_refill_takes_nothing_that_could_not_be_sent():
    async with Shared(bulk_lanes=2) as world:
        world.share.gain(range(SLOTS))

        async def over() -> None:
            world.share.end()

        world.store.reading = over
        await world.say(*[item("news", f"u{n}", bulk=True, key="") for n in range(5)])
        await world.relay.flush(10)
        assert len(world.bot.methods()) == 2
        world.renew()
        assert await world.relay.recover() == 2
        await world.relay.flush(10)
        await asyncio.sleep(10)
        assert len(world.bot.methods()) == 5


@virtual
async def test_slots_are_empty_once_their_last_item_is_durably_sent():
    async with Shared() as world:
        world.store.slow_s = 2.0
        world.bot.takes_s = 1.0
        await world.say(item("a", "mine"))
        assert await world.relay.emptied([slot_of(MINE)], 60)
        assert await world.fates() == {}


@virtual
async def test_emptying_slots_ends_at_its_deadline():
    async with Shared() as world:
        world.bot.takes_s = 100.0
        await world.say(item("a", "mine"))
        assert not await world.relay.emptied([slot_of(MINE)], 5)
        assert await world.relay.emptied([slot_of(OTHERS)], 5)
        world.bot.takes_s = 0.0


@virtual
async def test_emptying_slots_does_not_wait_for_ever_for_a_store_that_is_away():
    async with Shared() as world:
        committed = await world.commit(item("a", "mine"))
        world.store.broken = True
        world.relay.offer(committed)
        assert not await world.relay.emptied([slot_of(MINE)], 5)
        world.store.broken = False


def test_the_two_chats_have_different_slots():
    assert slot_of(MINE) != slot_of(OTHERS)
