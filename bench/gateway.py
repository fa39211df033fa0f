"""Webhooks that two gateways behind nginx confirm: how many a second, how soon, and the CPU of each.

    python -m bench.gateway [--seconds 10] [--connections 64]

A private RabbitMQ keeps what comes; nobody takes it out. Load, nginx, gateways and broker share this machine's
cores, so the rate is that of all of them together; the last line says what the cores would do without the load.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import tempfile
import time

from msgspec import Struct

from bench._cluster import (
    APP,
    SHARDS,
    Watched,
    Webhook,
    gateways,
    grouped,
    percent,
    ready,
    webhooks,
)
from bench._kit import machine, table, update
from legato.deploy.shell import loop_factory
from legato.queues.rabbitmq import RabbitQueue
from tests.servers import Rabbit

WARM_S = 2.0
CHATS = 10_000


class Run(Struct):
    """What was seen.

    Attributes:
        waits: Seconds to each 200.
        others: Answers that were no 200.
        seconds: How long it took.
        cpu_s: Seconds of CPU, by kind of process.
    """

    waits: list[float]
    others: int
    seconds: float
    cpu_s: dict[str, float]


class Load:
    """Posts updates over some connections, the next when the last is answered."""

    def __init__(self, lines: list[Webhook]) -> None:
        self._lines = lines
        self._numbers = itertools.count(1)
        self.waits: list[float] = []
        self.others = 0

    async def play(self, seconds: float) -> None:
        """For so long."""
        end = time.perf_counter() + seconds
        await asyncio.gather(*(self._post(line, end) for line in self._lines))

    async def _post(self, line: Webhook, end: float) -> None:
        while (since := time.perf_counter()) < end:
            number = next(self._numbers)
            status = await line.post(update(number, 1_000_000 + number % CHATS, b"hello"))
            self.waits.append(time.perf_counter() - since)
            if status != 200:
                self.others += 1
            if not status:
                return  # the connection is lost


async def measure(
    watched: Watched, rabbit: Rabbit, port: int, ports: list[int], args: argparse.Namespace
) -> Run:
    """One run."""
    queue = RabbitQueue(rabbit.url, APP)
    await queue.open()
    try:
        await queue.declare(1, SHARDS)
    finally:
        await queue.close()
    await ready(ports)
    lines = await webhooks(port, args.connections)
    load = Load(lines)
    await load.play(WARM_S)
    load.waits, load.others = [], 0
    before, since = watched.used(), time.perf_counter()
    await load.play(args.seconds)
    took_s, after = time.perf_counter() - since, watched.used()
    for line in lines:
        line.close()
    return Run(load.waits, load.others, took_s, grouped(before, after))


def show(seen: Run) -> None:
    """The tables."""
    count = len(seen.waits)
    table(
        ("webhooks/s", "p50 ms", "p99 ms", "no 200"),
        [
            [
                f"{count / seen.seconds:.0f}",
                f"{percent(seen.waits, 0.5):.1f}",
                f"{percent(seen.waits, 0.99):.1f}",
                str(seen.others),
            ]
        ],
    )
    us = {kind: cpu_s / count * 1e6 for kind, cpu_s in seen.cpu_s.items()}
    print()
    table(
        ("us CPU a webhook", *us, "without the load"),
        [["", *(f"{value:.0f}" for value in us.values()), f"{sum(us.values()) - us['load']:.0f}"]],
    )
    cores = os.cpu_count() or 1
    alone = cores / (sum(us.values()) - us["load"]) * 1e6
    print(f"\n{cores} cores that had nothing to do but this: {alone:.0f} webhooks/s by their CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description="Two gateways behind nginx")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    args = parser.parse_args()
    watched = Watched()
    watched.add("load", os.getpid())
    with (
        tempfile.TemporaryDirectory() as folder,
        Rabbit() as rabbit,
        gateways(watched, rabbit, f"sqlite:///{folder}/gateways.db") as (port, ports),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        seen = runner.run(measure(watched, rabbit, port, ports, args))
    print(f"{machine()}; {args.connections} connections for {args.seconds:g} s")
    show(seen)


if __name__ == "__main__":
    main()
