"""TLS roots, proxies, and hosts with several addresses."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from legato.abc import HttpRequest, NotSent
from legato.deploy import connect
from legato.deploy.connect import proxy_for, tls_context
from legato.deploy.http1 import split_url
from legato.deploy.transport import Transport
from legato.errors import ConfigError
from tests.unit.deploy.servers import Peer, Server, authority, clear_environment, echo

Env = Callable[..., None]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Env:
    """Sets environment variables; those of proxies and roots are unset at first."""
    clear_environment(monkeypatch)

    def put(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


async def get(url: str) -> bytes:
    client = Transport()
    try:
        return (await client.send(HttpRequest("GET", url))).body
    finally:
        await client.close()


async def test_an_unknown_authority_is_refused_and_ssl_cert_file_makes_it_known(
    env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, tls = authority(tmp_path)
    async with Server(echo, tls) as server:
        with pytest.raises(NotSent, match=r"not trusted.*SSL_CERT_FILE") as caught:
            await get(server.url())
        assert "secret" not in str(caught.value)
        env(SSL_CERT_FILE=str(root))
        assert b"GET /bot123:secret/call" in await get(server.url(host="localhost"))
        resolve(monkeypatch, (socket.AF_INET, "127.0.0.1", server.port))
        with pytest.raises(NotSent, match=r"not trusted.*'another.invalid'"):
            await get("https://another.invalid/")


def test_ssl_cert_file_adds_to_the_roots_of_the_system(
    env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = authority(tmp_path)
    (tmp_path / "system").mkdir()
    system, _ = authority(tmp_path / "system")
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile=str(system))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    env(SSL_CERT_FILE=str(root))
    assert len(tls_context().get_ca_certs()) == 2


async def test_a_useless_ssl_cert_file_is_refused_at_the_start(env: Env, tmp_path: Path) -> None:
    env(SSL_CERT_FILE=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE names .* which is no file"):
        Transport()
    (tmp_path / "none").write_text("no certificate")
    with pytest.raises(ConfigError, match="holds no certificates"):
        tls_context()


async def test_a_server_that_speaks_no_tls_is_not_sent(env: Env) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def hang_up(peer: Peer) -> None:
        await peer.reader.read(10)
        peer.reset()

    for handler in (plain, hang_up):
        async with Server(handler) as server:
            with pytest.raises(NotSent, match="TLS: "):
                await get(server.url().replace("http", "https"))


class Proxying:
    """A proxy that notes what it is asked."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer = answer

    async def __call__(self, peer: Peer) -> None:
        while True:
            first, headers, _ = await peer.request()
            self.asked.append((first, headers))
            if not first.startswith("CONNECT"):
                await peer.answer(b"by proxy")
                continue
            await peer.write(self.answer)
            if b" 200 " not in self.answer:
                return
            host, _, port = first.split()[1].rpartition(":")
            await tunnel(peer, *await asyncio.open_connection(host, int(port)))
            return


async def tunnel(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    try:
        await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
    finally:
        writer.close()


async def test_a_proxy_is_asked_for_the_whole_address_and_gets_its_password(env: Env) -> None:
    proxying = Proxying()
    async with Server(proxying) as proxy:
        env(HTTP_PROXY=f"http://ann:p%40ss@127.0.0.1:{proxy.port}")
        assert await get("http://far.invalid:81/path") == b"by proxy"
    first, headers = proxying.asked[0]
    assert first == "GET http://far.invalid:81/path HTTP/1.1"
    assert headers["host"] == "far.invalid:81"
    assert headers["proxy-authorization"] == "Basic YW5uOnBAc3M="


async def test_tls_goes_through_a_proxy_in_a_tunnel(env: Env, tmp_path: Path) -> None:
    root, tls = authority(tmp_path)
    proxying = Proxying()
    async with Server(proxying) as proxy, Server(echo, tls) as server:
        env(https_proxy=f"127.0.0.1:{proxy.port}", SSL_CERT_FILE=str(root))
        body = await get(server.url())
        assert b"GET /bot123:secret/call" in body
        assert b"proxy" not in body
        assert proxying.asked[0][0] == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 407 Authenticate\r\n\r\n", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b""]
)
async def test_a_proxy_that_lets_nothing_through_is_not_sent(env: Env, answer: bytes) -> None:
    async with Server(Proxying(answer)) as proxy:
        env(ALL_PROXY=f"http://u:secret@127.0.0.1:{proxy.port}")
        with pytest.raises(NotSent, match="the proxy let nothing through") as caught:
            await get("https://far.invalid/bot123:secret/call")
        assert "secret" not in str(caught.value)


