"""How a process is asked to end."""

import asyncio
import signal

import pytest

from legato.deploy.lifecycle import Stopped, Stopping


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_the_first_signal_asks_for_the_end_and_the_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stopping = Stopping()
    with stopping.signals():
        signal.raise_signal(signal.SIGTERM)
        await stopping.wait()

    assert stopping.asked
    assert stopping.error is None
    assert signal.getsignal(signal.SIGTERM) is before


async def test_the_first_failure_counts() -> None:
    stopping = Stopping()
    first = RuntimeError("first")
    stopping.fail(first)
    stopping.fail(RuntimeError("second"))
    stopping.stop()

    assert stopping.error is first


async def test_work_is_done_unless_the_end_is_asked_for() -> None:
    stopping = Stopping()

    async def work() -> int:
        return 5

    async def fails() -> int:
        raise ValueError("work failed")

    assert await stopping.unless(work()) == 5
    with pytest.raises(ValueError, match="work failed"):
        await stopping.unless(fails())
    asyncio.get_running_loop().call_soon(stopping.stop)
    with pytest.raises(Stopped):
        await stopping.unless(forever())
