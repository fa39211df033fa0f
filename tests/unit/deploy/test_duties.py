"""A worker's part of the work goes to another one."""

import asyncio

import pytest

from legato import App, Chat
from legato.abc import Consumer, HttpClient, Take, Verdict
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.share import Part
from legato.deploy.duties import Duties
from legato.deploy.topology import Topology
from legato.model.events import Address
from legato.model.records import QUEUED, SENDING, Call, Commit, OutboxItem
from legato.model.shards import slot_of
from legato.queues.memory import MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from legato.testing.simulation import Simulation, simulation

SENDING_S = 1.5
"""Longer than a worker waits for what is in hand, shorter than twice that."""
PLACE = Address("test", "bot", "7", "7")

app = App("moving")


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say("Hello")


class Slow(ScriptedPlatform):
    """Each call takes a while."""

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        await asyncio.sleep(SENDING_S)
        return await super().send(call, place, http)


def test_a_send_under_way_is_marked_before_another_worker_has_its_chat():
    with simulation(1) as sim:
        sim.run(_moved(sim))


async def _moved(sim: Simulation) -> None:
    store, queue, share = MemoryStore(), MemoryQueue(app="moving"), Part(sim.clock)
    platform = Slow()
    runtime = Runtime(
        app,
        store=store,
        platforms=[platform],
        clock=sim.clock,
        http=NoNetwork(),
        settings=RuntimeSettings(),
        share=share,
    )
    topology = Topology(store, queue, "moving", sim.clock, shards=2)
    duties = Duties(runtime, share, queue, topology, drain_s=1.0)
    await queue.open()
    await runtime.start()
    share.last(60.0, sim.clock.monotonic(), sim.clock.now_ms())
    unit = (slot_of(PLACE) % await duties.units(), 2)
    await duties.begin([unit])
    await _say(runtime, store, "one", "two")
    await duties.finish(unit)
    assert [shown.message.text for shown in platform.shown] == ["one"]
    left = await store.outbox(states=(QUEUED, SENDING))
    assert [item.ref for item in left] == ["two"]
    await duties.close()
    await runtime.stop()
    await queue.close()


async def _say(runtime: Runtime, store: MemoryStore, *texts: str) -> None:
    now_ms = runtime.clock.now_ms()
    items = []
    for text in texts:
        call = Call("send", {"out": {"type": "send", "message": {"text": text}}})
        items.append(OutboxItem(0, PLACE.lane, PLACE, "", 0, text, call, created_ms=now_ms))
    await store.commit(Commit(at_ms=now_ms, outbox=tuple(items)))
    await runtime.relay.recover()


class Tardy(MemoryQueue):
    """A broker beyond a network: to subscribe and to leave take a while."""

    async def consume(self, generation: int, shard: int, take: Take) -> Consumer:
        await asyncio.sleep(0.01)
        return Leaving(await super().consume(generation, shard, take))


class Leaving(Consumer):
    def __init__(self, inner: Consumer) -> None:
        self.inner = inner

    async def stop(self) -> None:
        await asyncio.sleep(0.01)
        await self.inner.stop()

    async def close(self) -> None:
        await asyncio.sleep(0.01)
        await self.inner.close()


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.015, 0.025, 0.035, 0.045, 0.055])
def test_shards_may_go_to_another_worker_while_queues_are_being_left_or_taken(after_s, caplog):
    with simulation(1) as sim:
        sim.run(_resized(sim, after_s))
    assert not caplog.records


async def _resized(sim: Simulation, after_s: float) -> None:
    store, queue, share = MemoryStore(), Tardy(app="moving"), Part(sim.clock)
    runtime = Runtime(
        app,
        store=store,
        platforms=[ScriptedPlatform()],
        clock=sim.clock,
        http=NoNetwork(),
        settings=RuntimeSettings(),
        share=share,
    )
    topology = Topology(store, queue, "moving", sim.clock, shards=4)
    duties = Duties(runtime, share, queue, topology, drain_s=1.0)
    await queue.open()
    await runtime.start()
    share.last(60.0, sim.clock.monotonic(), sim.clock.now_ms())
    units = [(number, await duties.units()) for number in range(4)]
    await duties.begin(units[:3])
    moving = asyncio.ensure_future(duties.begin(units[3:]))
    await asyncio.sleep(after_s)
    duties._units.difference_update(units[1:])  # as after a change of the layout: to be left
    following = asyncio.ensure_future(duties._follow())
    await asyncio.gather(*(duties.finish(unit) for unit in units[1:]))
    await asyncio.gather(moving, following)
    assert list(duties.consumers) == [(1, 0)]
    depths = await queue.depths(1, 4)
    assert [depth.consumers for depth in depths] == [1, 0, 0, 0]
    await duties.close()
    await runtime.stop()
    await queue.close()
