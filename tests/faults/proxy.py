"""A TCP proxy that delays, cuts, swallows and refuses."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from types import TracebackType
from typing import Self

Writer = asyncio.StreamWriter


class Proxy:
    """Stands between clients and one server. Everything may be changed while connections are open.

        async with Proxy("127.0.0.1", server.port) as link:
            client = connect(link.port)
            link.hole = True        # the peer is silent from now on, and nobody is told

    Attributes:
        port: Where clients connect.
        latency, jitter: Seconds that each piece waits, on its way up and on its way down.
        hole: Bytes are taken and go nowhere until it is False again.
        hole_after: After so many more pieces in either direction, `hole` becomes True; then it is None again.
        refuse: New connections are closed at once.
        cut_up, cut_down: The connection that carries this many bytes more to the server (from it) is
            cut there; then it is None again.
        chunk: Bytes read at once; 1 tears every message apart.
        rate: Bytes a second, None = as fast as it goes.
        connections: How many there were so far.
    """

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        self._upstream = (host, port)
        self._random = random.Random(seed)
        self._open: set[Writer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.latency = self.jitter = 0.0
        self.hole = self.refuse = False
        self.hole_after: int | None = None
        self.cut_up: int | None = None
        self.cut_down: int | None = None
        self.chunk = 65536
        self.rate: float | None = None
        self.connections = 0

    async def open(self, port: int = 0) -> Self:
        """Listens, at a port that is free if none is named."""
        self._server = await asyncio.start_server(self._client, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        """Cuts everything and listens no more."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()
        if self._server is not None:
            await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def open_now(self) -> int:
        """Connections that are open, those to the server not counted."""
        return len(self._tasks)

    def cut(self) -> None:
        """Closes all connections, as a server that dies does."""
        for writer in list(self._open):
            writer.transport.abort()

    def reset(self) -> None:
        """Closes all connections with RST, as a firewall that forgot them does."""
        for writer in list(self._open):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    # -- one connection ---------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.connections += 1
        up: Writer | None = None
        try:
            if not self.refuse:
                above, up = await asyncio.open_connection(*self._upstream)
                self._open.add(up)
                await self._both(reader, up, above, writer)
        except (OSError, asyncio.CancelledError):
            pass  # one side is away, or the proxy closes: this task ends in both, and cuts below
        finally:
            self._tasks.discard(task)
            for end in (writer, up):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()

    async def _both(
        self, below: asyncio.StreamReader, up: Writer, above: asyncio.StreamReader, down: Writer
    ) -> None:
        pumps = [
            asyncio.ensure_future(self._pump(below, up, "cut_up")),
            asyncio.ensure_future(self._pump(above, down, "cut_down")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: Writer, cut: str) -> None:
        while data := await source.read(self.chunk):
            if self.hole_after is not None:
                self.hole = self.hole_after == 0
                self.hole_after = None if self.hole else self.hole_after - 1
            while self.hole:  # noqa: ASYNC110 # a plain attribute is easier to set than an event
                await asyncio.sleep(0.02)
            if self.latency or self.jitter:
                await asyncio.sleep(self.latency + self._random.random() * self.jitter)
            left: int | None = getattr(self, cut)
            if left is not None:
                setattr(self, cut, left - len(data) if left > len(data) else None)
                if left <= len(data):
                    sink.write(data[:left])
                    await sink.drain()
                    return
            sink.write(data)
            await sink.drain()
            if self.rate:
                await asyncio.sleep(len(data) / self.rate)
