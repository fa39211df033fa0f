import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from legato.functions.runtime_api import (
    RESPONSE_LIMIT,
    Answered,
    InitFailed,
    Next,
    RuntimeApi,
    Signal,
    Work,
)

WORK = Work(id="0a1b2c3d-1", body=b'{"n": 1}', deadline_ms=1234, arn="arn:x")
BASE = "/2018-06-01/runtime/"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def sends(self, method: str, what: str, body: bytes = b"", *headers: str) -> None:
        head = [f"{method} {BASE}{what} HTTP/1.1", f"Content-Length: {len(body)}", *headers]
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)

    async def gets(self) -> bytes:
        """What came in one piece."""
        async with asyncio.timeout(10):
            return await self.reader.read(100_000)


@asynccontextmanager
async def opened(*, known: bool = True) -> AsyncIterator[tuple[RuntimeApi, Client, list[Signal]]]:
    told: list[Signal] = []
    asked: list[object] = []

    def is_its(*ends: object) -> bool:
        asked.append(ends)
        return known

    api = RuntimeApi(told.append, is_its)
    api.open()
    await api.serve()
    host, port = api.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    ours, theirs = (writer.get_extra_info(name) for name in ("peername", "sockname"))
    try:
        yield api, Client(reader, writer), told
        assert asked in ([], [(ours, theirs)])  # once a connection
    finally:
        writer.close()
        await api.close()


@asynccontextmanager
async def at_work() -> AsyncIterator[tuple[Client, list[Signal]]]:
    """A function that has WORK in hand."""
    async with opened() as (api, client, told):
        client.sends("GET", "invocation/next")
        await next_of(told, 1)
        api.give(WORK)
        await client.gets()
        yield client, told


async def next_of(told: list[Signal], count: int) -> Signal:
    async with asyncio.timeout(10):
        while len(told) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return told[count - 1]


async def test_work_is_given_in_one_segment_and_its_answer_is_told() -> None:
    async with opened() as (api, client, told):
        client.sends("GET", "invocation/next")
        assert await next_of(told, 1) == Next()
        api.give(WORK)
        whole = await client.gets()
        assert whole.endswith(b'\r\n\r\n{"n": 1}')
        assert b"Lambda-Runtime-Aws-Request-Id: 0a1b2c3d-1\r\n" in whole
        assert b"Lambda-Runtime-Deadline-Ms: 1234\r\n" in whole
        assert b"Lambda-Runtime-Invoked-Function-Arn: arn:x\r\n" in whole
        assert b"Client-Context" not in whole

        client.sends("POST", "invocation/0a1b2c3d-1/response", b"2")
        assert (await client.gets()).startswith(b"HTTP/1.1 202 ")
        assert told[1:] == [Answered("0a1b2c3d-1", b"2", failed=False)]


async def test_an_answer_to_something_else_is_refused() -> None:
    async with at_work() as (client, told):
        for what in ("invocation/other/response", "invocation/0a1b2c3d-1/no", "invocation"):
            client.sends("POST", what, b"2")
            assert (await client.gets()).split()[1] in {b"400", b"404"}
        client.sends("POST", "invocation/0a1b2c3d-1/error", b"{}")
        assert b" 202 " in await client.gets()
        client.sends("POST", "invocation/0a1b2c3d-1/error", b"{}")  # once only
        assert b" 400 " in await client.gets()
        assert told[1:] == [Answered("0a1b2c3d-1", b"{}", failed=True)]


async def test_a_failed_start_is_told() -> None:
    async with opened() as (_, client, told):
        client.sends("POST", "init/error", b'{"errorType": "X"}')
        assert b" 202 " in await client.gets()
        assert told == [InitFailed(b'{"errorType": "X"}')]


