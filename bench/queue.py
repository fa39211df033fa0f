"""CPU of a confirmed publish and of a consumed message: our RabbitMQ client beside aio-pika.

    python -m bench.queue [--rounds 5] [--count 10000]

Both talk to the same private broker, in the same process and run, one after the other in each round: 500
bytes a letter to a quorum queue, mandatory, confirmed one by one, 64 on their way at once; then consumed at
a prefetch of 200 and acknowledged one by one. Only this process's CPU is counted, not the broker's.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from msgspec import Struct
from pamqp.common import FieldTable

from bench._kit import machine, median, table
from legato.abc.queue import Delivery, Letter
from legato.deploy.shell import loop_factory
from legato.queues.rabbitmq import RabbitQueue
from tests.servers import Rabbit

BODY = b"x" * 500
AT_ONCE = 64
PREFETCH = 200
APP = "bench"
WAIT_S = 120.0


class Cost(Struct, frozen=True):
    """Microseconds of CPU of this process.

    Attributes:
        publish: Of a confirmed publish.
        consume: Of a message taken and acknowledged.
    """

    publish: float
    consume: float


async def together(send: Callable[[int], Awaitable[object]], count: int) -> None:
    """Sends so many, AT_ONCE of them on their way."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await send(number)

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def spent(since: float, count: int) -> float:
    """Microseconds of CPU for each of so many, since then."""
    return (time.process_time() - since) / count * 1e6


async def ours(url: str, count: int) -> Cost:
    """Our client."""
    queue = RabbitQueue(url, APP, prefetch=PREFETCH, timeout_s=WAIT_S)
    await queue.open()
    try:
        await queue.declare(1, 1)
        since = time.process_time()
        await together(lambda n: queue.publish([Letter(f"bench:{n}", n % 64, BODY)]), count)
        publish = spent(since, count)
        left, over = count, asyncio.Event()

        def take(delivery: Delivery) -> None:
            nonlocal left
            delivery.ack()
            left -= 1
            if not left:
                over.set()

        since = time.process_time()
        consumer = await queue.consume(1, 0, take)
        async with asyncio.timeout(WAIT_S):
            await over.wait()
        consume = spent(since, count)
        await consumer.close()
        return Cost(publish, consume)
    finally:
        await queue.close()


async def aio_pikas(url: str, count: int) -> Cost:
    """aio-pika, as its documentation has it."""
    before = asyncio.all_tasks()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(PREFETCH)
        arguments: FieldTable = {"x-queue-type": "quorum", "x-single-active-consumer": True}
        queue = await channel.declare_queue("bench-peer", durable=True, arguments=arguments)

        async def send(number: int) -> None:
            message = aio_pika.Message(
                BODY, message_id=f"bench:{number}", delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            await channel.default_exchange.publish(message, queue.name, mandatory=True)

        since = time.process_time()
        await together(send, count)
        publish = spent(since, count)
        left, over = count, asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            nonlocal left
            await message.ack()
            left -= 1
            if not left:
                over.set()

        since = time.process_time()
        tag = await queue.consume(take)
        async with asyncio.timeout(WAIT_S):
            await over.wait()
        consume = spent(since, count)
        await queue.cancel(tag)
        await queue.delete(if_unused=False, if_empty=False)
    if left_behind := asyncio.all_tasks() - before:  # its callbacks of the close end a little later
        await asyncio.wait(left_behind)
    return Cost(publish, consume)


async def beside(url: str, count: int, rounds: int) -> dict[str, list[Cost]]:
    """Both, round by round, after a small one that is not counted."""
    clients = {"legato": ours, "aio-pika": aio_pikas}
    found: dict[str, list[Cost]] = {name: [] for name in clients}
    for number in range(rounds + 1):
        for name, client in clients.items():
            cost = await client(url, count if number else min(count, 500))
            if number:
                found[name].append(cost)
    return found


def row(name: str, costs: list[Cost], base: Cost) -> list[str]:
    """One line of the table: medians, ranges, and how much more than ours."""
    cells = [name]
    for part in ("publish", "consume"):
        values = sorted(getattr(cost, part) for cost in costs)
        middle = median(values)
        cells += [f"{middle:.1f}", f"{values[0]:.1f}-{values[-1]:.1f}"]
        cells.append(f"{middle / getattr(base, part):.1f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description="Our RabbitMQ client beside aio-pika")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=10_000)
    args = parser.parse_args()
    with Rabbit() as broker, asyncio.Runner(loop_factory=loop_factory()) as runner:
        found = runner.run(beside(broker.url, args.count, args.rounds))
    print(f"{machine()}; medians of {args.rounds} runs of {args.count} messages")
    legato = found["legato"]
    base = Cost(median(c.publish for c in legato), median(c.consume for c in legato))
    table(
        (
            "client",
            "us CPU a publish",
            "all runs",
            "x legato",
            "us CPU a consumed one",
            "all runs",
            "x legato",
        ),
        [row(name, costs, base) for name, costs in found.items()],
    )


if __name__ == "__main__":
    main()
