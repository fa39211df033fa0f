"""The line of events that nobody waits for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from legato.errors import ConfigError
from legato.functions import backlog as module
from legato.functions.backlog import Backlog
from legato.functions.outcome import Outcome
from legato.functions.pool import Busy

OK, FAILED = Outcome("ok", b"null"), Outcome("error", b'"why"')


@asynccontextmanager
async def line(
    invoke: Callable[[bytes], Awaitable[Outcome]], at_once: int = 1
) -> AsyncIterator[Backlog]:
    made = Backlog("bot", at_once, invoke, (0.0, 0.0))
    try:
        yield made
    finally:
        await made.close()


async def _emptied(backlog: Backlog) -> None:
    async with asyncio.timeout(10):
        while backlog.count:  # noqa: ASYNC110 # nothing tells of it
            await asyncio.sleep(0)


async def test_as_many_as_there_are_processes_are_under_way_at_the_same_time() -> None:
    running, most = 0, 0

    async def invoke(event: bytes) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return OK

    async with line(invoke, 3) as backlog:
        for _ in range(50):
            assert backlog.offer(b"1")
        await _emptied(backlog)
    assert most == 3


async def test_that_all_places_are_taken_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.0)
    answers: list[Outcome | Exception] = [*[Busy("bot")] * 20, FAILED, ConfigError("no node"), OK]

    async def invoke(event: bytes) -> Outcome:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with line(invoke) as backlog:
        assert backlog.offer(b"1")
        await _emptied(backlog)
    assert answers == []


async def test_a_bug_of_ours_is_told_and_takes_no_place_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def invoke(event: bytes) -> Outcome:
        raise RuntimeError(event)

    async with line(invoke) as backlog:
        assert backlog.offer(b"1")
        await _emptied(backlog)
    assert "bot: an event was lost" in caplog.text


async def test_whoever_can_wait_loses_nothing_however_much_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    seen = []

    async def invoke(event: bytes) -> Outcome:
        await asyncio.sleep(0)
        seen.append(event)
        return OK

    async with line(invoke) as backlog, asyncio.timeout(10):
        for number in range(9):
            await backlog.put(b"%d" % number)
        await _emptied(backlog)
    assert seen == [b"%d" % number for number in range(9)]
    assert not backlog.offer(b"x")
    await backlog.put(b"x")  # the end keeps nobody waiting