async def test_requests_come_in_pieces_and_with_expectations() -> None:
    async with opened() as (_, client, told):
        client.writer.write(f"POST {BASE}init/error HT".encode())
        await asyncio.sleep(0.01)
        client.writer.write(b"TP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert await client.gets() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"ab")
        await asyncio.sleep(0.01)
        assert told == []
        client.writer.write(b"cd")
        assert b" 202 " in await client.gets()
        assert told == [InitFailed(b"abcd")]


async def test_an_answer_that_is_too_long_is_the_handlers_failure() -> None:
    async with at_work() as (client, told):
        head = f"POST {BASE}invocation/{WORK.id}/response HTTP/1.1\r\nContent-Length: "
        client.writer.write(f"{head}{RESPONSE_LIMIT + 1}\r\n\r\n".encode())
        assert b" 413 " in await client.gets()
        answered = told[1]
        assert isinstance(answered, Answered)
        assert answered.failed
        assert b"ResponseSizeTooLarge" in answered.body


STREAMS = (
    "Transfer-Encoding: chunked\r\nContent-Type: text/x\r\n"
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n"
)
FAILED = b"Lambda-Runtime-Function-Error-Type: E\r\nLambda-Runtime-Function-Error-Body: ?\r\n\r\n"
BROKEN = (
    b'{"errorMessage":"it failed in the middle of its response","errorType":"Function.Unknown"}'
)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", (b"abc", False, "text/x")),
        (b"1\r\na\r\n0\r\n" + FAILED.replace(b"?", b"e30="), (b"{}", True, "")),
        (b"0\r\n" + FAILED.replace(b"?", b"e30"), (BROKEN, True, "")),
    ],
)
async def test_a_response_may_be_streamed_and_fail_in_the_middle(
    sent: bytes, answered: tuple[bytes, bool, str]
) -> None:
    async with at_work() as (client, told):
        head = f"POST {BASE}invocation/{WORK.id}/response HTTP/1.1\r\n{STREAMS}"
        client.writer.write(head.encode() + sent[:4])
        await asyncio.sleep(0.01)
        client.writer.write(sent[4:])
        assert b" 202 " in await client.gets()
        body, failed, kind = answered
        assert told[1:] == [Answered(WORK.id, body, failed=failed, kind=kind)]


async def test_a_stream_that_is_too_long_is_the_handlers_failure() -> None:
    async with at_work() as (client, told):
        head = f"POST {BASE}invocation/{WORK.id}/response HTTP/1.1\r\n{STREAMS}"
        client.writer.write(f"{head}{RESPONSE_LIMIT + 1:x}\r\n".encode())
        assert b" 413 " in await client.gets()
        answered = told[1]
        assert isinstance(answered, Answered)
        assert answered.failed


async def test_what_is_no_request_of_a_runtime_is_refused() -> None:
    for text, status in (
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", b" 404 "),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b" 411 "),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n", b" 400 "),
        (b"POST /x HTTP/1.1\r\nContent-Length: many\r\n\r\n", b" 411 "),
        (b"x" * 70_000, b""),
    ):
        async with opened() as (_, client, told):
            client.writer.write(text)
            try:
                assert status in await client.gets()
            except ConnectionResetError:
                assert not status
            assert told == []


async def test_nothing_can_be_given_to_who_asks_no_more() -> None:
    async with opened() as (api, client, told):
        client.sends("GET", "invocation/next")
        await next_of(told, 1)
        client.writer.transport.abort()
        await asyncio.sleep(0.01)
        try:
            api.give(WORK)
        except ConnectionError:
            return
        raise AssertionError("it was given to nobody")


async def test_another_process_is_refused_and_has_taken_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(known=False) as (api, client, told):
        client.sends("GET", "invocation/next")
        client.sends("GET", "invocation/next")
        assert (await client.gets()).startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert await client.gets() == b""
        assert told == []
        with pytest.raises(ConnectionError):
            api.give(WORK)
    assert f"not its function's is refused at {api.address}" in caplog.text


async def test_who_connects_before_it_is_known_who_may_is_judged_as_well() -> None:
    told: list[Signal] = []
    api = RuntimeApi(told.append, lambda *_: False)
    api.open()
    host, port = api.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        Client(reader, writer).sends("GET", "invocation/next")
        await api.serve()
        assert b" 403 " in await reader.read()
    finally:
        writer.close()
        await api.close()
    assert told == []


async def test_one_that_has_only_been_opened_is_closed() -> None:
    api = RuntimeApi(list[Signal]().append, lambda *_: True)
    api.open()
    await api.close()
    await api.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*api.address.split(":"))
