"""One thing at a time per lane, in the order of arrival, whatever is cancelled or fails."""

import asyncio
from random import Random

import pytest

from legato.app.lanes import Lanes


class Gate:
    """Work that notes when it begins, and ends when it is let through."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.name = name
        self.opened = asyncio.Event()

    async def __call__(self) -> str:
        self.log.append(f"{self.name} begins")
        await self.opened.wait()
        self.log.append(f"{self.name} ends")
        return self.name


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_lane_does_one_thing_at_a_time_in_order() -> None:
    lanes = Lanes()
    log: list[str] = []
    gates = [Gate(log, name) for name in "abc"]
    tasks = [asyncio.create_task(lanes.run("lane", gate)) for gate in gates]
    for gate in reversed(gates):
        gate.opened.set()
        await settle()
    assert log == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    assert lanes.busy == 0


async def test_lanes_do_not_wait_for_each_other() -> None:
    lanes = Lanes()
    log: list[str] = []
    slow, quick = Gate(log, "slow"), Gate(log, "quick")
    quick.opened.set()
    task = asyncio.create_task(lanes.run("one", slow))
    await settle()
    assert await lanes.run("two", quick) == "quick"
    assert lanes.busy == 1
    slow.opened.set()
    await task


async def test_who_comes_while_a_lane_is_handed_over_waits_behind() -> None:
    lanes = Lanes()
    log: list[str] = []
    first, second, third = (Gate(log, name) for name in "abc")
    tasks = [asyncio.create_task(lanes.run("lane", gate)) for gate in (first, second)]
    await settle()
    first.opened.set()
    await asyncio.sleep(0)  # the lane now belongs to b, which does not know yet
    tasks.append(asyncio.create_task(lanes.run("lane", third)))
    third.opened.set()
    await settle()
    assert log == ["a begins", "a ends", "b begins"]
    second.opened.set()
    await asyncio.gather(*tasks)
    assert log[-2:] == ["c begins", "c ends"]


async def test_work_that_fails_frees_its_lane() -> None:
    lanes = Lanes()
    log: list[str] = []

    async def fail() -> None:
        raise ValueError("no")

    after = Gate(log, "after")
    after.opened.set()
    failed = asyncio.create_task(lanes.run("lane", fail))
    task = asyncio.create_task(lanes.run("lane", after))
    with pytest.raises(ValueError, match="no"):
        await failed
    assert await task == "after"
    assert lanes.busy == 0


@pytest.mark.parametrize("cancelled", ["the holder", "who waits", "both", "who was handed it"])
async def test_a_cancelled_one_is_passed_over(cancelled: str) -> None:
    lanes = Lanes()
    log: list[str] = []
    first, second, third = (Gate(log, name) for name in "abc")
    a, b, c = (asyncio.create_task(lanes.run("lane", gate)) for gate in (first, second, third))
    third.opened.set()
    await settle()
    if cancelled == "who was handed it":
        first.opened.set()
        await asyncio.sleep(0)
        b.cancel()
    elif cancelled == "both":
        b.cancel()
        a.cancel()
    else:
        (b if cancelled == "who waits" else a).cancel()
    await settle()
    first.opened.set()
    second.opened.set()
    outcomes = await asyncio.gather(a, b, c, return_exceptions=True)
    gone = {"the holder": [0], "who waits": [1], "both": [0, 1], "who was handed it": [1]}
    for index, outcome in enumerate(outcomes):
        assert isinstance(outcome, asyncio.CancelledError) == (index in gone[cancelled]), outcomes
    assert outcomes[2] == "c"
    assert lanes.busy == 0


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_a_waiting_one_cancelled_as_the_lane_comes_free_is_just_cancelled(order: str) -> None:
    lanes = Lanes()
    log: list[str] = []
    first, second = Gate(log, "a"), Gate(log, "b")
    a = asyncio.create_task(lanes.run("lane", first))
    b = asyncio.create_task(lanes.run("lane", second))
    await settle()
    for name in order:  # in one step of the loop: the holder ends, and the waiting one is cancelled
        if name == "a":
            first.opened.set()
        else:
            b.cancel()
    assert await a == "a"
    with pytest.raises(asyncio.CancelledError):
        await b
    assert log == ["a begins", "a ends"]
    assert lanes.busy == 0


@pytest.mark.parametrize("seed", range(20))
async def test_any_schedule_keeps_order_and_leaves_no_lane_behind(seed: int) -> None:
    chance, lanes = Random(seed), Lanes()
    running: set[str] = set()
    begun: dict[str, list[int]] = {"x": [], "y": []}

    async def work(lane: str, number: int) -> int:
        assert lane not in running, "two at a time"
        running.add(lane)
        begun[lane].append(number)
        try:
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if chance.random() < 0.2:
                raise ValueError(number)
            return number
        finally:
            running.discard(lane)

    tasks = []
    for number in range(60):
        lane = chance.choice("xy")
        job = lanes.run(lane, lambda lane=lane, number=number: work(lane, number))  # type: ignore[misc]
        tasks.append(asyncio.create_task(job))
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(o, int | ValueError | asyncio.CancelledError) for o in outcomes), outcomes
    assert all(numbers == sorted(numbers) for numbers in begun.values())
    assert lanes.busy == 0
