"""A chat that moves from process to process keeps one window: what the one sent counts for the next."""

import asyncio

import pytest

from legato.abc import Store
from legato.model.events import Address
from legato.model.shards import slot_of, slot_of_lane
from legato.outbox.pacing import Pacing
from tests.unit.outbox.kit import Faulty, LoopClock, virtual
from tests.unit.outbox.test_pacing import WINDOW, most_within

LANE = "twitch:1:room"
SLOTS = (slot_of_lane(LANE),)


class Worker:
    """One process, and when it sent something."""

    def __init__(self, store: Store) -> None:
        self.pacing = Pacing(store, LoopClock())
        self.sent: list[float] = []

    async def sends(self, count: int, lane: str = LANE) -> None:
        for _ in range(count):
            while ready_at := await self.pacing.admit(lane, WINDOW):  # noqa: ASYNC110 # as a relay does
                await asyncio.sleep(ready_at - asyncio.get_running_loop().time())
            self.sent.append(asyncio.get_running_loop().time())
            self.pacing.landed(lane)


@virtual
async def test_who_takes_a_chat_over_counts_what_was_said_there() -> None:
    store = Faulty()
    old, new = Worker(store), Worker(store)
    await asyncio.sleep(100)
    await old.sends(18)
    new.pacing.take_over(SLOTS)
    await new.sends(40)
    assert most_within(old.sent + new.sent, 30.0) <= 20


@virtual
async def test_a_chat_that_comes_back_counts_what_was_said_meanwhile() -> None:
    store = Faulty()
    one, other = Worker(store), Worker(store)
    await asyncio.sleep(100)
    for _ in range(5):
        one.pacing.take_over(SLOTS)
        await one.sends(7)
        other.pacing.take_over(SLOTS)
        await other.sends(7)
    assert most_within(one.sent + other.sent, 30.0) <= 20


@virtual
async def test_other_chats_of_the_same_process_are_not_slowed_down() -> None:
    store = Faulty()
    old, new = Worker(store), Worker(store)
    await asyncio.sleep(100)
    await new.sends(15, "twitch:1:mine")
    await old.sends(18)
    new.pacing.take_over(SLOTS)
    began = asyncio.get_running_loop().time()
    await new.sends(5, "twitch:1:mine")
    assert asyncio.get_running_loop().time() == began


@virtual
async def test_who_does_not_take_over_says_too_much() -> None:
    """The negative control of the tests above."""
    store = Faulty()
    old, new = Worker(store), Worker(store)
    await asyncio.sleep(100)
    await old.sends(18)
    await new.sends(18)
    assert most_within(old.sent + new.sent, 30.0) > 20


@pytest.mark.parametrize("lane", [LANE, "telegram:1:-5"])
def test_a_lane_has_the_slot_of_its_chat(lane: str) -> None:
    platform, bot, chat = lane.split(":")
    assert slot_of_lane(lane) == slot_of(Address(platform, bot, chat, "9"))
