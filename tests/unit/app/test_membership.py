"""A worker's leases, and what it does with what they are for."""

import asyncio
from collections.abc import Collection, Sequence

from legato.app.membership import Membership, Unit, spread
from legato.app.share import Part
from legato.testing.leases import MemoryLeases
from legato.testing.simulation import Simulation, simulation

UNITS = 4


class Desk:
    """Duties that note what they are told."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.slow = False
        self.begun: set[Unit] = set()
        self.stopped: list[Unit] = []

    async def units(self) -> int:
        if self.slow:
            await asyncio.sleep(60)
        return UNITS

    async def begin(self, units: Sequence[Unit]) -> None:
        await asyncio.sleep(0.1)
        if self.fails:
            self.fails -= 1
            raise ValueError("a bug of ours")
        self.begun.update(units)

    async def finish(self, unit: Unit) -> None:
        await asyncio.sleep(0.1)
        self.begun.discard(unit)

    def stop(self, units: Collection[Unit]) -> None:
        self.begun.difference_update(units)
        self.stopped += units


def member(sim: Simulation, leases: MemoryLeases, name: str, desk: Desk) -> Membership:
    share = Part(sim.clock)
    return Membership(leases, sim.clock, app="x", holder=name, share=share, duties=desk)


def test_shares_are_even_and_one_worker_more_moves_few_others() -> None:
    before = spread(64, ["a", "b", "c"])
    after = spread(64, ["a", "b", "c", "d"])
    assert {list(before.values()).count(name) for name in "abc"} == {21, 22}
    assert {list(after.values()).count(name) for name in "abcd"} == {16}
    assert len([unit for unit in before if before[unit] != after[unit]]) <= 16 + 4


def test_what_could_not_be_taken_up_is_tried_again() -> None:
    async def run(sim: Simulation) -> None:
        desk = Desk(fails=2)
        one = member(sim, MemoryLeases(sim.clock), "one", desk)
        one.start()
        await asyncio.sleep(5)
        assert desk.begun == {(number, UNITS) for number in range(UNITS)} == set(one.units)
        await one.close(1.0)

    with simulation(1) as sim:
        sim.run(run(sim))


def test_leases_that_cannot_be_renewed_stop_all_work_before_another_has_it() -> None:
    async def run(sim: Simulation) -> None:
        leases, desks = MemoryLeases(sim.clock), (Desk(), Desk())
        one, two = (member(sim, leases, name, d) for name, d in zip("ab", desks, strict=True))
        one.start()
        two.start()
        await asyncio.sleep(5)
        assert len(desks[0].begun) == len(desks[1].begun) == UNITS // 2
        leases.away = True
        await asyncio.sleep(3.5)
        assert desks[0].begun == desks[1].begun == set()
        leases.away = False
        await one.abandon()
        await asyncio.sleep(5)
        assert len(desks[1].begun) == UNITS
        await two.close(1.0)

    with simulation(2) as sim:
        sim.run(run(sim))


class Unasked(MemoryLeases):
    """Of a store that was never opened."""

    async def release(self, holder: str, names: Collection[str]) -> None:
        raise AssertionError("there was nothing to give up")


def test_who_never_took_part_ends_without_asking_the_store() -> None:
    with simulation(1) as sim:
        sim.run(member(sim, Unasked(sim.clock), "a", Desk()).close(1.0))


def test_leases_are_renewed_while_the_store_has_no_time_for_another_question() -> None:
    async def run(sim: Simulation) -> None:
        desk = Desk()
        one = member(sim, MemoryLeases(sim.clock), "one", desk)
        one.start()
        await asyncio.sleep(5)
        desk.slow = True
        await asyncio.sleep(30)
        assert len(desk.begun) == UNITS
        assert desk.stopped == []
        await one.close(1.0)

    with simulation(3) as sim:
        sim.run(run(sim))
