"""What nginx does in front of two gateways, with the configuration of ops/nginx."""

import asyncio
import http.client
from typing import Self

import pytest

from tests.ops.test_ansible import OPS, tls_free
from tests.servers import Nginx
from tests.servers._process import free_port


class Upstream:
    """Stands for a gateway: counts what it gets and answers."""

    def __init__(self, port: int, status: int = 200) -> None:
        self.port = port
        self.status = status
        self.got: list[str] = []

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.tasks: set[asyncio.Task[None] | None] = set()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        for task in self.tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(t for t in self.tasks if t is not None), return_exceptions=True)
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.got.append(head.decode())
                lines = head.decode().lower().split("\r\n")
                size = next((int(x[16:]) for x in lines if x.startswith("content-length: ")), 0)
                await reader.readexactly(size)
                writer.write(
                    b"HTTP/1.1 %d x\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n" % self.status
                )
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # nginx closed it, or the test is over
        finally:
            writer.transport.abort()


@pytest.fixture
def ports():
    return free_port(), free_port()


def front(ports):
    text = tls_free((OPS / "nginx/legato.conf").read_text())
    for old, new in zip((8081, 8082), ports, strict=True):
        text = text.replace(f"server 127.0.0.1:{old}", f"server 127.0.0.1:{new}")
    return Nginx(text)


def ask(port, method="POST", path="/telegram", body=b"{}"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Host": "bot.example.org"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


async def test_only_webhooks_come_in_and_only_so_long_ones(ports):
    with front(ports) as nginx:
        async with Upstream(ports[0]) as one, Upstream(ports[1]) as two:
            assert await asyncio.to_thread(ask, nginx.port) == 200
            for path in ("/metrics", "/healthz", "/", "/telegram/x"):
                assert await asyncio.to_thread(ask, nginx.port, path=path) == 404
            assert await asyncio.to_thread(ask, nginx.port, "GET") == 403
            assert await asyncio.to_thread(ask, nginx.port, body=b" " * 1_100_000) == 413
            assert len(one.got) + len(two.got) == 1


async def test_a_dead_gateway_is_passed_over_and_an_unavailable_one_is_not_asked_twice(ports):
    with front(ports) as nginx:
        async with Upstream(ports[1]) as alive:
            assert [await asyncio.to_thread(ask, nginx.port) for _ in range(6)] == [200] * 6
            assert len(alive.got) == 6
        async with Upstream(ports[0], 503) as one, Upstream(ports[1], 503) as two:
            assert await asyncio.to_thread(ask, nginx.port) == 503
            assert len(one.got) + len(two.got) == 1
