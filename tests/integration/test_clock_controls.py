"""A runtime that takes another time for the wall's is caught as wrong by the tests of clocks that jump."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from legato.abc import Clock
from legato.app.runtime import Runtime, RuntimeSettings
from legato.testing.clock import FakeClock
from legato.testing.script import NoNetwork
from tests.integration import test_clock as clocks
from tests.integration.test_clock import HOUR

WRONG = (AssertionError, ValueError)
"""Fired at a wrong time or twice; never, or more than once, where one is unpacked."""


class Deaf(Clock):
    """Reads the wall clock when it is made, and adds to that what has passed: it hears of no jump."""

    def __init__(self, real: FakeClock) -> None:
        self._real = real
        self._ahead_ms = real.now_ms() - real.monotonic() * 1000

    def now_ms(self) -> int:
        """See Clock.now_ms."""
        return int(self._ahead_ms + self.monotonic() * 1000)

    def monotonic(self) -> float:
        """See Clock.monotonic."""
        return self._real.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock.sleep."""
        await self._real.sleep(seconds)


def sabotaged(
    monkeypatch: pytest.MonkeyPatch, hears: Callable[[FakeClock], Clock], tick_s: float
) -> None:
    """Lets the tests run with another clock in the runtime, which is looked at so often."""

    @asynccontextmanager
    async def watched(cache: int = 2000) -> AsyncIterator[clocks.Watched]:
        world = clocks.Watched(cache)
        world.runtime = Runtime(
            world.app,
            store=world.store,
            platforms=[world.platform],
            clock=hears(world.clock),
            http=NoNetwork(),
            settings=RuntimeSettings(cache=cache, tick_s=tick_s),
        )
        await world.runtime.start()
        try:
            yield world
        finally:
            await world.runtime.stop()

    monkeypatch.setattr(clocks, "watched", watched)


TRIALS: list[Callable[[str], Awaitable[None]]] = [
    lambda timer: clocks.test_a_jump_forward_over_the_deadline_fires_it_at_once(timer, 0, HOUR),
    lambda timer: clocks.test_a_jump_back_never_fires_it_early(timer, 0),
    lambda timer: clocks._any_jumps([(5.0, HOUR)], timer, 0),
    lambda timer: clocks._any_jumps([(5.0, -HOUR), (2.0, 15.0)], timer, 0),
]
trials = pytest.mark.parametrize("trial", TRIALS, ids=["forward", "back", "any", "any back"])


@trials
@pytest.mark.parametrize("timer", ["ask", "sleep"])
async def test_to_take_the_time_that_passed_for_the_wall_is_caught_as_wrong(
    monkeypatch: pytest.MonkeyPatch, timer: str, trial: Callable[[str], Awaitable[None]]
) -> None:
    sabotaged(monkeypatch, Deaf, 0.2)
    with pytest.raises(WRONG):
        await trial(timer)


async def test_to_look_at_the_wall_seldom_is_caught_as_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sabotaged(monkeypatch, lambda real: real, 8.0)
    with pytest.raises(WRONG):
        await clocks.test_without_a_jump_it_fires_on_time_and_once("ask", 0)


@trials
async def test_what_is_not_sabotaged_passes(
    monkeypatch: pytest.MonkeyPatch, trial: Callable[[str], Awaitable[None]]
) -> None:
    sabotaged(monkeypatch, lambda real: real, 0.2)
    await trial("ask")
