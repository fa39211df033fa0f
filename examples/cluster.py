"""A cluster on this machine, with people who talk to it: `make cluster`.

    people -> fake Telegram -> nginx -> 2 gateways -> RabbitMQ -> 3 workers -> Postgres, and back

The servers are private, in temporary folders and on free ports; they end with this program. A table shows
what happens, second by second. ctrl-C (or --seconds) ends it; it then checks that nobody was told a wrong sum.

    make cluster ARGS="--seconds 30 --people 400"
    make cluster ARGS="--kill"          kills a worker or a gateway every few seconds

Kill any of them by hand, too: the table starts with their process ids, and each is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil

from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.servers import Nginx, Postgres, Rabbit, free_port, started

BOT = Path(__file__).with_name("adder.py")
NGINX = """
    upstream gateways {{ {servers} keepalive 64; }}
    server {{
        listen 127.0.0.1:{{port}};
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""
Process = asyncio.subprocess.Process


class Cluster:
    """The processes of ours, each started again when it is gone."""

    def __init__(self, env: dict[str, str], ports: list[int], logs: Path) -> None:
        self._env = env
        self._logs = logs
        self.commands = {
            f"gateway {n}": ["gateway", str(BOT), "--listen", f"127.0.0.1:{port}"]
            for n, port in enumerate(ports, 1)
        } | {f"worker {n}": ["worker", str(BOT), "--name", f"worker{n}"] for n in (1, 2, 3)}
        self.running: dict[str, Process] = {}
        self.kills = 0

    async def start(self, name: str) -> None:
        """Starts one of them."""
        with (self._logs / f"{name.replace(' ', '')}.log").open("ab") as log:
            # A session of its own: ctrl-C is for us, and they go on until everybody has finished.
            self.running[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "legato.cli.main", *self.commands[name], env=self._env,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        started(self.running[name].pid)

    async def kill_one(self) -> None:
        """SIGKILL."""
        process = random.choice(list(self.running.values()))
        process.kill()
        await process.wait()

    def dead(self) -> list[str]:
        """Those that are gone."""
        return [name for name, one in self.running.items() if one.returncode is not None]

    async def revive(self) -> None:
        """Starts again what is gone, whoever killed it."""
        for name in self.dead():
            self.kills += 1
            await self.start(name)

    def last_words(self, name: str) -> str:
        """The end of its log."""
        return (self._logs / f"{name.replace(' ', '')}.log").read_text(errors="replace")[-1000:]

    async def stop(self) -> None:
        """Lets all of them drain."""
        for process in self.running.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(process.wait() for process in self.running.values()))


class Talk:
    """What all people see.

    Attributes:
        answered: Messages answered so far.
        wrong: What was answered otherwise than it must be.
        waits: Seconds from each message to its answer, since the table was shown last.
        waited: The same of the time before that.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.sums = 0
        self.wrong: list[str] = []
        self.waits: list[float] = []
        self.waited: list[float] = []
        self.over = False
        self._last: dict[int, str] = {}

    async def by(self, person: FakeUser) -> None:
        """One person adds numbers until it is over."""
        while not self.over:
            first, second = random.randrange(1000), random.randrange(1000)
            await self._asks(person, "/start", "First number?")
            await self._asks(person, str(first), "Second number?")
            await self._asks(person, str(second), f"Sum: {first + second}")
            self.sums += 1

    async def _asks(self, person: FakeUser, text: str, expected: str) -> None:
        # People think, and Telegram takes one message a second of a chat.
        await asyncio.sleep(random.uniform(0.5, 2.5))
        since = time.perf_counter()
        person.sends(text)
        answer = (await person.gets(timeout_s=60)).text
        while answer == self._last.get(person.id):
            # It was said twice: somebody died between sending and the mark that it was sent.
            answer = (await person.gets(timeout_s=60)).text
        self._last[person.id] = expected
        self.answered += 1
        self.waits.append(time.perf_counter() - since)
        if answer != expected:
            self.wrong.append(f"{person.name} said {text}, and was told {answer!r}")
            self.over = True


def percent(values: list[float], part: float) -> float:
    """A percentile in milliseconds, 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3 if ordered else 0.0


class Table:
    """The live table."""

    def __init__(self, talk: Talk, cluster: Cluster, rabbit: Rabbit) -> None:
        self.talk = talk
        self.cluster = cluster
        self._rabbit = rabbit
        self._before = (0, time.perf_counter())
        self._cpu: dict[int, psutil.Process] = {}

    def head(self) -> None:
        """What the columns mean."""
        names = "  ".join(f"{name:>13}" for name in self.cluster.commands)
        print(f"{'updates/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'queued':>6} {'kills':>5}  {names}")
        units = "  ".join(f"{'CPU%   MB':>13}" for _ in self.cluster.commands)
        print(f"{'':38}  {units}")

    async def row(self) -> None:
        """The last second."""
        count, now = self.talk.answered, time.perf_counter()
        rate = (count - self._before[0]) / (now - self._before[1])
        self._before = (count, now)
        waits, self.talk.waits = self.talk.waits, []
        self.talk.waited += waits
        queued = await asyncio.to_thread(self._queued)
        cells = "  ".join(f"{self._used(p):>13}" for p in self.cluster.running.values())
        print(
            f"{rate:9.0f} {percent(waits, 0.5):7.1f} {percent(waits, 0.99):7.1f} {queued:6d} "
            f"{self.cluster.kills:5d}  {cells}",
            flush=True,
        )

    def _queued(self) -> int:
        found = self._rabbit.api("GET", "queues?columns=messages")
        # A queue that nobody has counted yet is an empty list there.
        return sum(queue.get("messages", 0) for queue in found if isinstance(queue, dict))

    def _used(self, process: Process) -> str:
        try:
            watched = self._cpu.setdefault(process.pid, psutil.Process(process.pid))
            return f"{watched.cpu_percent():4.0f} {watched.memory_info().rss / 2**20:6.0f}"
        except psutil.Error:
            return "dead"


async def play(options: argparse.Namespace, stop: asyncio.Event) -> int:
    """Runs all of it; returns the exit code."""
    print("Starting Postgres, RabbitMQ, nginx, 2 gateways and 3 workers ...", flush=True)
    async with contextlib.AsyncExitStack() as stack:
        postgres, rabbit = await asyncio.gather(
            asyncio.to_thread(stack.enter_context, Postgres()),
            asyncio.to_thread(stack.enter_context, Rabbit("collect_statistics_interval = 1000\n")),
        )
        telegram = await stack.enter_async_context(FakeTelegram())
        ports = [free_port(), free_port()]
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        front = stack.enter_context(Nginx(NGINX.format(servers=servers)))
        logs = Path(tempfile.mkdtemp(prefix="legato-cluster-"))
        env = os.environ | {
            "LEGATO_STORE": postgres.url,
            "LEGATO_QUEUE": rabbit.url,
            "LEGATO_PUBLIC_URL": f"http://127.0.0.1:{front.port}",
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API": telegram.api,
        }
        cluster = Cluster(env, ports, logs)
        stack.push_async_callback(cluster.stop)
        await asyncio.gather(*(cluster.start(name) for name in cluster.commands))
        print(f"nginx: http://127.0.0.1:{front.port}/   logs: {logs}", flush=True)
        while telegram.updates.webhook is None and not stop.is_set():
            if dead := cluster.dead():
                print(f"{dead[0]} has ended:\n{cluster.last_words(dead[0])}")
                return 1
            await asyncio.sleep(0.1)
        people = [telegram.user(f"P{n}") for n in range(options.people)]
        talk = Talk()
        shown = Table(talk, cluster, rabbit)
        return await watch(options, stop, people, shown)


async def watch(
    options: argparse.Namespace, stop: asyncio.Event, people: list[FakeUser], shown: Table
) -> int:
    """Lets people talk and shows the table, until it is over."""
    talk, cluster = shown.talk, shown.cluster
    talks = [asyncio.create_task(talk.by(person)) for person in people]
    print("pids: " + ", ".join(f"{name} {one.pid}" for name, one in cluster.running.items()))
    shown.head()
    since = time.perf_counter()
    next_kill = since + 3
    while not (stop.is_set() or talk.over or any(task.done() for task in talks)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await stop.wait()
        await shown.row()
        await cluster.revive()
        if options.kill and time.perf_counter() > next_kill:
            next_kill = time.perf_counter() + 3
            await cluster.kill_one()
        if options.seconds and time.perf_counter() - since > options.seconds:
            break
    talk.over = True
    print("Ending: everybody finishes the sum under way ...", flush=True)
    done = await asyncio.gather(*talks, return_exceptions=True)
    failed = [str(error)[:300] for error in done if isinstance(error, BaseException)] + talk.wrong
    waits = talk.waited + talk.waits
    print(
        f"{talk.answered} messages answered (p50 {percent(waits, 0.5):.1f} ms, p99 "
        f"{percent(waits, 0.99):.1f} ms), {talk.sums} sums, {cluster.kills} kills"
    )
    print("Every sum is right." if not failed else "\n".join(failed[:5]))
    return 1 if failed else 0


async def main() -> int:
    """Until ctrl-C."""
    parser = argparse.ArgumentParser(description="A cluster on this machine, and a load")
    parser.add_argument("--seconds", type=float, default=0, help="end after so long (0: by ctrl-C)")
    parser.add_argument("--people", type=int, default=200, help="who talk at once (200)")
    parser.add_argument("--kill", action="store_true", help="kill -9 something every 3 s")
    options = parser.parse_args()
    stop = asyncio.Event()
    playing = asyncio.create_task(play(options, stop))

    def end() -> None:
        if stop.is_set():  # the second time: at once
            playing.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        return await playing
    except asyncio.CancelledError:
        return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
