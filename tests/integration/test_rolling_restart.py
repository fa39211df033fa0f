"""A new version comes: every worker and gateway is ended and started again, one after another, under load.

The platform, which sees nginx (with the configuration of ops/nginx), notices nothing.
"""

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.chaos.parts import Part, until
from tests.integration.run_kit import environment
from tests.ops.test_ansible import OPS, tls_free
from tests.servers import Nginx, free_port

PEOPLE = 40
EVERY_S = 0.8
BEFORE_S = 1.0
BOT = '''
"""Remembers what everybody says, and tells them in the end."""

import time
from pathlib import Path

from legato import App, Chat

app = App("memory")
FILE = Path(__file__).with_name("delays")


async def note(sent: str) -> None:
    with FILE.open("a") as file:
        file.write(f"{time.time() - float(sent)}\\n")


@app.command("start")
async def remember(chat: Chat) -> None:
    heard = []
    async for message in chat:
        if message.text == "end":
            break
        number, sent = message.text.split()
        heard.append(number)
        await chat.run(note, sent)
    await chat.say(" ".join(heard))
'''


def front(ports: list[int]) -> Nginx:
    """The nginx of ops/, which takes this machine for Telegram's network."""
    text = tls_free((OPS / "nginx/legato.conf").read_text())
    text = text.replace("149.154.160.0/20", "127.0.0.0/8")
    for old, port in zip((8081, 8082), ports, strict=True):
        text = text.replace(f"server 127.0.0.1:{old}", f"server 127.0.0.1:{port}")
    return Nginx(text)


class Cluster:
    """2 gateways and 3 workers, by the ports where they say whether they are ready."""

    def __init__(self, folder: Path, env: dict[str, str], ports: list[int]) -> None:
        bot = folder / "memory.py"
        bot.write_text(BOT)
        self.parts: dict[int, Part] = {}
        for port in ports:
            self._add(port, "gateway", str(bot), env, folder)
        for number in range(3):
            name = ("--name", f"worker{number}", "--heartbeat", "0.5")
            self._add(free_port(), "worker", str(bot), env, folder, *name)

    def _add(
        self, port: int, kind: str, bot: str, env: dict[str, str], folder: Path, *flags: str
    ) -> None:
        command = ["-m", "legato.cli.main", kind, bot, "--listen", f"127.0.0.1:{port}", *flags]
        self.parts[port] = Part(f"{kind}-{port}", command, env, folder)

    async def start(self) -> None:
        """All at once."""
        await asyncio.gather(*(self._started(port) for port in self.parts))

    async def _started(self, port: int) -> None:
        part = self.parts[port]
        await part.start()
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(is_ready, port):
                assert part.alive, f"{part.name} ended by itself:\n{part.tail()}"
                await asyncio.sleep(0.05)

    async def roll(self) -> None:
        """One after another, each as a supervisor does it."""
        for port, part in self.parts.items():
            assert await part.stop() == 0, part.tail()
            await self._started(port)

    async def end(self) -> None:
        """Kills what is left."""
        await asyncio.gather(*(part.kill() for part in self.parts.values() if part.alive))


def is_ready(port: int) -> bool:
    """What a load balancer asks."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


async def talk(person: FakeUser, over: asyncio.Event) -> list[str]:
    """Says one number after another until it is over; returns them."""
    person.sends("/start")
    said: list[str] = []
    while not over.is_set():
        said.append(str(len(said)))
        person.sends(f"{said[-1]} {time.time()}")
        await asyncio.sleep(EVERY_S)
    person.sends("end")
    return said


@asynccontextmanager
async def cluster(
    folder: Path, telegram: FakeTelegram, store: str, queue: str
) -> AsyncIterator[Cluster]:
    """A running one, with nginx before it."""
    async with AsyncExitStack() as stack:
        ports = [free_port(), free_port()]
        nginx = stack.enter_context(front(ports))
        env = environment(
            telegram,
            LEGATO_STORE=store,
            LEGATO_QUEUE=queue,
            LEGATO_SHARDS="16",
            LEGATO_PUBLIC_URL=f"http://127.0.0.1:{nginx.port}",
        )
        one = Cluster(folder, env, ports)
        stack.push_async_callback(one.end)
        await one.start()
        await until(lambda: telegram.updates.webhook is not None, "the webhook is set")
        yield one


@pytest.mark.timeout(240)
async def test_a_rolling_restart_is_seen_by_nobody(tmp_path, postgres_url, rabbit_url):
    async with (
        FakeTelegram() as telegram,
        cluster(tmp_path, telegram, postgres_url, rabbit_url) as one,
    ):
        people = [telegram.user(f"P{number}") for number in range(PEOPLE)]
        over = asyncio.Event()
        talks = [asyncio.create_task(talk(person, over)) for person in people]
        since = time.perf_counter()
        try:
            await asyncio.sleep(BEFORE_S)
            await one.roll()
            await asyncio.sleep(BEFORE_S)
        finally:
            over.set()
            said = await asyncio.gather(*talks)
        took_s = time.perf_counter() - since
        for person, numbers in zip(people, said, strict=True):
            answer = await person.gets(timeout_s=60)
            assert answer.text == " ".join(numbers), person
        delays = sorted(map(float, (tmp_path / "delays").read_text().split()))
        print(  # noqa: T201 # with -s; a shared machine's time proves nothing
            f"{len(delays) / took_s:.0f} updates/s for {took_s:.0f} s; from the platform to the step: "
            f"p50 {delays[len(delays) // 2]:.2f}, p99 {delays[int(len(delays) * 0.99)]:.2f}, "
            f"longest {delays[-1]:.2f} s"
        )
        errors = [status for _, status in telegram.updates.deliveries if status != 200]
        assert not errors, f"{len(errors)} of {len(telegram.updates.deliveries)}: {set(errors)}"
