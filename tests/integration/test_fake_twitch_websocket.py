"""Frames of the fake's WebSockets, byte by byte (RFC 6455)."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from legato.testing.fake_twitch import FakeTwitch

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of the RFC's own example
MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    """A client's frame."""
    head = bytes([(0x80 if last else 0) | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        head += b"\xfe" + struct.pack("!H", len(payload))
    else:
        head += b"\xff" + struct.pack("!Q", len(payload))
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


class Raw:
    """A WebSocket whose bytes a test writes and reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the server's next frame."""
        async with asyncio.timeout(10):
            first, size = await self._reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return first & 0x0F, await self._reader.readexactly(size)


@asynccontextmanager
async def raw(twitch: FakeTwitch) -> AsyncIterator[Raw]:
    address = twitch.irc_ws_url.removeprefix("ws://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(address[0], int(address[1]))
    lines = ("GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket")
    more = ("Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", "", "")
    writer.write("\r\n".join(lines + more).encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert ACCEPT in answer
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def test_a_message_may_come_in_parts_with_a_ping_between_and_byte_by_byte() -> None:
    async with FakeTwitch() as twitch, raw(twitch) as client:
        data = frame(1, b"PING ", last=False) + frame(9, b"?") + frame(0, b":x")
        for byte in data:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.frame() == (10, b"?")
        assert await client.frame() == (1, b":tmi.twitch.tv PONG tmi.twitch.tv :x\r\n")


async def test_long_messages_have_longer_sizes_both_ways() -> None:
    async with FakeTwitch() as twitch, raw(twitch) as client:
        for size in (200, 70_000):
            client.writer.write(frame(1, b"PING :" + b"x" * size))
            _, pong = await client.frame()
            assert pong.endswith(b"x" * size + b"\r\n")


async def test_a_goodbye_is_answered_in_kind() -> None:
    async with FakeTwitch() as twitch:
        async with raw(twitch) as client:
            client.writer.write(frame(8, struct.pack("!H", 1001) + b"going"))
            assert await client.frame() == (8, struct.pack("!H", 1001))
        async with raw(twitch) as client:
            client.writer.write(frame(8, b""))
            assert await client.frame() == (8, struct.pack("!H", 1000))
        await twitch.wait_for(lambda: not twitch.irc.sessions)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (frame(5, b""), 1002),  # no such opcode
        (b"\x81\xff" + struct.pack("!Q", 2**40), 1009),
    ],
)
async def test_what_no_client_may_send_ends_the_connection(data: bytes, code: int) -> None:
    async with FakeTwitch() as twitch, raw(twitch) as client:
        client.writer.write(data)
        opcode, payload = await client.frame()
        assert (opcode, struct.unpack("!H", payload[:2])[0]) == (8, code)
