"""Whoever leaves the room while he is let go of makes room, too."""

import asyncio

import pytest

from legato.app.room import Room
from legato.testing.clock import FakeClock


async def rounds() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("alone", [True, False])
async def test_a_stay_whose_end_is_cancelled_leaves_no_closed_door(alone: bool) -> None:
    clock = FakeClock()
    room = Room(clock)
    answers = asyncio.Event()

    async def told() -> None:
        try:
            await answers.wait()
        finally:
            await asyncio.sleep(0)  # a store that takes back what it was asked for

    stay = await room.enter(alone=alone, seconds=1, outlived=told)
    await rounds()
    clock.advance(1)
    await rounds()
    ending = asyncio.create_task(stay.end())
    await asyncio.sleep(0)
    ending.cancel()  # its shard went to another worker just now
    await asyncio.gather(ending, return_exceptions=True)
    await rounds()
    assert room.calm
    async with asyncio.timeout(5):
        await (await room.enter(alone=True, seconds=1)).end()
    assert room.calm
