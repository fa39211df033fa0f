"""The client against real sockets, behaving and not."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from legato.abc import HttpRequest, MaybeSent, NotSent
from legato.deploy import transport
from legato.deploy.connection import Connection
from legato.deploy.transport import Transport
from tests.unit.deploy.servers import Handler, Peer, Server, clear_environment, echo, once, post

SECRETS = ("secret", "bot123")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)


# -- what goes wrong ---------------------------------------------------------------------------


async def test_a_request_arrives_as_it_was_meant_and_its_answer_comes_back() -> None:
    async with Server(echo) as server:
        answer = await once(server.url("/a%20b?c=d#fragment"), body=b'{"x": 1}')
        first, *lines = answer.body.decode().split("\n")
        assert answer.status == 200
        assert answer.headers["x-kind"] == "echo"
        assert first == "POST /a%20b?c=d HTTP/1.1"
        assert f"host=127.0.0.1:{server.port}" in lines
        assert "content-type=application/json" in lines
        assert "content-length=8" in lines
        assert lines[-1] == '{"x": 1}'


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    async def redirect(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", "302 Found", "Location: /elsewhere\r\n")

    async with Server(redirect) as server:
        answer = await once(server.url())
        assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")
        assert server.connections == 1


async def in_single_bytes(peer: Peer) -> None:
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    while True:
        await peer.request()
        for byte in whole:
            await peer.write(bytes([byte]))
            await asyncio.sleep(0)


async def until_the_end(peer: Peer) -> None:
    await peer.request()
    await peer.write(b"HTTP/1.0 200 OK\r\n\r\nok")


async def early_hints(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await peer.answer()


async def closing(peer: Peer) -> None:
    await peer.request()
    await peer.answer(extra="Connection: close\r\n")


@pytest.mark.parametrize("handler", [in_single_bytes, until_the_end, early_hints, closing])
async def test_an_answer_of_any_shape_is_read(handler: Handler) -> None:
    async with Server(handler) as server:
        client = Transport()
        for _ in range(2):
            answer = await client.send(post(server.url()))
            assert (answer.status, answer.body) == (200, b"ok")
        await client.close()


async def closes_at_once(peer: Peer) -> None:
    pass


async def resets_at_once(peer: Peer) -> None:
    peer.reset()


async def closes_after_the_request(peer: Peer) -> None:
    await peer.request()


async def resets_after_the_request(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def closes_within_the_answer(peer: Peer) -> None:
    await peer.request()
    await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf")


async def closes_within_a_chunk(peer: Peer) -> None:
    await peer.request()
    await peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf")


async def closes_within_the_head(peer: Peer) -> None:
    await peer.request()
    await peer.write(b"HTTP/1.1 200 OK\r\ncontent-le")


async def speaks_something_else(peer: Peer) -> None:
    await peer.request()
    await peer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def never_answers(peer: Peer) -> None:
    await peer.request()
    await peer.reader.read()


async def answers_too_slowly(peer: Peer) -> None:
    await peer.request()
    await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf")
    await peer.reader.read()


async def answers_too_much(peer: Peer) -> None:
    await peer.request()
    await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20000001\r\n\r\n")
    await peer.reader.read()


MAYBE_SENT: dict[Handler, str] = {
    closes_after_the_request: "ended before the answer",
    resets_after_the_request: "ended before the answer",
    closes_within_the_answer: "ended within the answer",
    closes_within_a_chunk: "ended within the answer",
    closes_within_the_head: "ended before the answer",
    speaks_something_else: "no HTTP/1.1",
    never_answers: "no complete answer in time",
    answers_too_slowly: "no complete answer in time",
    answers_too_much: "longer than 20000000 bytes",
}


@pytest.mark.parametrize("handler", MAYBE_SENT)
async def test_once_a_byte_was_written_a_failure_is_maybe_sent(handler: Handler) -> None:
    async with Server(handler) as server:
        with pytest.raises(MaybeSent, match=MAYBE_SENT[handler]) as caught:
            await once(server.url(), timeout_s=0.1 if "time" in MAYBE_SENT[handler] else 30)
        assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("handler", [closes_at_once, resets_at_once])
async def test_a_connection_that_ends_at_once_is_maybe_sent_unless_that_was_seen_before_writing(
    handler: Handler,
) -> None:
    async with Server(handler) as server:
        with pytest.raises(
            (MaybeSent, NotSent), match=r"ended before the answer|closed .* at once"
        ):
            await once(server.url())


async def test_a_connection_lost_before_it_could_be_written_to_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lost(make: Callable[[], Connection], *rest: object) -> Connection:
        return make()

    monkeypatch.setattr(transport, "connect", lost)
    with pytest.raises(NotSent, match="closed the connection at once"):
        await once("http://host.invalid/")


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_refused_connection_is_not_sent() -> None:
    with pytest.raises(NotSent, match="no connection: Connection refused") as caught:
        await once(f"http://127.0.0.1:{closed_port()}/bot123:secret/call")
    assert not any(secret in str(caught.value) for secret in SECRETS)


async def test_a_name_that_does_not_exist_is_not_sent() -> None:
    with pytest.raises(NotSent, match="name could not be resolved") as caught:
        await once("http://nowhere.invalid/bot123:secret/call")
    assert not any(secret in str(caught.value) for secret in SECRETS)


async def test_a_connection_that_is_never_accepted_is_not_sent() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        try:
            for one in waiting:  # the kernel answers no more than one or two of them
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            client = Transport(connect_timeout_s=0.1)
            with pytest.raises(NotSent, match="no connection in time"):
                await client.send(post(f"http://127.0.0.1:{full.getsockname()[1]}/"))
            await client.close()
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("POST", "ftp://secret/"),
        HttpRequest("POST", "secret"),
        HttpRequest("POST", "http://secret@host/"),
        HttpRequest("POST", "http://host:99999/secret"),
        HttpRequest("POST", "http:///secret"),
        HttpRequest("POST", "http://[::1/secret"),
        HttpRequest("POST", "http://host/secret\r\nx: y"),
        HttpRequest("PO ST", "http://host/secret"),
        HttpRequest("POST", "http://host/secret", {"a b": "secret"}),
        HttpRequest("POST", "http://host/secret", {"a": "secret\r\nx: y"}),
    ],
)
async def test_a_malformed_request_is_refused_without_telling_its_secrets(
    request_: HttpRequest,
) -> None:
    client = Transport()
    with pytest.raises(ValueError, match=r"^(the|a) ") as caught:
        await client.send(request_)
    assert "secret" not in str(caught.value)
    await client.close()
