"""A worker works on so many Turns at once and no more, whatever is handed to it."""

import asyncio

from legato import App, Chat
from legato.app import actors
from legato.model.events import Address, MessageReceived, User
from legato.testing.simulation import Simulation, simulation
from tests.property.cluster_world import World

SEATS = 4

app = App("seats")
at_work = [0, 0]


async def work() -> None:
    at_work[0] += 1
    at_work[1] = max(at_work)
    await asyncio.sleep(0.1)
    at_work[0] -= 1


@app.command("work")
async def worker(chat: Chat) -> None:
    await chat.run(work)
    await chat.say("done")


@app.command("wait")
async def waiter(chat: Chat) -> None:
    await chat.run(asyncio.sleep, 600)


def message(number: int, command: str) -> MessageReceived:
    person = str(number)
    return MessageReceived(
        id=f"test:bot:{number}",
        place=Address("test", "bot", person, person),
        user=User(person, f"P{number}"),
        text=f"/{command}",
        command=command,
        private=True,
    )


async def play(sim: Simulation, commands: list[str], seconds: float) -> dict[str, int]:
    """Everybody sends one command at once; returns what the worker counted once all are done."""
    world = World(sim, app, shards=1, workers=1)
    gateway = await world.gateway()
    await world.hire()
    (one,) = world.workers
    for number, command in enumerate(commands):
        await world.publish([gateway], message(number, command))
    workers = [str(n) for n, command in enumerate(commands) if command == "work"]
    assert await world.until(lambda: all(world.said_to(n) == ["done"] for n in workers), seconds)
    counted = dict(one.duties.actors.stats)
    await world.close()
    return counted


def test_a_burst_waits_in_the_queue_and_goes_into_no_mailbox(monkeypatch):
    monkeypatch.setattr(actors, "AT_ONCE", SEATS)
    at_work[:] = [0, 0]
    with simulation(1) as sim:
        counted = sim.run(play(sim, ["work"] * 300, 60))
    assert counted["kept"] == 0
    assert at_work == [0, SEATS]


def test_slow_steps_of_some_stop_nobody_else(monkeypatch):
    monkeypatch.setattr(actors, "AT_ONCE", SEATS)
    with simulation(1) as sim:
        counted = sim.run(play(sim, ["wait"] * 3 * SEATS + ["work"] * 10, 10))
    assert counted["kept"] >= 3 * SEATS
