"""The web server as a hostile or clumsy client meets it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from legato.deploy import serving
from legato.deploy.careful import Careful, Limits
from legato.deploy.http import Asgi, Disconnected, Receive, Scope, Send, answer, read_body
from legato.deploy.lifecycle import Stopping
from legato.deploy.serving import Serving, bound, url_of
from legato.errors import ConfigError
from tests.unit.deploy.raw_client import DEADLINE_S, connected

QUICK = Limits(head_s=0.05, body_s=0.05, read_s=0.05)
POST = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n"
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"


class Echo:
    """Answers with path and body; waits for `gate` before."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.seen: list[tuple[str, bytes]] = []
        self.gone = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/ignored":
            await answer(send, 404, b"no")
            return
        try:
            body = await read_body(scope, receive)
        except Disconnected:
            self.gone += 1
            return
        self.seen.append((scope["path"], body))
        await self.gate.wait()
        await answer(send, 200, scope["path"].encode() + b" " + body)


@asynccontextmanager
async def served(app: Asgi, limits: Limits | None = None) -> AsyncIterator[tuple[int, Serving]]:
    listener = bound("127.0.0.1", 0)
    server = Serving(app, listener, limits)
    stopping = Stopping()
    port = listener.getsockname()[1]
    server.start(stopping)
    try:
        yield port, server
    finally:
        server.refuse()
        await server.ended()
        assert stopping.error is None


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at connections so often that no test waits for it."""
    monkeypatch.setattr(serving, "LOOK_S", 0.01)


# -- who says too little ---------------------------------------------------------------------------


async def test_a_client_that_connects_and_says_nothing_is_sent_away() -> None:
    async with served(Echo(), QUICK) as (port, _), connected(port) as raw:
        assert await raw.rest() == b""


@pytest.mark.parametrize("start", [b"P", b"POST /x HTT", POST[:-2], b"\r\n", b"\r\n\r\n\r\n"])
async def test_a_head_that_does_not_end_is_answered_with_408(start: bytes) -> None:
    async with served(Echo(), QUICK) as (port, _), connected(port) as raw:
        await raw.says(start)
        assert (await raw.hears())[0] == 408
        assert await raw.rest() == b""


async def test_a_head_that_comes_byte_by_byte_is_not_waited_for_longer() -> None:
    async with served(Echo(), QUICK) as (port, _), connected(port) as raw:
        head = b"POST /x HTTP/1.1\r\nx: " + b"a" * 100_000
        said = asyncio.ensure_future(_slowly(raw.says, head))
        assert (await raw.hears())[0] == 408
        said.cancel()
        await asyncio.gather(said, return_exceptions=True)


async def test_so_is_the_next_head_on_a_connection_that_was_used() -> None:
    async with served(Echo(), QUICK) as (port, _), connected(port) as raw:
        await raw.says(POST + b"hello")
        assert (await raw.hears())[0] == 200
        await raw.says(b"G")
        assert (await raw.hears())[0] == 408


async def test_a_body_that_does_not_come_is_answered_with_408_and_the_app_told() -> None:
    app = Echo()
    async with served(app, QUICK) as (port, _), connected(port) as raw:
        await raw.says(POST + b"hel")
        assert (await raw.hears())[0] == 408
        assert await raw.rest() == b""
        await _until(lambda: app.gone == 1)
        assert app.seen == []


async def test_a_body_that_nobody_reads_is_not_taken_for_ever() -> None:
    async with served(Echo(), QUICK) as (port, _), connected(port) as raw:
        await raw.says(b"POST /ignored HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await raw.hears())[0] == 404
        said = asyncio.ensure_future(_slowly(raw.says, b"1\r\na\r\n" * 100_000))
        assert await raw.rest() == b""
        said.cancel()
        await asyncio.gather(said, return_exceptions=True)


async def test_a_client_in_no_hurry_is_waited_for_within_the_limits() -> None:
    patient = Limits(head_s=DEADLINE_S, body_s=DEADLINE_S)
    async with served(Echo(), patient) as (port, _), connected(port) as raw:
        for byte in POST + b"hello":
            await raw.says(bytes([byte]))
        assert await raw.hears() == (200, {"content-length": "8"}, b"/x hello")


async def test_a_connection_at_rest_is_kept_and_at_last_closed() -> None:
    long, short = Limits(head_s=0.05, keep_alive_s=3600), Limits(keep_alive_s=0)
    async with served(Echo(), long) as (port, _), connected(port) as raw:
        await raw.says(POST + b"hello")
        await raw.hears()
        await asyncio.sleep(0.2)
        await raw.says(POST + b"again")
        assert (await raw.hears())[2] == b"/x again"
    async with served(Echo(), short) as (port, _), connected(port) as raw:
        await raw.says(POST + b"hello")
        await raw.hears()
        assert await raw.rest() == b""


async def test_a_client_that_reads_no_answers_is_cut_off() -> None:
    big = b"x" * 100_000

    async def talkative(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 200, big)

    async with served(talkative, QUICK) as (port, server), connected(port) as raw:
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        get = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
        await raw.says(get * 500)
        await _until(lambda: server._server.server_state.total_requests > 0)
        await _until(lambda: not server._server.server_state.connections)


# -- who says too much -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /x HTTP/1.1\r\nx: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"GET /x HTTP/1.1\r\n" + b"x" * 40_000 + b": y\r\n\r\n",
    ],
    ids=["value", "endless value", "path", "many", "name"],
)
async def test_a_head_that_is_too_large_is_refused(head: bytes) -> None:
    app = Echo()
    async with served(app) as (port, _), connected(port) as raw:
        try:
            await raw.says(head)
            assert (await raw.hears())[0] == 431
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # it was still talking when the server had closed
        assert await raw.rest() == b""
        assert app.seen == []


async def test_a_small_head_with_a_large_body_is_no_large_head() -> None:
    body = b"b" * 500_000
    head = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 500000\r\n\r\n"
    async with served(Echo()) as (port, _), connected(port) as raw:
        await raw.says(head + body)
        assert (await raw.hears())[2] == b"/x " + body


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /x HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + SMUGGLED,
        b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: -5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: +5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 0x5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999999999999\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length : 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, identity\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: xchunked\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nZ\r\nhello\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nx\x00y: h\r\n\r\n",
        b"POST /x\x00 HTTP/1.1\r\n\r\n",
        b"POST /x HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"AMQP\x00\x00\x09\x01",
    ],
)
async def test_a_request_whose_end_is_in_doubt_is_refused(request_: bytes) -> None:
    app = Echo()
    async with served(app, QUICK) as (port, _), connected(port) as raw:
        await raw.says(request_)
        status, headers, _ = await raw.hears()
        assert (status, headers["connection"]) in ((400, "close"), (408, "close"))
        assert await raw.rest() == b""
        assert all(path != "/smuggled" for path, _ in app.seen)


async def test_more_connections_than_allowed_are_closed() -> None:
    async with (
        served(Echo(), Limits(connections=2)) as (port, server),
        connected(port) as one,
        connected(port) as two,
    ):
        await _until(lambda: len(server._server.server_state.connections) == 2)
        async with connected(port) as three:
            assert await three.rest() == b""
        for raw in (one, two):
            await raw.says(POST + b"hello")
            assert (await raw.hears())[0] == 200


# -- who says it in unusual ways -------------------------------------------------------------------


async def test_requests_that_come_together_are_answered_in_order() -> None:
    async with served(Echo()) as (port, _), connected(port) as raw:
        await raw.says(b"".join(POST.replace(b"/x", b"/%d" % n) + b"hello" for n in range(50)))
        for n in range(50):
            assert (await raw.hears())[2] == b"/%d hello" % n


@pytest.mark.parametrize("many", [1, 3])
async def test_a_client_that_says_no_more_still_gets_its_answers(many: int) -> None:
    app = Echo()
    app.gate.clear()
    async with served(app) as (port, _), connected(port) as raw:
        await raw.says((POST + b"hello") * many)
        raw.half_closes()
        await _until(lambda: app.seen)
        app.gate.set()
        for _ in range(many):
            assert (await raw.hears())[2] == b"/x hello"
        assert await raw.rest() == b""


async def test_half_a_request_from_a_client_that_says_no_more_is_no_request() -> None:
    app = Echo()
    async with served(app) as (port, _), connected(port) as raw:
        await raw.says(POST + b"hel")
        raw.half_closes()
        assert await raw.rest() == b""
        await _until(lambda: app.gone == 1)
        assert app.seen == []


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async with served(Echo()) as (port, _), connected(port) as raw:
        await raw.says(POST.replace(b"host: h", b"expect: 100-continue"))
        assert (await raw.hears())[0] == 100
        await raw.says(b"hello")
        assert (await raw.hears())[2] == b"/x hello"


async def test_a_chunked_body_is_put_together() -> None:
    head = b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    async with served(Echo()) as (port, _), connected(port) as raw:
        await raw.says(head, b"3\r\nhel\r\n", b"2;ext=1\r\nlo\r\n", b"0\r\ntrailer: 1\r\n\r\n")
        assert (await raw.hears())[2] == b"/x hello"


async def test_an_upgrade_is_not_made() -> None:
    async with served(Echo()) as (port, _), connected(port) as raw:
        await raw.says(b"GET /x HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        assert (await raw.hears())[0] == 200


# -- its own end -----------------------------------------------------------------------------------


async def test_an_end_answers_what_is_under_way_and_closes_what_rests() -> None:
    app = Echo()
    async with served(app) as (port, server), connected(port) as resting, connected(port) as raw:
        await resting.says(POST + b"hello")
        await resting.hears()
        app.gate.clear()
        await raw.says(POST + b"last!")
        await _until(lambda: len(app.seen) == 2)
        server.refuse()
        assert await resting.rest() == b""
        app.gate.set()
        status, headers, body = await raw.hears()
        assert (status, body, headers["connection"]) == (200, b"/x last!", "close")
        await server.ended()
        with pytest.raises(OSError, match=r".*"):
            async with connected(port):
                pass


def test_a_port_that_is_taken_is_told() -> None:
    with (
        bound("127.0.0.1", 0) as listener,
        pytest.raises(ConfigError, match=r"cannot be used .* --listen"),
    ):
        bound("127.0.0.1", listener.getsockname()[1])


def test_an_address_that_is_nowhere_is_told() -> None:
    with pytest.raises(ConfigError, match=r"LEGATO_LISTEN=no\.such\.host\.invalid:1"):
        bound("no.such.host.invalid", 1)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system shares no ports")
def test_a_port_can_be_shared_by_those_who_say_so() -> None:
    with bound("127.0.0.1", 0, shared=True) as first:
        port = first.getsockname()[1]
        with bound("127.0.0.1", port, shared=True) as second:
            for one in (first, second):
                one.listen()
        with pytest.raises(ConfigError, match="cannot be used"):
            bound("127.0.0.1", port)


def test_a_system_that_shares_no_ports_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(ConfigError, match="cannot be shared"):
        bound("127.0.0.1", 0, shared=True)


def test_an_address_is_written_as_browsers_want_it() -> None:
    with bound("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_without_the_look_a_slow_client_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what the other tests see comes from `Careful.look`."""
    monkeypatch.setattr(Careful, "look", lambda self, now: None)
    async with served(Echo(), QUICK) as (port, server), connected(port) as raw:
        await raw.says(b"P")
        for _ in range(30):
            await asyncio.sleep(0.01)
        assert len(server._server.server_state.connections) == 1


async def _slowly(says: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
    for byte in data:
        await says(bytes([byte]))
        await asyncio.sleep(0.001)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 # what is watched belongs to the server
            await asyncio.sleep(0.005)
