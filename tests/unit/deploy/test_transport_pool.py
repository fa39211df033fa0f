"""Connections: used again while they are good, and never after."""

import asyncio
from typing import Any

import pytest

from legato.abc import MaybeSent, NotSent
from legato.deploy import transport
from legato.deploy.connect import connect
from legato.deploy.connection import Connection
from legato.deploy.transport import Transport
from legato.errors import Misuse
from tests.unit.deploy.servers import Peer, Server, clear_environment, echo, post


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)


async def all_lost(client: Transport) -> None:
    """Until the loop saw the end of all connections."""
    while client._all:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)


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
