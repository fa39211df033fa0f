"""The local page for browsers that come back from a login: what it answers, and what it does not."""

import asyncio
from typing import Self
from urllib.parse import urlsplit

import pytest

from legato.cli.landing import Landing, Page


class Visits:
    """Opens a page; sends it bytes as a browser would."""

    def __init__(self, address: str = "http://localhost:0/back") -> None:
        self.queries: list[dict[str, str]] = []
        self.landing = Landing(address, self.visit)
        self.port = 0

    async def visit(self, query: dict[str, str]) -> Page:
        self.queries.append(query)
        return Page(200, "<done> & \u00fc")

    async def __aenter__(self) -> Self:
        self.port = urlsplit(await self.landing.open()).port or 0
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.landing.close()

    async def send(self, data: bytes, host: str = "127.0.0.1") -> bytes:
        reader, writer = await asyncio.open_connection(host, self.port)
        writer.write(data.replace(b"PORT", b"%d" % self.port))
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


async def test_a_visit_is_handed_on_and_its_page_shown_as_text() -> None:
    async with Visits() as page:
        answer = await page.send(
            b"GET /back?code=a%2Bb&state=s HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"
        )

    assert page.queries == [{"code": "a+b", "state": "s"}]
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ")
    assert "&lt;done&gt; &amp; \u00fc" in body
    assert f"content-length: {len(body.encode())}" in head
    for line in ("default-src 'none'", "referrer-policy: no-referrer", "cache-control: no-store"):
        assert line in head


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /favicon.ico HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", b"404"),
        (b"POST /back?code=a HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", b"404"),
        (b"GET /back?code=a HTTP/1.1\r\nHost: evil.example:PORT\r\n\r\n", b"403"),
        (b"GET /back?code=a HTTP/1.1\r\n\r\n", b"403"),
        (b"nonsense\r\n\r\n", b"403"),
        (b"\r\n\r\n", b"403"),
    ],
)
async def test_everything_else_is_refused(request_: bytes, status: bytes) -> None:
    async with Visits() as page:
        answer = await page.send(request_)

    assert answer.split(b" ")[1] == status
    assert page.queries == []


async def test_an_endless_head_is_cut_off() -> None:
    async with Visits() as page:
        answer = await page.send(b"GET /back HTTP/1.1\r\n" + b"x: y\r\n" * 10_000)

    assert answer == b""


async def test_a_connection_that_says_nothing_holds_nothing_up() -> None:
    async with Visits() as page:
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await page.landing.close()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_visit_that_is_being_answered_is_waited_for() -> None:
    page = Visits()
    answering, going = asyncio.Event(), asyncio.Event()

    async def slow(query: dict[str, str]) -> Page:
        del query
        answering.set()
        await going.wait()
        return Page(200, "late")

    page.landing = Landing("http://localhost:0", slow)
    async with page:
        visit = asyncio.create_task(page.send(b"GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"))
        await answering.wait()
        closing = asyncio.create_task(page.landing.close())
        await asyncio.sleep(0)
        going.set()
        assert b"late" in await visit
        await closing
