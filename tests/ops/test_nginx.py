"""What nginx does in front of two gateways, with the configuration of ops/nginx."""

import asyncio
import http.client
import ssl
import subprocess
import warnings
from pathlib import Path
from typing import Self

import pytest

from tests.ops.test_ansible import OPS, tls_free
from tests.servers import Nginx, free_port


class Upstream:
    """Stands for a gateway: counts what it gets and answers; with status 0 it ends instead."""

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
                if not self.status:
                    return
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


def front(ports, without=""):
    text = tls_free((OPS / "nginx/legato.conf").read_text())
    assert without in text
    text = text.replace(without, "")
    for old, new in zip((8081, 8082), ports, strict=True):
        text = text.replace(f"server 127.0.0.1:{old}", f"server 127.0.0.1:{new}")
    return Nginx(text)


def ask(port, method="POST", path="/telegram", body=b"{}", tls=None):
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    else:
        connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=tls)
    try:
        connection.request(method, path, body, {"Host": "bot.example.org"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def certified(folder: Path) -> ssl.SSLContext:
    """A certificate for localhost in the folder, and who trusts it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return ssl.create_default_context(cafile=str(folder / "fullchain.pem"))


def on(text, ports, certificates):
    """The configuration, unchanged but for ports and the place of the certificate."""
    for old, new in zip((8081, 8082), ports, strict=True):
        text = text.replace(f"server 127.0.0.1:{old}", f"server 127.0.0.1:{new}")
    text = text.replace("/etc/letsencrypt/live/bot.example.org", str(certificates))
    text = text.replace("listen 443 ssl", "listen 127.0.0.1:{port} ssl")
    return text.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")


async def test_tls_ends_at_nginx(ports, tmp_path):
    trust = await asyncio.to_thread(certified, tmp_path)
    with Nginx(on((OPS / "nginx/legato.conf").read_text(), ports, tmp_path)) as nginx:
        async with Upstream(ports[0]) as one, Upstream(ports[1]) as two:
            assert await asyncio.to_thread(ask, nginx.port, tls=trust) == 200
            (head,) = one.got + two.got
            assert "Host: bot.example.org" in head
            assert "X-Request-Id: " in head
        old = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await asyncio.to_thread(ask, nginx.port, path="/metrics", tls=old) == 404
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is an old one indeed
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(ask, nginx.port, tls=old)


@pytest.mark.parametrize("network", ["strangers", "platform"])
async def test_a_flood_is_limited_unless_it_is_the_platform_s(ports, network):
    text = tls_free((OPS / "nginx/legato.conf").read_text())
    text = text.replace("rate=200r/s", "rate=1r/m").replace("burst=400", "burst=3")
    if network == "platform":
        text = text.replace("149.154.160.0/20", "127.0.0.0/8")
    for old, new in zip((8081, 8082), ports, strict=True):
        text = text.replace(f"server 127.0.0.1:{old}", f"server 127.0.0.1:{new}")
    with Nginx(text) as nginx:
        async with Upstream(ports[0]), Upstream(ports[1]):
            answers = [await asyncio.to_thread(ask, nginx.port) for _ in range(8)]
    passed = 4 if network == "strangers" else 8
    assert answers == [200] * passed + [429] * (8 - passed)


async def test_the_one_of_compose_asks_the_gateways_for_webhooks_only(ports):
    text = (OPS / "docker/nginx.conf").read_text()
    text = text.replace("listen 8080;", "listen 127.0.0.1:{port};")
    text = text.replace("http://gateway:8080", f"http://127.0.0.1:{ports[0]}")
    with Nginx(text) as nginx:
        async with Upstream(ports[0]) as gateway:
            assert await asyncio.to_thread(ask, nginx.port) == 200
            assert await asyncio.to_thread(ask, nginx.port, path="/metrics") == 404
            assert await asyncio.to_thread(ask, nginx.port, "GET") == 403
            assert await asyncio.to_thread(ask, nginx.port, body=b" " * 1_100_000) == 413
            assert len(gateway.got) == 1


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


async def test_a_gateway_that_ends_with_a_request_in_hand_is_seen_by_nobody(ports):
    with front(ports) as nginx:
        async with Upstream(ports[0], status=0) as ending, Upstream(ports[1]):
            answers = [await asyncio.to_thread(ask, nginx.port) for _ in range(4)]
            assert ending.got
    assert answers == [200] * 4


async def test_to_ask_no_other_gateway_for_a_request_in_hand_is_caught_as_wrong(ports):
    with front(ports, without=" non_idempotent") as nginx:
        async with Upstream(ports[0], status=0) as ending, Upstream(ports[1]):
            answers = [await asyncio.to_thread(ask, nginx.port) for _ in range(4)]
            assert ending.got
    assert 502 in answers
