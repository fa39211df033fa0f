"""A cluster on this machine for the benchmarks, and what loads it: a platform made of two small protocols.

load -> nginx -> 2 gateways -> RabbitMQ (-> workers -> Postgres -> load)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import cast

import psutil
from msgspec import Struct, json

from bench._kit import ROOT, TOKEN, WORK
from tests.servers import Nginx, Rabbit, free_port, started

BOT = ROOT / "bench" / "bots" / "legato_bot.py"
APP = "bench"
SECRET = "bench"
SHARDS = 16
READY_S = 60.0


def front(ports: list[int]) -> Nginx:
    """The nginx of ops/ without TLS, which takes this machine for Telegram's network."""
    text = (ROOT / "ops" / "nginx" / "legato.conf").read_text()
    text = re.sub(r"\s*ssl_\w+ [^;]*;", "", text)
    text = text.replace("listen 443 ssl http2", "listen 127.0.0.1:{port}")
    text = text.replace("listen 80", "listen 127.0.0.1:{port}")
    text = text.replace("149.154.160.0/20", "127.0.0.0/8")
    for old, port in zip((8081, 8082), ports, strict=True):
        text = text.replace(f"server 127.0.0.1:{old}", f"server 127.0.0.1:{port}")
    return Nginx("keepalive_requests 10000000;\n" + text)


# -- processes ------------------------------------------------------------------------------------


class Used(Struct, frozen=True):
    """What a process has used, and holds.

    Attributes:
        cpu_s: Seconds of CPU so far.
        rss: Bytes of memory now; what processes of one tree share counts once for each.
    """

    cpu_s: float
    rss: int


class Watched:
    """The processes of a cluster, by name."""

    def __init__(self) -> None:
        self._processes: dict[str, tuple[psutil.Process, bool]] = {}

    def add(self, name: str, pid: int, *, tree: bool = False) -> None:
        """One more; with all that it started, if `tree`."""
        self._processes[name] = psutil.Process(pid), tree

    def used(self) -> dict[str, Used]:
        """So far."""
        return {name: self._used(*watched) for name, watched in self._processes.items()}

    def _used(self, process: psutil.Process, tree: bool) -> Used:
        cpu_s, rss = 0.0, 0
        for one in (process, *(process.children(recursive=True) if tree else ())):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                cpu_s += times.user + times.system
                rss += one.memory_info().rss
        return Used(cpu_s, rss)


@contextlib.contextmanager
def process(watched: Watched, name: str, env: dict[str, str], *command: str) -> Iterator[None]:
    """`legato <command>` as long as the block lasts; its log is in build/bench."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{name.replace(' ', '-')}.log"
    with path.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "legato.cli.main", *command],
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        started(child.pid)
        watched.add(name, child.pid)
        try:
            yield
        finally:
            early = child.poll() is not None
            child.send_signal(signal.SIGTERM)
            child.wait(30)
            if early:
                print(f"{name} ended by itself: see {path.relative_to(ROOT)}")


def environment(rabbit: Rabbit, store: str) -> dict[str, str]:
    """What all processes are told."""
    return {
        "LEGATO_QUEUE": rabbit.url,
        "LEGATO_STORE": store,
        "LEGATO_SHARDS": str(SHARDS),
        "TELEGRAM_TOKEN": TOKEN,
        "TELEGRAM_SECRET": SECRET,
    }


@contextlib.contextmanager
def workers(
    watched: Watched, rabbit: Rabbit, store: str, api: str, count: int
) -> Iterator[list[int]]:
    """So many of them: the ports where they say whether they are ready."""
    env = environment(rabbit, store) | {"TELEGRAM_API": api}
    ports = [free_port() for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for number, port in enumerate(ports, 1):
            command = ("worker", str(BOT), "--name", f"w{number}", "--listen", f"127.0.0.1:{port}")
            stack.enter_context(process(watched, f"worker {number}", env, *command))
        yield ports


@contextlib.contextmanager
def gateways(watched: Watched, rabbit: Rabbit, store: str) -> Iterator[tuple[int, list[int]]]:
    """nginx and two of them: its port, and theirs."""
    env = environment(rabbit, store)
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        for number, port in enumerate(ports, 1):
            command = ("gateway", str(BOT), "--listen", f"127.0.0.1:{port}")
            stack.enter_context(process(watched, f"gateway {number}", env, *command))
        nginx = stack.enter_context(front(ports))
        watched.add("nginx", int((nginx.folder / "pid").read_text()))
        watched.add("RabbitMQ", int((rabbit.folder / "pid").read_text()))
        yield nginx.port, ports


async def ready(ports: list[int]) -> None:
    """Returns once all say so."""
    async with asyncio.timeout(READY_S):
        for port in ports:
            while not await _is_ready(port):  # noqa: ASYNC110 # another process
                await asyncio.sleep(0.05)


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        head = await reader.read(64)
        writer.close()
    except OSError:
        return False
    return b" 200 " in head[:16]


# -- the platform's side ----------------------------------------------------------------------------


class Webhook(asyncio.Protocol):
    """One connection to nginx that posts updates, one at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    async def post(self, body: bytes) -> int:
        """The status of the answer; 0 if the connection is lost."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            return 0
        self._transport.write(
            b"POST /telegram HTTP/1.1\r\nHost: bot.example.org\r\nContent-Type: application/json\r\n"
            b"X-Telegram-Bot-Api-Secret-Token: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (SECRET.encode(), len(body), body)
        )
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            over = body.endswith(b"0\r\n\r\n")
        else:
            size = re.search(rb"content-length: (\d+)", lower)
            over = len(body) >= (int(size[1]) if size else 0)
        if over:
            self._data = b""
            self._answer.set_result(int(head[9:12]))

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.abort()


async def webhooks(port: int, count: int) -> list[Webhook]:
    """So many connections."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Webhook, "127.0.0.1", port) for _ in range(count)]
    return [protocol for _, protocol in made]


Sent = Callable[[int, str], None]
"""Told of a message of the bot's: to which chat, and its text."""


class _Call(Struct):
    chat_id: int | str = 0
    text: str = ""


class BotApi(asyncio.Protocol):
    """One connection to a Telegram that takes everything at once."""

    _RESULT = (
        b'{"ok":true,"result":{"message_id":7,"from":{"id":42,"is_bot":true,"first_name":"Bench",'
        b'"username":"bench_bot"},"chat":{"id":1000001,"type":"private","first_name":"Ann"},'
        b'"date":1750000000,"text":"First number?"}}'
    )
    _ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(_RESULT), _RESULT)
    )

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head.lower())
            length = int(size[1]) if size else 0
            if not found or len(rest) < length:
                return
            body, self._data = rest[:length], rest[length:]
            assert self._transport is not None
            self._transport.write(self._ANSWER)
            if b"/sendMessage " in head:
                call = json.decode(body, type=_Call)
                self._sent(int(call.chat_id), call.text)


# -- numbers ----------------------------------------------------------------------------------------


def percent(values: list[float], part: float) -> float:
    """A percentile of seconds in milliseconds, 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3 if ordered else 0.0


def grouped(before: dict[str, Used], after: dict[str, Used]) -> dict[str, float]:
    """Seconds of CPU between two looks, those of a kind ("gateway 1", "gateway 2") together."""
    found: dict[str, float] = {}
    for name, used in after.items():
        kind = name.rstrip(" 0123456789")
        found[kind] = found.get(kind, 0.0) + used.cpu_s - before[name].cpu_s
    return found
