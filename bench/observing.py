"""What it costs to be watched.

    python -m bench.observing [--rounds 7] [--dialogs 1500]

First the calls that one update makes of its observer, alone: its wait in the queue, a Turn, a commit, a
send; and what a watched store and a watched queue add (the least of 9 runs: what disturbs a run only adds).
Then the adder's dialog from end to end in one
process with the store in memory, each way in turn: off, metrics, and metrics with traces that nobody
exports.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from contextvars import Context

from opentelemetry.sdk.trace import TracerProvider

from bench._kit import TOKEN, NoNetwork, adder, machine, median, run, table, update
from legato.abc import Delivery, Letter, Limits, Verdict
from legato.abc.observer import NOBODY, Observer, Scoping, Several
from legato.app.runtime import Runtime, RuntimeSettings
from legato.deploy.clock import SystemClock
from legato.deploy.measures import Measures
from legato.deploy.tracing import Tracing
from legato.deploy.watched import WatchedQueue, WatchedStore
from legato.model.events import Address
from legato.model.records import Call, OutboxItem
from legato.platforms.telegram import Telegram
from legato.queues.memory import MemoryQueue
from legato.stores.memory import MemoryStore

BUDGET_US = 5.0
PLACE = Address("telegram", "42", "7", "7")
ITEM = OutboxItem(1, PLACE.lane, PLACE, "telegram:42:7:7:", 1, "", Call("sendMessage"))
SENT = Verdict("sent")


def observers() -> dict[str, Observer]:
    """By name."""
    clock = SystemClock()
    return {
        "off": NOBODY,
        "JSON lines": Scoping(),
        "metrics": Measures(clock),
        "metrics and traces": Several(
            Measures(clock), Tracing(TracerProvider(shutdown_on_exit=False))
        ),
    }


def calls(observer: Observer, times: int = 20_000) -> float:
    """CPU us of what one update calls, without what they are called by."""
    at_ms = int(time.time() * 1000)
    context = Context()
    spent = time.process_time()
    for _ in range(times):
        update_began = observer.begin_update("telegram:42:1", at_ms=at_ms)
        turn = observer.begin_turn("telegram:42:7:7:", "add", context)
        commit = observer.begin_store("commit")
        observer.end_store(commit, "commit", None)
        observer.end_turn(turn, "add", "waiting")
        observer.end_update(update_began)
        send = observer.begin_send(ITEM)
        observer.end_send(send, ITEM, SENT)
    return (time.process_time() - spent) / times * 1e6


class _Done(Delivery):
    """A delivery of nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        self.letter = Letter("telegram:42:1", 7, b"", at_ms=1)
        self.redelivered = False

    def ack(self) -> None:
        return


async def wrappers(times: int = 20_000) -> tuple[float, float]:
    """CPU us that a watched store adds to a call, and a watched queue to a letter taken."""
    measures = Measures(SystemClock())
    store = MemoryStore()
    delivery = _Done()
    taken: list[Callable[[Delivery], None]] = []

    class Inner(MemoryQueue):
        async def consume(self, generation: int, shard: int, take):  # type: ignore[no-untyped-def]
            taken.append(take)
            return await super().consume(generation, shard, take)

    queue = WatchedQueue(Inner(), measures, SystemClock())
    await queue.open()
    await queue.declare(1, 1)
    consumer = await queue.consume(1, 0, lambda one: one.ack())

    async def gets(of: MemoryStore | WatchedStore) -> float:
        spent = time.process_time()
        for _ in range(times):
            await of.get("a", "b")
        return (time.process_time() - spent) / times * 1e6

    plain, watched = await gets(store), await gets(WatchedStore(store, measures))
    spent = time.process_time()
    for _ in range(times):
        taken[0](delivery)
    queue_us = (time.process_time() - spent) / times * 1e6
    await consumer.close()
    await queue.close()
    return watched - plain, queue_us


async def dialogs(observer: Observer, count: int) -> float:
    """CPU us an update of so many dialogs, 16 at once."""
    store: MemoryStore | WatchedStore = MemoryStore()
    telegram = Telegram(TOKEN, secret="bench", limits=Limits())
    runtime = Runtime(
        adder(),
        store=store if observer is NOBODY else WatchedStore(store, observer),
        platforms=[telegram],
        clock=SystemClock(),
        http=NoNetwork(),
        settings=RuntimeSettings(webhook_reply=False, observer=observer),
    )
    await runtime.start(loops=False)
    left = iter(range(1, count + 1))
    number = 0

    async def people() -> None:
        nonlocal number
        for chat in left:
            for text in (b"/start", b"2", b"3"):
                number += 1
                await runtime.receive(telegram, update(number, chat, text))

    spent = time.process_time()
    await asyncio.gather(*(people() for _ in range(16)))
    await runtime.relay.flush(60)
    spent = time.process_time() - spent
    await runtime.stop()
    return spent / (count * 3) * 1e6


async def end_to_end(rounds: int, count: int) -> dict[str, float]:
    """The median of each way; the ways take turns."""
    found: dict[str, list[float]] = {name: [] for name in observers()}
    for number in range(rounds):
        ways = list(observers().items())
        for name, observer in (*ways[number % len(ways) :], *ways[: number % len(ways)]):
            found[name].append(await dialogs(observer, count))
    return {name: median(values) for name, values in found.items()}


async def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--dialogs", type=int, default=1500)
    given = options.parse_args()
    alone = {name: min(calls(observer) for _ in range(9)) for name, observer in observers().items()}
    store_us, queue_us = (
        min(costs) for costs in zip(*[await wrappers() for _ in range(9)], strict=True)
    )
    whole = await end_to_end(given.rounds, given.dialogs)
    print(machine())
    table(
        ("us CPU", "calls of one update", "an update end to end", "more than off"),
        [
            (name, f"{alone[name]:.2f}", f"{whole[name]:.1f}", f"{whole[name] - whole['off']:+.1f}")
            for name in alone
        ],
    )
    print(
        f"\nA watched store adds {store_us:.2f} us to a call, a watched queue {queue_us:.2f} us to a letter."
    )
    metrics = alone["metrics"] + store_us * 2 + queue_us
    print(
        f"Metrics, all in all: {metrics:.1f} us an update in a worker; the budget is {BUDGET_US:g}."
    )


if __name__ == "__main__":
    run(main())
