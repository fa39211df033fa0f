"""The client against real sockets, behaving and not."""

import asyncio
import errno
import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from legato.abc import HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.deploy import transport
from legato.deploy.connect import connect
from legato.deploy.connection import Connection
from legato.deploy.transport import Transport
from legato.errors import Misuse
from tests.unit.deploy.servers import Handler, Peer, Server, echo

SECRETS = ("secret", "bot123")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def post(url: str, body: bytes = b"{}", timeout_s: float = 30.0) -> HttpRequest:
    return HttpRequest("POST", url, {"content-type": "application/json"}, body, timeout_s=timeout_s)


async def once(url: str, body: bytes = b"{}", timeout_s: float = 30.0) -> HttpResponse:
    client = Transport()
    try:
        return await client.send(post(url, body, timeout_s))
    finally:
        await client.close()


# -- what goes well ----------------------------------------------------------------------------


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


async def test_connections_are_used_again_and_as_many_are_opened_as_are_needed() -> None:
    async with Server(echo) as server:
        client = Transport()
        for _ in range(3):
            await client.send(post(server.url()))
        assert server.connections == 1
        await asyncio.gather(*(client.send(post(server.url())) for _ in range(5)))
        assert server.connections == 5
        await asyncio.gather(*(client.send(post(server.url())) for _ in range(5)))
        assert server.connections == 5
        await client.close()


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


# -- what goes wrong ---------------------------------------------------------------------------


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


async def test_a_client_closed_while_it_connects_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connecting, go_on = asyncio.Event(), asyncio.Event()
    real = connect

    async def slow(*rest: Any) -> Connection:
        connecting.set()
        await go_on.wait()
        return await real(*rest)

    monkeypatch.setattr(transport, "connect", slow)
    async with Server(echo) as server:
        client = Transport()
        sending = asyncio.create_task(client.send(post(server.url())))
        await connecting.wait()
        await client.close()
        go_on.set()
        with pytest.raises(NotSent, match="closed"):
            await sending
        await all_lost(client)


async def test_idle_connections_and_known_addresses_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "IDLE_CONNECTIONS", 2)
    monkeypatch.setattr(transport, "URLS_KEPT", 2)
    async with Server(echo) as server:
        client = Transport()
        await asyncio.gather(*(client.send(post(server.url(f"/{n}"))) for n in range(5)))
        assert [len(idle) for idle in client._idle.values()] == [2]
        assert len(client._urls) <= 2
        await client.close()


async def test_without_poll_select_tells_whether_the_server_said_goodbye(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("select.poll")
    monkeypatch.setattr("legato.deploy.connection.TRUST_S", -1.0)
    async with Server(echo) as server:
        client = Transport()
        for _ in range(3):
            await client.send(post(server.url()))
        assert server.connections == 1
        await client.close()


async def test_a_connection_idle_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "IDLE_S", -1.0)
    async with Server(echo) as server:
        client = Transport()
        for _ in range(3):
            await client.send(post(server.url()))
        assert server.connections == 3
        await client.close()


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


async def all_lost(client: Transport) -> None:
    """Until the loop saw the end of all connections."""
    while client._all:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    async def one_answer(peer: Peer) -> None:
        await peer.request()
        await peer.answer()

    async with Server(one_answer) as server:
        client = Transport()
        for _ in range(3):
            assert (await client.send(post(server.url()))).status == 200
            await all_lost(client)
        assert server.connections == 3
        await client.close()


