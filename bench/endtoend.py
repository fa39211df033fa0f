"""A whole cluster under a steady load, and under a burst: how soon answers come, and what memory grows.

    python -m bench.endtoend [--seconds 20] [--rate 500] [--burst 30000] [--workers 2]
    python -m bench.endtoend --seconds 600        the target: 10 minutes

nginx, 2 gateways, RabbitMQ, workers and Postgres (Debian's defaults) are private and run beside the load, which
is the fake Telegram, too. People play the adder: each message is sent when it is due, whatever was answered
until then, and its wait is counted from that moment to the answer. The burst is one /start of as many people.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from bench._cluster import (
    BotApi,
    Used,
    Watched,
    Webhook,
    gateways,
    grouped,
    percent,
    ready,
    webhooks,
    workers,
)
from bench._kit import machine, table, update
from legato.deploy.shell import loop_factory
from tests.servers import Postgres, Rabbit, free_port

EVERY_S = 6
"""So often a person says something under the steady load: there are so many people."""
WARM_S = 8.0
TICK_S = 0.005
CONNECTIONS = 64
PATIENCE_S = 120.0
"""So long nothing at all may be answered before it is given up."""
SCRIPT = ((b"/start", "First number?"), (b"2", "Second number?"), (b"3", "5"))


class Person(Struct):
    """Somebody who plays the adder.

    Attributes:
        chat: Whose.
        step: Where in the script.
        since: When the message under way was due.
        left: What it still needs: to be confirmed, to be answered.
    """

    chat: int
    step: int = 0
    since: float = 0.0
    left: int = 0


class People:
    """Everybody, and what they saw.

    Attributes:
        idle: Who can say something.
        waits: Seconds from when each message was due to its answer.
        confirms: Messages confirmed by a gateway.
        late: Messages that nobody was free to send when they were due.
        wrong: Answers that were others than they must be, or that nobody waited for.
        refused: Posts that were not answered by 200, and repeated.
    """

    def __init__(self, lines: list[Webhook]) -> None:
        self.idle: deque[Person] = deque()
        self._by_chat: dict[int, Person] = {}
        self._due: asyncio.Queue[Person] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._posting = [asyncio.create_task(self._post(line)) for line in lines]
        self.reset()

    def reset(self) -> None:
        """Counts anew."""
        self.waits: list[float] = []
        self.confirms = self.late = self.wrong = self.refused = 0

    def join(self, chat: int) -> Person:
        """One more."""
        person = self._by_chat[chat] = Person(chat)
        return person

    def say(self, person: Person, since: float) -> None:
        """Sends the next message of somebody idle."""
        person.since, person.left = since, 2
        self._due.put_nowait(person)

    def hear(self, chat: int, text: str) -> None:
        """The bot said something."""
        person = self._by_chat.get(chat)
        if person is None or not person.left or text != SCRIPT[person.step][1]:
            self.wrong += 1
            return
        self.waits.append(time.perf_counter() - person.since)
        self._over(person)

    def _over(self, person: Person) -> None:
        person.left -= 1
        if not person.left:
            person.step = (person.step + 1) % len(SCRIPT)
            self.idle.append(person)

    async def _post(self, line: Webhook) -> None:
        while True:
            person = await self._due.get()
            body = update(next(self._numbers), person.chat, SCRIPT[person.step][0])
            while (status := await line.post(body)) != 200:
                self.refused += 1
                if not status:
                    raise ConnectionError("nginx closed the connection")
                await asyncio.sleep(0.1)
            self.confirms += 1
            self._over(person)

    async def talk(self, rate: float, seconds: float) -> None:
        """So many messages a second, for so long."""
        start = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = start + number / rate
            while (now := time.perf_counter()) < due:  # noqa: ASYNC110 # the clock
                await asyncio.sleep(max(TICK_S, due - now))
            self.check()
            if self.idle:
                self.say(self.idle.popleft(), due)
            else:
                self.late += 1

    async def until(self, over: Callable[[], bool]) -> None:
        """Returns once `over` holds."""
        seen, at = 0, time.perf_counter()
        while not over():
            await asyncio.sleep(0.02)
            self.check()
            if len(self.waits) > seen:
                seen, at = len(self.waits), time.perf_counter()
            elif time.perf_counter() - at > PATIENCE_S:
                raise TimeoutError(f"after {seen} answers nothing more is answered")

    def check(self) -> None:
        """Raises what ended one of the connections."""
        for task in self._posting:
            if task.done():
                task.result()

    async def leave(self) -> None:
        """Ends."""
        for task in self._posting:
            task.cancel()
        await asyncio.gather(*self._posting, return_exceptions=True)


async def steady(people: People, watched: Watched, args: argparse.Namespace) -> None:
    """The steady load, and its tables."""
    people.idle.extend(people.join(1_000_000 + n) for n in range(args.rate * EVERY_S))
    await people.talk(args.rate, WARM_S)
    people.reset()
    before, since = watched.used(), time.perf_counter()
    await people.talk(args.rate, args.seconds)
    took_s, after = time.perf_counter() - since, watched.used()
    count = len(people.waits)
    print(f"Steady: {args.rate} messages/s were due for {args.seconds:g} s")
    row = [f"{count / took_s:.0f}", *(f"{percent(people.waits, p):.1f}" for p in (0.5, 0.99, 1))]
    row += [str(number) for number in (people.late, people.refused, people.wrong)]
    table(("answers/s", "p50 ms", "p99 ms", "longest ms", "late", "refused", "wrong"), [row])
    us = {kind: cpu_s / max(1, count) * 1e6 for kind, cpu_s in grouped(before, after).items()}
    print()
    table(("", *us), [["us CPU an answer", *(f"{value:.0f}" for value in us.values())]])
    print()
    memory(before, after)


async def burst(people: People, watched: Watched, size: int) -> None:
    """The burst, and its tables."""
    people.reset()
    before, since = watched.used(), time.perf_counter()
    for number in range(size):
        people.say(people.join(10_000_000 + number), since)
    await people.until(lambda: people.confirms >= size)
    absorbed_s, meanwhile = time.perf_counter() - since, len(people.waits)
    await people.until(lambda: len(people.waits) >= size)
    took_s = time.perf_counter() - since
    print(
        f"\nBurst: {size} messages at once were confirmed in {absorbed_s:.1f} s ({size / absorbed_s:.0f}/s), "
        f"{meanwhile} of them answered by then; all were in {took_s:.1f} s ({size / took_s:.0f}/s). "
        f"Refused: {people.refused}, wrong: {people.wrong}\n"
    )
    memory(before, watched.used())


def memory(before: dict[str, Used], after: dict[str, Used]) -> None:
    """What each process holds."""
    rows = [
        [
            name,
            f"{before[name].rss / 2**20:.1f}",
            f"{used.rss / 2**20:.1f}",
            f"{(used.rss / before[name].rss - 1) * 100:+.1f} %",
        ]
        for name, used in after.items()
    ]
    table(("process", "MB before", "MB after", "growth"), rows)


async def play(
    watched: Watched, port: int, ports: list[int], api: int, args: argparse.Namespace
) -> None:
    """Both."""
    heard: list[People] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: BotApi(heard[0].hear), "127.0.0.1", api
    )
    async with server:
        await ready(ports)
        lines = await webhooks(port, CONNECTIONS)
        people = People(lines)
        heard.append(people)
        try:
            await steady(people, watched, args)
            await people.until(lambda: len(people.idle) == args.rate * EVERY_S)
            if args.burst:
                await burst(people, watched, args.burst)
        finally:
            await people.leave()
            for line in lines:
                line.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A whole cluster under load")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=500, help="messages a second (500)")
    parser.add_argument("--burst", type=int, default=30_000, help="messages at once (30000)")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    watched = Watched()
    watched.add("load", os.getpid())
    with contextlib.ExitStack() as stack:
        rabbit, postgres = stack.enter_context(Rabbit()), stack.enter_context(Postgres())
        master = int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
        watched.add("Postgres", master, tree=True)
        api = free_port()
        url = f"http://127.0.0.1:{api}"
        port, ports = stack.enter_context(gateways(watched, rabbit, postgres.url))
        ports += stack.enter_context(workers(watched, rabbit, postgres.url, url, args.workers))
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory()))
        print(machine())
        runner.run(play(watched, port, ports, api, args))


if __name__ == "__main__":
    main()
