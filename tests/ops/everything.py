"""What a process exposes that has just started, with the parts of every shell."""

from __future__ import annotations

from typing import cast

from legato import App, Chat
from legato.abc import Leases
from legato.app.actors import Actors
from legato.app.membership import Duties, Membership
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.settings import Settings
from legato.app.share import Part
from legato.deploy.monitoring import Monitoring
from legato.deploy.sources import of_runtime, of_worker
from legato.queues.memory import MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from tests.unit.deploy.asgi_kit import request

app = App("everything")


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say("hello")


async def ended(generation: int, shard: int) -> None:
    return


async def at_rest() -> list[str]:
    """The lines of its exposition."""
    clock = FakeClock()
    watch = Monitoring(Settings(), clock, "worker", app.name)
    runtime = Runtime(
        app,
        store=watch.store(MemoryStore()),
        platforms=[ScriptedPlatform()],
        clock=clock,
        http=NoNetwork(),
        settings=RuntimeSettings(observer=watch.observer),
    )
    share = Part(clock)
    actors = Actors(runtime, ended)
    # Neither is started: what they count is asked for, and nothing else.
    membership = Membership(
        cast(Leases, None), clock, app=app.name, holder="w", share=share, duties=cast(Duties, None)
    )
    watch.add(lambda: (*of_runtime(runtime), *of_worker(actors, membership)))
    queue = watch.queue(MemoryQueue())
    await queue.open()
    await queue.declare(1, 1)
    consumer = await queue.consume(1, 0, lambda delivery: None)
    answer = await request(watch.asgi(), "GET", "/metrics")
    await consumer.close()
    await queue.close()
    return answer.body.decode().splitlines()
