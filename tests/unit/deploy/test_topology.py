"""How many shards there are, and how that changes."""

import asyncio
from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from legato.abc.queue import Letter
from legato.deploy.clock import SystemClock
from legato.deploy.topology import DRAIN, STEADY, Layout, Topology
from legato.errors import ConfigError, StoreUnavailable, Unavailable
from legato.model.shards import SLOTS, slots_of
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.simulation import simulation
from tests.unit.deploy.moving_kit import Died, Dying, People, Workers, at_once, by_the_rule

SIZES = [1, 2, 4, 16, 1024]
PAIRS = list(product(SIZES, SIZES))


# -- the layout ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_each_part_has_all_queues_of_its_slots(old: int, new: int) -> None:
    layout = Layout(version=9, generation=2, shards=new, phase=DRAIN, old=(1, old))

    slots: list[int] = []
    for unit in range(layout.units):
        mine = set(slots_of(unit, layout.units))
        slots += mine
        for generation, shards in layout.generations:
            for shard in range(unit, shards, layout.units):
                assert set(layout.slots(generation, shard)) <= mine
    assert sorted(slots) == list(range(SLOTS))


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_new_queue_waits_for_all_old_ones_that_share_a_slot_with_it(old: int, new: int) -> None:
    layout = Layout(version=9, generation=2, shards=new, phase=DRAIN, old=(1, old))

    for shard in range(0, new, max(1, new // 16)):
        mine = set(slots_of(shard, new))
        sharing = [n for n in range(old) if mine & set(slots_of(n, old))]
        assert list(layout.feeders(shard)) == sharing


def test_what_may_be_consumed_grows_with_what_is_drained() -> None:
    layout = Layout(version=9, generation=2, shards=4, phase=DRAIN, old=(1, 2), drained=(1,))

    assert layout.queues() == [(1, 0), (2, 1), (2, 3)]
    assert layout.queues(0) == [(1, 0)]
    assert layout.queues(1) == [(2, 1), (2, 3)]
    assert not layout.is_drained


def test_nothing_is_consumed_before_the_first_queues_are_there() -> None:
    assert Layout(version=1, generation=1, shards=4, phase="found").queues() == []


# -- the first start -------------------------------------------------------------------------------


async def test_processes_that_start_at_once_agree_on_one_number() -> None:
    store, broker = MemoryStore(), MemoryBroker()
    queues = [MemoryQueue(broker) for _ in range(3)]
    for queue in queues:
        await queue.open()

    found = await asyncio.gather(
        *(
            Topology(store, queue, "bot", FakeClock(), shards=shards).ensure()
            for queue, shards in zip(queues, (4, 16, 1), strict=True)
        )
    )

    assert len({layout.shards for layout in found}) == 1
    assert all(layout.phase == STEADY for layout in found)
    await queues[0].publish([Letter(str(slot), slot, b"") for slot in range(SLOTS)])
    depths = await queues[0].depths(1, 16)
    assert sum(depth.ready for depth in depths) == SLOTS


async def test_a_start_that_died_is_finished_by_the_next() -> None:
    for calls in range(1, 8):
        store, queue = MemoryStore(), MemoryQueue()
        await queue.open()
        dying: Any = [calls]
        parts: list[Any] = [Dying(part, dying, before=False) for part in (store, queue)]
        with suppress(Died):
            await Topology(parts[0], parts[1], "bot", FakeClock(), shards=4).ensure()
        layout = await Topology(store, queue, "bot", FakeClock(), shards=16).ensure()
        assert layout.phase == STEADY
        await queue.publish([Letter(str(slot), slot, b"") for slot in range(SLOTS)])
        depths = await queue.depths(1, layout.shards)
        assert [depth.ready for depth in depths] == [SLOTS // layout.shards] * layout.shards


async def test_a_broker_that_lost_everything_gets_its_queues_again() -> None:
    store = MemoryStore()
    first, second = MemoryQueue(), MemoryQueue()
    await first.open()
    await second.open()
    await Topology(store, first, "bot", FakeClock(), shards=4).ensure()

    await Topology(store, second, "bot", FakeClock(), shards=4).ensure()
    await second.publish([Letter("a", 7, b"")])
    assert [depth.ready for depth in await second.depths(1, 4)] == [0, 0, 0, 1]


async def test_what_is_not_decided_cannot_be_drained() -> None:
    topology = Topology(MemoryStore(), MemoryQueue(), "bot", FakeClock())
    assert await topology.layout() is None
    with pytest.raises(ConfigError, match="legato queue declare"):
        await topology.drained(1, 0)


@pytest.mark.parametrize("shards", [0, 3, 2048, -4])
async def test_a_number_that_cannot_be_is_refused(shards: int) -> None:
    with pytest.raises(ConfigError, match="power of two"):
        Topology(MemoryStore(), MemoryQueue(), "bot", FakeClock(), shards=shards)
    with pytest.raises(ConfigError, match="power of two"):
        await Topology(MemoryStore(), MemoryQueue(), "bot", FakeClock()).resize(shards)


# -- moving ----------------------------------------------------------------------------------------

WAYS = [(4, 16), (16, 4), (2, 1), (1, 8), (4, 4)]


def run(
    seed: int, way: tuple[int, int], *, rule: Any = by_the_rule, work_s: float = 0.05, kill: int = 0
) -> Workers:
    """Moves under load. If `kill` is set, their process dies around so many calls, and another goes on."""
    with simulation(seed) as sim:
        return sim.run(_move(sim, way, rule, work_s, kill))


async def _move(sim: Any, way: tuple[int, int], rule: Any, work_s: float, kill: int) -> Workers:
    store, broker = MemoryStore(), MemoryBroker()
    queues = [MemoryQueue(broker, prefetch=8) for _ in range(3)]
    for queue in queues:
        await queue.open()
    mine = Topology(store, queues[0], "bot", sim.clock, shards=way[0])
    await mine.ensure()
    people = People(queues[1], 12, sim.clock, 0.3)
    slow = Workers(queues[2], mine, sim.clock, rule=rule, work_s=work_s, look_s=0.2)
    tasks = [asyncio.create_task(slow.run()), asyncio.create_task(people.all())]
    await sim.clock.sleep(2)
    for begun in range(3):  # three moves there and back
        to = way[1 - begun % 2]
        if kill:
            calls: Any = [kill + sim.random.randrange(3)]
            parts: list[Any] = [
                Dying(part, calls, before=sim.random.random() < 0.5) for part in (store, queues[0])
            ]
            doomed = Topology(parts[0], parts[1], "bot", sim.clock)
            try:
                await doomed.resize(to)
            except Died:
                await sim.clock.sleep(sim.random.random() * 5)
        layout = await mine.resize(to)
        assert (layout.shards, layout.phase, layout.old) == (to, STEADY, None)
    people.quiet = True
    await tasks[1]
    await slow.has_read(people)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert slow.read == people.sent
    return slow


@pytest.mark.parametrize("way", WAYS)
def test_a_move_under_load_loses_nothing_and_keeps_each_persons_order(way: tuple[int, int]) -> None:
    for seed in range(3):
        workers = run(seed, way)
        assert workers.wrong == []
        assert workers.seen


@pytest.mark.parametrize("kill", range(1, 40))
def test_a_move_goes_on_after_its_process_died_anywhere(kill: int) -> None:
    assert run(kill, (2, 4), kill=kill).wrong == []


def test_to_consume_new_queues_at_once_is_caught_as_wrong() -> None:
    assert any(run(seed, (4, 16), rule=at_once, work_s=0.12).wrong for seed in range(3))


@pytest.mark.parametrize("seed", range(10))
def test_two_who_resize_at_once_end_at_the_numbers_asked_for(seed: int) -> None:
    with simulation(seed) as sim:
        sim.run(_two_resize(sim))


async def _two_resize(sim: Any) -> None:
    store, broker = MemoryStore(), MemoryBroker()
    queues = [MemoryQueue(broker) for _ in range(3)]
    for queue in queues:
        await queue.open()
    both = [Topology(store, queue, "bot", sim.clock, shards=2) for queue in queues[:2]]
    await both[0].ensure()
    workers = Workers(queues[2], both[0], sim.clock, look_s=0.2)
    people = People(queues[1], 8, sim.clock, 0.3)
    tasks = [asyncio.create_task(workers.run()), asyncio.create_task(people.all())]
    await asyncio.gather(both[0].resize(8), both[1].resize(4))
    await asyncio.gather(both[0].resize(8), both[1].resize(8))
    people.quiet = True
    await tasks[1]
    await workers.has_read(people)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    layout = await both[0].layout()
    assert layout is not None
    assert (layout.shards, layout.old) == (8, None)
    assert workers.read == people.sent
    assert workers.wrong == []


async def moved() -> tuple[MemoryStore, MemoryQueue, Topology]:
    """A cluster in the middle of a move whose process died: one of two old queues is drained."""
    store, queue = MemoryStore(), MemoryQueue()
    await queue.open()
    topology = Topology(store, queue, "bot", SystemClock(), shards=2, settle_s=0)
    with pytest.raises(Died):
        await topology.resize(4, die_when_draining)
    await topology.drained(1, 0)
    return store, queue, topology


def die_when_draining(layout: Layout) -> None:
    if layout.phase == DRAIN:
        raise Died


async def test_an_old_queue_is_said_to_be_drained_once() -> None:
    _, _, topology = await moved()
    first = await topology.drained(1, 1)
    assert first.drained == (0, 1)
    assert await topology.drained(1, 1) == first
    assert await topology.drained(2, 1) == first  # a stray end of the new ones means nothing


async def test_old_queues_stay_until_all_are_drained_and_left() -> None:
    _, queue, topology = await moved()
    assert not await topology.cleanup()
    await topology.drained(1, 1)
    consumer = await queue.consume(1, 1, print)
    assert not await topology.cleanup()
    await consumer.close()
    assert await topology.cleanup()
    assert not await topology.cleanup()
    with pytest.raises(Unavailable):
        await queue.consume(1, 0, print)


async def test_what_came_late_into_an_old_queue_is_published_anew() -> None:
    _, queue, topology = await moved()
    await topology.drained(1, 1)
    late = Letter("late", 1, b"late")
    queue.broker.put(queue.broker.line("bot", 1, 1), late)

    assert await topology.cleanup()
    found: list[Any] = []
    await queue.consume(2, 1, found.append)
    await asyncio.sleep(0.01)
    assert found[0].letter == late


async def test_a_resizer_that_slept_through_a_whole_move_takes_its_routes_back() -> None:
    _, queue, topology = await moved()
    stale = await topology.layout()
    assert stale is not None
    await topology.drained(1, 1)
    assert await topology.cleanup()
    await queue.declare(3, 2)
    await queue.route(3, 2, (2, 4))
    await topology._write(Layout(version=stale.version + 3, generation=3, shards=2))

    await topology._take_back(stale)
    await queue.publish([Letter("a", 1, b"")])
    assert [depth.ready for depth in await queue.depths(2, 4)] == [0, 0, 0, 0]
    assert [depth.ready for depth in await queue.depths(3, 2)] == [0, 1]


class Contested(Topology):
    """Somebody else always writes first."""

    async def _write(self, layout: Layout) -> bool:
        return False


async def test_a_layout_that_never_holds_still_is_given_up() -> None:
    store, queue, _ = await moved()
    with pytest.raises(StoreUnavailable):
        await Contested(store, queue, "bot", FakeClock()).drained(1, 1)
