"""The proxy of the fault tests does what it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.faults import Proxy

LONG = b"0123456789" * 20


@asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    echoes: set[asyncio.Task[None] | None] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        echoes.add(asyncio.current_task())
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # it was cut
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as link:
        yield link
    server.close()
    await asyncio.gather(*(task for task in echoes if task is not None))
    await server.wait_closed()


@asynccontextmanager
async def client(
    link: Proxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        async with asyncio.timeout(30):
            yield reader, writer
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("chunk", [1, 7, 65536])
async def test_everything_arrives_however_it_is_torn_apart(chunk):
    async with echoing() as link, client(link) as (reader, writer):
        link.chunk, link.jitter = chunk, 0.001
        writer.write(LONG)
        assert await reader.readexactly(len(LONG)) == LONG


@pytest.mark.parametrize("side", ["cut_up", "cut_down"])
async def test_a_connection_is_cut_after_so_many_bytes(side):
    async with echoing() as link:
        setattr(link, side, 33)
        async with client(link) as (reader, writer):
            writer.write(LONG)
            assert LONG.startswith(await reader.read())
        async with client(link) as (reader, writer):  # the next one is not
            writer.write(LONG)
            assert await reader.readexactly(len(LONG)) == LONG


async def test_a_hole_swallows_until_it_ends():
    async with echoing() as link, client(link) as (reader, writer):
        link.hole = True
        writer.write(b"hello")
        answer = asyncio.ensure_future(reader.readexactly(5))
        await asyncio.sleep(0.1)
        assert not answer.done()
        link.hole = False
        assert await answer == b"hello"


async def test_what_is_refused_ends_at_once():
    async with echoing() as link:
        link.refuse = True
        async with client(link) as (reader, _):
            with suppress(ConnectionResetError):  # one end or the other: both are ends
                assert await reader.read() == b""
            assert reader.at_eof() or reader.exception() is not None


async def test_a_reset_is_one():
    async with echoing() as link, client(link) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        link.reset()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