async def test_an_end_that_the_loop_has_not_seen_is_found_in_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = asyncio.Event()

    async def one_answer(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await closed.wait()

    async with Server(one_answer) as server:
        client = Transport()
        await client.send(post(server.url()))
        (connection,) = client._all
        assert connection._transport is not None
        connection._transport.pause_reading()  # as if the process were frozen
        closed.set()
        await asyncio.sleep(0.01)
        assert connection.alive
        monkeypatch.setattr("legato.deploy.connection.TRUST_S", 0.0)
        assert (await client.send(post(server.url()))).status == 200
        assert server.connections == 2
        await client.close()


async def test_what_a_server_says_unasked_ends_the_connection() -> None:
    answered = asyncio.Event()

    async def goodbye(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await answered.wait()
        await peer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await peer.reader.read()

    async with Server(goodbye) as server:
        client = Transport()
        for _ in range(2):
            answered.clear()
            assert (await client.send(post(server.url()))).status == 200
            answered.set()
            await all_lost(client)
        assert server.connections == 2
        await client.close()


async def test_a_timer_that_rings_as_the_answer_comes_does_no_harm() -> None:
    async with Server(echo) as server:
        client = Transport()
        await client.send(post(server.url()))
        (connection,) = client._all
        connection._fail("no complete answer in time")
        assert (await client.send(post(server.url()))).status == 200
        await client.close()


async def test_a_connection_being_closed_is_not_used() -> None:
    async with Server(echo) as server:
        client = Transport()
        await client.send(post(server.url()))
        for connection in client._all:
            connection.abort()  # the loop will tell in its next round
        assert (await client.send(post(server.url()))).status == 200
        assert server.connections == 2
        await client.close()


async def test_a_cancelled_exchange_leaves_no_connection_behind() -> None:
    asked = asyncio.Event()

    async def hang(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.reader.read()

    async with Server(hang) as server:
        client = Transport()
        sending = asyncio.create_task(client.send(post(server.url())))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not any(client._idle.values())
        await client.close()


async def test_a_close_ends_exchanges_under_way_and_later_ones_are_not_sent() -> None:
    asked = asyncio.Event()

    async def hang(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.reader.read()

    async with Server(hang) as server:
        client = Transport()
        sending = asyncio.create_task(client.send(post(server.url())))
        await asked.wait()
        await client.close()
        await client.close()
        with pytest.raises(MaybeSent):
            await sending
        with pytest.raises(NotSent, match="closed"):
            await client.send(post(server.url()))


def test_a_client_belongs_to_the_loop_it_was_made_in() -> None:
    async def make() -> Transport:
        client = Transport()
        await client.close()
        return client

    client = asyncio.run(make())
    with pytest.raises(Misuse, match="another event loop"):
        asyncio.run(client.send(post("http://127.0.0.1/")))


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


# -- files -------------------------------------------------------------------------------------


async def test_files_are_streamed_as_a_form(tmp_path: Path) -> None:
    photo = tmp_path / "p.jpg"
    photo.write_bytes(bytes(range(256)) * 4096)
    async with Server(echo) as server:
        client = Transport()
        answer = await client.send(
            HttpRequest(
                "POST",
                server.url(),
                files=(("photo", str(photo), 'a "quoted"\r\nname é.jpg'),),
                fields=(("chat_id", "5"), ("caption", "hé")),
            )
        )
        await client.close()
    head, _, body = answer.body.partition(b"\n\n")
    boundary = head.decode().partition("boundary=")[2].split("\n")[0]
    parts = body.split(f"--{boundary}".encode())
    assert parts[1] == b'\r\ncontent-disposition: form-data; name="chat_id"\r\n\r\n5\r\n'
    assert parts[2].endswith("\r\n\r\nhé\r\n".encode())
    assert 'filename="a %22quoted%22%0D%0Aname é.jpg"'.encode() in parts[3]
    assert b"content-type: image/jpeg\r\n\r\n" + photo.read_bytes() + b"\r\n" in parts[3]
    assert parts[4] == b"--\r\n"


async def test_a_file_that_is_not_there_is_an_os_error_and_nothing_is_sent(tmp_path: Path) -> None:
    async with Server(echo) as server:
        client = Transport()
        with pytest.raises(OSError, match="No such file"):
            await client.send(
                HttpRequest("POST", server.url(), files=(("f", str(tmp_path / "none"), "n"),))
            )
        assert server.connections == 0
        await client.close()


async def test_a_file_that_shrinks_meanwhile_is_an_os_error_and_ends_the_connection(
    tmp_path: Path,
) -> None:
    async def shrink(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        big.write_bytes(b"")
        await peer.reader.read()

    big = tmp_path / "big"
    big.write_bytes(b"x" * 30_000_000)
    async with Server(shrink) as server:
        client = Transport()
        with pytest.raises(OSError, match="became shorter"):
            await client.send(HttpRequest("POST", server.url(), files=(("f", str(big), "n"),)))
        await client.close()


async def test_an_answer_that_comes_before_the_upload_is_over_ends_it(tmp_path: Path) -> None:
    async def too_large(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(b"no", "413 Too Large")
        while await peer.reader.read(1_000_000):
            pass

    big = tmp_path / "big"
    big.write_bytes(b"x" * 30_000_000)
    async with Server(too_large) as server:
        client = Transport()
        answer = await client.send(HttpRequest("POST", server.url(), files=(("f", str(big), "n"),)))
        assert (answer.status, answer.body) == (413, b"no")
        assert not any(client._idle.values())
        await client.close()


async def test_an_upload_to_a_server_that_stops_reading_ends_in_time(tmp_path: Path) -> None:
    async def stop(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined] # an asyncio transport
        await asyncio.Event().wait()

    big = tmp_path / "big"
    big.write_bytes(b"x" * 30_000_000)
    async with Server(stop) as server:
        client = Transport()
        with pytest.raises(MaybeSent, match="in time"):
            await client.send(
                HttpRequest("POST", server.url(), files=(("f", str(big), "n"),), timeout_s=0.2)
            )
        await client.close()


async def test_a_download_is_a_whole_file_or_none(tmp_path: Path) -> None:
    async def files(peer: Peer) -> None:
        while True:
            first, _, _ = await peer.request()
            match first.split()[1]:
                case "/good":
                    await peer.answer(b"x" * 300_000)
                case "/missing":
                    await peer.answer(b"y" * 300, "404 Not Found")
                case _:
                    await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                    return

    def names() -> list[str]:
        return [f"{path.name} {path.stat().st_size}" for path in tmp_path.iterdir()]

    async with Server(files) as server:
        client = Transport()
        target = str(tmp_path / "file")
        get = [HttpRequest("GET", server.url(path)) for path in ("/good", "/missing", "/broken")]
        with pytest.raises(ValueError, match="longer than 200000 bytes"):
            await client.download(get[0], target, 200_000)
        with pytest.raises(ValueError, match="HTTP 404"):
            await client.download(get[1], target, 400_000)
        with pytest.raises(MaybeSent):
            await client.download(get[2], target, 400_000)
        with pytest.raises(OSError, match="No such file"):
            await client.download(get[0], str(tmp_path / "no" / "file"), 400_000)
        assert names() == []
        assert await client.download(get[0], target, 300_000) == 300_000
        assert names() == ["file 300000"]
        await client.close()


async def test_a_download_to_a_full_disk_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transport, "open", lambda name, mode: FullDisk(), raising=False)
    async with Server(echo) as server:
        client = Transport()
        with pytest.raises(OSError, match="No space left"):
            await client.download(HttpRequest("GET", server.url()), str(tmp_path / "f"), 1000)
        await client.close()