async def test_a_proxy_that_resets_is_not_sent(env: Env) -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with Server(reset) as proxy:
        env(ALL_PROXY=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(NotSent, match="the proxy hung up"):
            await get("https://far.invalid/")


async def test_a_proxy_without_a_password_gets_none(env: Env) -> None:
    proxying = Proxying()
    async with Server(proxying) as proxy:
        env(http_proxy=f"http://127.0.0.1:{proxy.port}")
        await get("http://far.invalid/")
    assert "proxy-authorization" not in proxying.asked[0][1]


async def test_hosts_of_no_proxy_are_reached_directly(env: Env) -> None:
    async with Server(echo) as server:
        env(http_proxy="http://127.0.0.1:1", no_proxy="127.0.0.1")
        assert b"GET" in await get(server.url())


@pytest.mark.parametrize("proxy", ["socks5://h:1", "http://h:port", "http://"])
async def test_a_proxy_we_cannot_use_is_refused_at_the_start(env: Env, proxy: str) -> None:
    env(HTTPS_PROXY=proxy)
    with pytest.raises(ConfigError, match="the proxy of the environment must look like"):
        Transport()


def test_without_variables_there_is_no_proxy(env: Env) -> None:
    assert proxy_for(split_url("https://h/")) is None


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, str, int]) -> None:
    """Makes every name resolve to these."""

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (ip, port)) for family, ip, port in addresses]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


async def test_the_next_address_is_tried_when_one_refuses(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Server(echo) as server:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # not listening: it refuses
            port = taken.getsockname()[1]
            v4 = socket.AF_INET
            resolve(monkeypatch, (v4, "127.0.0.1", port), (v4, "127.0.0.1", server.port))
            assert b"GET" in await get("http://several.invalid/")


async def test_an_address_that_hangs_costs_only_a_head_start(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "HEAD_START_S", 0.01)
    opened: list[object] = []
    real = connect._open

    async def hang_first(family: int, kind: int, number: int, address: object) -> socket.socket:
        opened.append(address)
        if len(opened) == 1:
            await asyncio.Event().wait()
        return await real(family, kind, number, address)

    monkeypatch.setattr(connect, "_open", hang_first)
    async with Server(echo) as server:
        v4, v6 = socket.AF_INET, socket.AF_INET6
        resolve(
            monkeypatch,
            (v6, "hangs", 1),
            (v6, "not reached", 2),
            (v4, "127.0.0.1", server.port),
        )
        assert b"GET" in await get("http://several.invalid/")
    assert [address[0] for address in opened] == ["hangs", "127.0.0.1"]  # type: ignore[index]


async def test_of_connections_opened_at_the_same_time_all_but_one_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "HEAD_START_S", 0)
    v4 = socket.AF_INET
    resolve(monkeypatch, (v4, "a", 1), (v4, "b", 1), (v4, "late", 1))
    pairs = {name: socket.socketpair() for name in ("a", "b", "late")}
    both = asyncio.Event()

    async def opens(family: int, kind: int, number: int, address: tuple[str, int]) -> socket.socket:
        try:
            if address[0] == "late":
                both.set()
                await asyncio.Event().wait()
            await both.wait()
        except asyncio.CancelledError:
            pass  # it was just opened when it was told to give up
        return pairs[address[0]][0]

    monkeypatch.setattr(connect, "_open", opens)
    winner = await connect._first_to_answer("several.invalid", 1)
    ours = {name: pair[0] for name, pair in pairs.items()}
    assert [name for name, sock in ours.items() if sock.fileno() >= 0 and sock is not winner] == []
    winner.close()
    for _, other in pairs.values():
        other.close()


async def test_one_refusal_does_not_end_the_try_beside_it(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "HEAD_START_S", 0)
    started, refused = asyncio.Event(), asyncio.Event()
    real = connect._open

    async def opens(family: int, kind: int, number: int, address: tuple[str, int]) -> socket.socket:
        if address[0] == "refuses":
            await started.wait()
            refused.set()
            raise ConnectionRefusedError(111, "refused")
        started.set()
        await refused.wait()
        await asyncio.sleep(0)
        return await real(family, kind, number, address)

    async with Server(echo) as server:
        v4 = socket.AF_INET
        resolve(monkeypatch, (v4, "refuses", 1), (v4, "127.0.0.1", server.port))
        monkeypatch.setattr(connect, "_open", opens)
        assert b"GET" in await get("http://several.invalid/")


async def test_no_address_is_not_sent(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch)
    with pytest.raises(NotSent, match="no address"):
        await get("http://several.invalid/")
