"""The HTTP client: keep-alive HTTP/1.1 on asyncio and the standard library's TLS.

Why none of the known clients: docs/decisions/0003-http-client.md. What the relay needs of it is one
distinction that must never err: NotSent is raised only while no byte of a request was written, so
the call can be repeated without harm; everything later is MaybeSent.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.deploy.connect import Proxy, check_environment, connect, proxy_for, tls_context
from legato.deploy.connection import Connection
from legato.deploy.http1 import (
    Form,
    ResponseParser,
    TooLong,
    Url,
    multipart,
    request_head,
    split_url,
)
from legato.errors import Misuse

if TYPE_CHECKING:
    import ssl

BODY_LIMIT = 20_000_000
IDLE_S = 30.0
"""Shorter than what servers grant (nginx 75 s, AWS load balancers 60 s)."""

IDLE_CONNECTIONS = 256
URLS_KEPT = 512

Origin = tuple[bool, str, int]


class Transport(HttpClient):
    """An HttpClient for one event loop. Made inside of it.

    Args:
        connect_timeout_s: For name, connection, proxy and TLS together.
        body_limit: Bytes an answer may have; a longer one is MaybeSent.

    Raises:
        ConfigError: SSL_CERT_FILE or a proxy of the environment cannot be used.
    """

    __slots__ = (
        "_all",
        "_body_limit",
        "_closed",
        "_connect_timeout_s",
        "_context",
        "_emptied",
        "_idle",
        "_loop",
        "_proxies",
        "_urls",
    )

    def __init__(self, *, connect_timeout_s: float = 10.0, body_limit: int = BODY_LIMIT) -> None:
        check_environment()
        self._loop = asyncio.get_running_loop()
        self._connect_timeout_s = connect_timeout_s
        self._body_limit = body_limit
        self._context: ssl.SSLContext | None = None
        self._proxies: dict[Origin, Proxy | None] = {}
        self._urls: dict[str, Url] = {}
        self._idle: dict[Origin, list[Connection]] = {}
        self._all: dict[Connection, Origin] = {}
        self._emptied: asyncio.Future[None] | None = None
        self._closed = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See HttpClient.send.

        Raises:
            NotSent: No byte of the request was written.
            MaybeSent: It was, and no whole answer came.
            ValueError: The address, the method or a header is malformed.
            OSError: A file to be uploaded cannot be read; the server got no whole request.
        """
        pieces: list[bytes] = []
        parser = ResponseParser(request.method, pieces.append, self._body_limit)
        await self._exchange(request, parser)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return HttpResponse(parser.status, parser.headers, body)

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        """See HttpClient.download.

        Raises:
            NotSent, MaybeSent, ValueError, OSError: As for `send`; ValueError also for another
                status than 200 and for more than `limit` bytes.
        """
        size = 0
        partial = f"{path}.{os.urandom(6).hex()}.part"

        def put(piece: bytes) -> None:
            nonlocal size
            size += file.write(piece) if parser.status == 200 else 0

        parser = ResponseParser(request.method, put, limit)
        try:
            with open(partial, "xb") as file:  # noqa: ASYNC230, PTH123 - the page cache takes it
                await self._exchange(request, parser)
            if parser.status != 200:
                raise ValueError(f"the download was answered with HTTP {parser.status}")
            os.replace(partial, path)  # noqa: PTH105 - pathlib costs a cold start
        except BaseException as error:
            _remove(partial)
            too_long = error.__cause__ if isinstance(error, MaybeSent) else None
            if isinstance(too_long, TooLong):
                raise ValueError(f"the download is longer than {limit} bytes") from error  # noqa: TRY004
            raise
        return size

    async def close(self) -> None:
        """See HttpClient.close. Exchanges under way end with MaybeSent."""
        self._closed = True
        self._idle.clear()
        for connection in list(self._all):
            connection.abort()
        if self._all:
            self._emptied = self._loop.create_future()
            await self._emptied

    # -- connections --------------------------------------------------------------------------

    async def _exchange(self, request: HttpRequest, parser: ResponseParser) -> None:
        loop = self._loop
        if asyncio.get_running_loop() is not loop:
            raise Misuse("this Transport belongs to another event loop: make one per loop")
        deadline = loop.time() + request.timeout_s
        url = self._split(request.url)
        origin = url.origin
        body: bytes | Form = request.body
        headers = request.headers
        length = len(request.body)
        if request.files or request.fields:
            body = multipart(request.fields, request.files)
            headers = headers | {"content-type": body.content_type}
            length = body.length
        via = ""
        proxy = self._proxies[origin] if origin in self._proxies else self._proxy(url)
        if proxy is not None and not url.secure:
            via = f"http://{url.authority}"
            if proxy.authorization:
                headers = headers | {"proxy-authorization": proxy.authorization}
        head = request_head(request.method, url, headers, length, via)
        connection = self._take(origin) or await self._open(url, proxy, deadline)
        await connection.exchange(head, body, parser, deadline)
        if parser.keep:
            self._put_back(connection, origin)

    def _split(self, text: str) -> Url:
        url = self._urls.get(text)
        if url is None:
            url = split_url(text)
            if len(self._urls) >= URLS_KEPT:
                self._urls.clear()
            self._urls[text] = url
        return url

    def _proxy(self, url: Url) -> Proxy | None:
        proxy = self._proxies[url.origin] = proxy_for(url)
        return proxy

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()  # the one used last: the others may rest until they are closed
            if not connection.stale(IDLE_S):
                return connection
            connection.abort()
        return None

    def _put_back(self, connection: Connection, origin: Origin) -> None:
        idle = self._idle.setdefault(origin, [])
        if self._closed or len(idle) >= IDLE_CONNECTIONS:
            connection.abort()
            return
        connection.rest()
        idle.append(connection)

    async def _open(self, url: Url, proxy: Proxy | None, deadline: float) -> Connection:
        self._check_open()
        if url.secure and self._context is None:
            self._context = tls_context()
        until = min(deadline, self._loop.time() + self._connect_timeout_s)
        try:
            async with asyncio.timeout_at(until):
                connection = await connect(
                    lambda: Connection(self._lost), url, proxy, self._context
                )
        except TimeoutError as error:
            raise NotSent("no connection in time") from error
        if not connection.alive:
            raise NotSent("the server closed the connection at once")
        self._all[connection] = url.origin
        try:
            self._check_open()
        except NotSent:
            connection.abort()
            raise
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise NotSent("the HTTP client is closed")

    def _lost(self, connection: Connection) -> None:
        origin = self._all.pop(connection, None)
        idle = self._idle.get(origin) if origin is not None else None
        if idle and connection in idle:
            idle.remove(connection)
        if self._emptied is not None and not self._all and not self._emptied.done():
            self._emptied.set_result(None)


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - pathlib costs a cold start
    except FileNotFoundError:
        pass  # it could not even be made
