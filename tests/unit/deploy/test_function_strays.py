"""Tasks of the bot's own that are left when an invocation ends."""

import asyncio

import pytest

from legato.deploy.function import invocation


async def test_a_task_that_will_not_end_does_not_hold_up_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(invocation, "GRACE_MS", 60_000)
    over = asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    strays = invocation.Strays()
    token = strays.begin()
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await strays.end(token, (), 0.05)

    assert not task.done()
    over.set()
    await task
    strays.close()
