"""What one HTTP request costs: CPU microseconds of the client's process per POST.

    python bench/http_clients.py [--tls] [--asyncio] [--at-once 32] [--requests 20000]

The server runs in another process and answers as the Bot API does. Each number is the best of
three runs. Clients that are not installed are left out.
"""

import argparse
import asyncio
import multiprocessing
import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvloop

from legato.abc import HttpRequest
from legato.deploy.transport import Transport
from tests.unit.deploy.servers import authority

BODY = b'{"chat_id":12345,"text":"First number?","reply_markup":{"inline_keyboard":[]}}'
ANSWER = b'{"ok":true,"result":{"message_id":1234,"chat":{"id":12345,"type":"private"},"text":"x"}}'
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.18.0\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n"
    b"Strict-Transport-Security: max-age=31536000\r\nAccess-Control-Allow-Origin: *\r\n\r\n%s"
) % (len(ANSWER), ANSWER)
JSON = {"content-type": "application/json"}

Send = Callable[[], Awaitable[object]]


class Answering(asyncio.Protocol):
    """Answers each request whose body has arrived."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while BODY in self.seen:
            self.seen = self.seen.partition(BODY)[2]
            self.transport.write(RESPONSE)


def serve(port: Any, folder: str | None) -> None:
    async def run() -> None:
        tls = authority(Path(folder))[1] if folder else None
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, ssl=tls)
        port.put(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    uvloop.run(run())


async def legato(stack: AsyncExitStack, url: str, root: str) -> Send:
    client = Transport()
    stack.push_async_callback(client.close)
    return lambda: client.send(HttpRequest("POST", url, JSON, BODY))


async def pyreqwest(stack: AsyncExitStack, url: str, root: str) -> Send:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().follow_redirects(enable=False).timeout(timedelta(seconds=30))
    if root:
        builder = builder.add_root_certificate_pem(await asyncio.to_thread(Path(root).read_bytes))
    client = await stack.enter_async_context(builder.build())

    async def send() -> object:
        # streamed, since only so can the size of an answer be limited
        async with client.post(url).headers(JSON).body_bytes(BODY).build_streamed() as answer:
            pieces = []
            while (piece := await answer.body_reader.read_chunk()) is not None:
                pieces.append(bytes(piece))
            return answer.status, dict(answer.headers), b"".join(pieces)

    return send


async def aiohttp(stack: AsyncExitStack, url: str, root: str) -> Send:
    from aiohttp import ClientSession, TCPConnector

    tls = ssl.create_default_context(cafile=root) if root else True
    session = ClientSession(connector=TCPConnector(limit=0, ssl=tls))
    await stack.enter_async_context(session)

    async def send() -> object:
        async with session.post(url, data=BODY, headers=JSON, allow_redirects=False) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    return send


async def measure(make: Any, url: str, root: str, at_once: int, requests: int) -> float:
    async with AsyncExitStack() as stack:
        send = await make(stack, url, root)
        await asyncio.gather(*(send() for _ in range(at_once)))
        turns = iter(range(requests))

        async def work() -> None:
            for _ in turns:
                await send()

        started = time.process_time()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return (time.process_time() - started) / requests * 1e6


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--tls", action="store_true")
    options.add_argument("--asyncio", action="store_true", help="not uvloop")
    options.add_argument("--at-once", type=int, default=32)
    options.add_argument("--requests", type=int, default=20_000)
    chosen = options.parse_args()
    run: Callable[[Coroutine[Any, Any, float]], float] = (
        asyncio.run if chosen.asyncio else uvloop.run
    )
    spawn = multiprocessing.get_context("spawn")
    port: Any = spawn.Queue()
    with tempfile.TemporaryDirectory() as folder:
        server = spawn.Process(target=serve, args=(port, folder if chosen.tls else None))
        server.start()
        try:
            url = f"{'https' if chosen.tls else 'http'}://localhost:{port.get()}/bot1:x/sendMessage"
            root = str(Path(folder) / "ca.pem") if chosen.tls else ""
            if root:
                os.environ["SSL_CERT_FILE"] = root
            for make in (legato, pyreqwest, aiohttp):
                if find_spec(make.__name__) is None:
                    continue
                at = chosen.at_once
                best = min(run(measure(make, url, root, at, chosen.requests)) for _ in range(3))
                print(f"{best:6.1f} us  {make.__name__}")
        finally:
            server.kill()
            server.join()


if __name__ == "__main__":
    main()
