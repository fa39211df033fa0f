"""The local page on which a browser lands when somebody has logged in somewhere else.

It listens on the loopback interface only, answers nothing but that one address, and shows no text that
came with a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from legato.errors import ConfigError

HEAD_LIMIT = 16_384
HEAD_S = 10.0
HOSTS = ("localhost", "127.0.0.1")
_HEADERS = (
    "content-type: text/html; charset=utf-8\r\n"
    "cache-control: no-store\r\n"
    "referrer-policy: no-referrer\r\n"  # the address holds the code
    "content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
    "x-content-type-options: nosniff\r\n"
    "connection: close\r\n"
)
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Legato</title>'
    '<body style="font: 1.2em sans-serif; margin: 4em auto; max-width: 30em"><p>{text}</p></body></html>'
)


class Page(Struct, frozen=True):
    """What the browser is shown."""

    status: int
    text: str


Visit = Callable[[dict[str, str]], Awaitable[Page]]
"""Called with the query of a visit; says what is shown."""


class Landing:
    """The page at one address.

    Args:
        address: Where the browser is sent to: http://localhost:PORT, perhaps with a path; port 0 takes a
            free one.
        visit: What a visit does.

    Raises:
        ConfigError: That cannot be a page on this machine.
    """

    def __init__(self, address: str, visit: Visit) -> None:
        try:
            split = urlsplit(address)
            port = split.port
        except ValueError:
            split, port = urlsplit(""), None
        if split.scheme != "http" or split.hostname not in HOSTS or split.query or split.fragment:
            raise ConfigError(
                f"--redirect {address}: the browser must come back to this machine, as in "
                "http://localhost:3000"
            )
        self._host = split.hostname
        self._port = 80 if port is None else port
        self._path = split.path
        self._visit = visit
        self._servers: list[asyncio.Server] = []
        self._visits: set[asyncio.Task[None]] = set()
        self._silent: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Starts listening; returns the address, with the port.

        Raises:
            ConfigError: The port is taken.
        """
        try:
            server = await self._listen("127.0.0.1")
        except OSError as error:
            raise ConfigError(
                f"port {self._port} cannot be used ({error.strerror}): register another address with the "
                "application, and name it: --redirect http://localhost:3001"
            ) from error
        self._port = server.sockets[0].getsockname()[1]
        if self._host == "localhost":  # which is ::1 for some browsers
            try:
                await self._listen("::1")
            except OSError:
                pass  # there is no IPv6 here: the browser takes the other address
        return f"http://{self._host}:{self._port}{self._path}"

    async def close(self) -> None:
        """Answers who has come, then closes the page."""
        for server in self._servers:
            server.close()
        for visit in self._silent:  # browsers open connections that they may never use
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    async def _listen(self, host: str) -> asyncio.Server:
        server = await asyncio.start_server(self._connected, host, self._port, limit=HEAD_LIMIT)
        self._servers.append(server)
        return server

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        for visits in (self._visits, self._silent):
            visits.add(task)
            task.add_done_callback(visits.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
            self._silent -= {asyncio.current_task()}
            page = await self._answer(head.decode("latin-1"))
            body = _PAGE.format(text=escape(page.text)).encode()
            length = f"content-length: {len(body)}\r\n"
            writer.write(f"HTTP/1.1 {page.status} \r\n{_HEADERS}{length}\r\n".encode() + body)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever that was, it was no browser with our answer
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _answer(self, head: str) -> Page:
        first, *lines = head.split("\r\n")
        method, target, *_ = [*first.split(" "), "", ""]
        headers = {
            n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)
        }
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if host not in (*HOSTS, "[::1]"):  # a name that somebody else has pointed at this machine
            return Page(403, "This page is for this machine only.")
        path, _, query = target.partition("?")
        if method != "GET" or path.rstrip("/") != self._path.rstrip("/"):
            return Page(404, "There is nothing here.")
        return await self._visit({name: values[0] for name, values in parse_qs(query).items()})


__all__ = ["Landing", "Page", "Visit"]
