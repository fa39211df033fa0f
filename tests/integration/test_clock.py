"""Wall clocks jump: by an operator's hand, by NTP, after a suspended machine. Timers fire once all the same.

A deadline is a wall time. It must not fire early by the wall clock (within 1 s), and must fire within 1 s of
real time once the wall clock has passed it. The runtime's own loops run here, on a clock that tests move.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs

from legato import App, Chat, Timeout
from legato.app.runtime import RuntimeSettings
from legato.testing.clock import FakeClock
from tests.unit.app.kit import World, message

HOUR = 3600.0
STEP_S = 0.1
app = App("clock")


@app.command("ask")
async def ask(chat: Chat) -> None:
    try:
        await chat.ask("Well?", timeout=20)
    except Timeout:
        await chat.say("fired")


@app.command("sleep")
async def sleep(chat: Chat) -> None:
    await chat.sleep(20)
    await chat.say("fired")


@app.command("scope")
async def scope(chat: Chat) -> None:
    try:
        async with chat.timeout(20):
            await chat.ask("Well?", timeout=500)
    except Timeout:
        await chat.say("fired")


@app.command("signal")
async def signal(chat: Chat) -> None:
    try:
        await chat.wait_for("never", int, timeout=20)
    except Timeout:
        await chat.say("fired")


@app.command("idle", idle=20)
async def idle(chat: Chat) -> None:
    try:
        await chat.receive()
    except Timeout:
        await chat.say("fired")


@app.command("remind")
async def remind(chat: Chat) -> None:
    await chat.ask("Well?", remind_after=20, remind="fired")


class Fired(Struct, frozen=True):
    """When a message was said: wall time in ms, and real seconds."""

    wall_ms: int
    real_s: float


class Watched(World):
    """A World that notes when "fired" is said."""

    def __init__(self, cache: int) -> None:
        super().__init__(app, settings=RuntimeSettings(cache=cache))
        self.fired: list[Fired] = []

    async def passes(self, seconds: float) -> None:
        """Real time goes on in small steps; the loops of the runtime do what they do."""
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)
            for _ in range(12):  # tick, Turn, commit, delivery
                await asyncio.sleep(0)
            while len(self.fired) < self.said.count("fired"):
                self.fired.append(Fired(self.clock.now_ms(), self.clock.monotonic()))


@asynccontextmanager
async def watched(cache: int = 2000) -> AsyncIterator[Watched]:
    """Runs with its loops."""
    world = Watched(cache)
    await world.runtime.start()
    try:
        yield world
    finally:
        await world.runtime.stop()


TIMERS = ["ask", "sleep", "scope", "signal", "idle", "remind"]
cold_and_warm = pytest.mark.parametrize("cache", [2000, 0], ids=["warm", "cold"])


@cold_and_warm
@pytest.mark.parametrize("timer", TIMERS)
async def test_without_a_jump_it_fires_on_time_and_once(timer: str, cache: int) -> None:
    async with watched(cache) as world:
        await world.receive(message(f"/{timer}"))
        deadline = world.clock.now_ms() + 20_000
        await world.passes(60)
        (fired,) = world.fired
        assert 0 <= fired.wall_ms - deadline <= 1000


@cold_and_warm
@pytest.mark.parametrize("timer", TIMERS)
@pytest.mark.parametrize("jump", [HOUR, 2 * HOUR, 25 * HOUR])
async def test_a_jump_forward_over_the_deadline_fires_it_at_once(
    timer: str, cache: int, jump: float
) -> None:
    async with watched(cache) as world:
        await world.receive(message(f"/{timer}"))
        await world.passes(5)
        assert world.fired == []
        world.clock.jump(jump)
        jumped = world.clock.monotonic()
        await world.passes(60)
        (fired,) = world.fired
        assert fired.real_s - jumped <= 1


@cold_and_warm
@pytest.mark.parametrize("timer", TIMERS)
async def test_a_jump_back_never_fires_it_early(timer: str, cache: int) -> None:
    async with watched(cache) as world:
        await world.receive(message(f"/{timer}"))
        await world.passes(5)
        world.clock.jump(-HOUR)
        await world.passes(60)
        assert world.fired == []
        world.clock.jump(HOUR)  # the operator sees the mistake
        mended = world.clock.monotonic()
        await world.passes(60)
        (fired,) = world.fired
        assert fired.real_s - mended <= 1


@cold_and_warm
@pytest.mark.parametrize("step", [-0.9, -0.5, -0.128, 0.128, 0.5, 0.9])
async def test_a_step_of_ntp_moves_it_by_less_than_a_second(step: float, cache: int) -> None:
    async with watched(cache) as world:
        await world.receive(message("/ask"))
        deadline, begun = world.clock.now_ms() + 20_000, world.clock.monotonic()
        await world.passes(19.5)
        world.clock.jump(step)
        await world.passes(10)
        (fired,) = world.fired
        assert fired.wall_ms >= deadline
        assert abs(fired.real_s - begun - 20) <= 1 + abs(step)


async def test_a_fired_timer_does_not_fire_again_when_the_clock_goes_back_over_it() -> None:
    async with watched() as world:
        await world.receive(message("/remind"))
        for _ in range(3):
            await world.passes(30)
            world.clock.jump(-40)
        await world.passes(120)
        assert len(world.fired) == 1


async def test_an_answer_counts_after_a_jump_back_and_stops_the_timer() -> None:
    async with watched() as world:
        await world.receive(message("/ask"))
        await world.passes(5)
        world.clock.jump(-HOUR)
        late = structs.replace(message("yes"), at_ms=world.clock.now_ms() + 3_600_000)
        await world.receive(late)  # by the platform's clock, which did not jump
        world.clock.jump(HOUR)
        await world.passes(60)
        assert world.fired == []
        assert await world.store.find() == []


async def test_an_answer_from_before_a_jump_forward_is_in_time() -> None:
    async with watched() as world:
        await world.receive(message("/ask"))
        await world.passes(5)
        given = structs.replace(message("yes"), at_ms=world.clock.now_ms())
        world.clock.jump(HOUR)
        await world.receive(given)
        await world.passes(60)
        assert world.fired == []


@cold_and_warm
async def test_a_crash_around_a_jump_loses_no_timer_and_doubles_none(cache: int) -> None:
    async with watched(cache) as world:
        for user in range(len(TIMERS)):
            at = structs.replace(message("x").place, chat=str(user), user=str(user))
            await world.receive(message(f"/{TIMERS[user]}", at))
        await world.passes(5)
        await world.runtime.stop()
        world.clock.jump(-HOUR)
        world.runtime = world.process()
        await world.runtime.start()
        await world.passes(5)
        assert world.fired == []
        world.clock.jump(2 * HOUR)
        await world.passes(5)
        await world.runtime.stop()
        world.runtime = world.process()
        await world.runtime.start()
        await world.passes(30)
        assert len(world.fired) == len(TIMERS)


JUMPS = st.lists(
    st.tuples(
        st.integers(12, 60).map(lambda tenths: tenths / 10),
        st.sampled_from([-HOUR, HOUR, -2 * HOUR, 2 * HOUR, -0.5, 0.5, -15.0, 15.0]),
    ),
    max_size=5,
)


@given(JUMPS, st.sampled_from(TIMERS), st.sampled_from([0, 2000]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_jumps_fire_it_once_and_as_soon_as_the_wall_is_there(
    jumps: list[tuple[float, float]], timer: str, cache: int
) -> None:
    asyncio.run(_any_jumps(jumps, timer, cache))


async def _any_jumps(jumps: list[tuple[float, float]], timer: str, cache: int) -> None:
    async with watched(cache) as world:
        await world.receive(message(f"/{timer}"))
        deadline = world.clock.now_ms() + 20_000
        reached = _reached(world.clock, deadline)
        for pause, jump in jumps:
            for _ in range(round(pause / STEP_S)):
                await world.passes(STEP_S)
                reached()
            world.clock.jump(jump)
            reached()
        while world.clock.now_ms() < deadline:
            world.clock.jump(10.0)
            reached()
        await world.passes(1.0)
        (fired,) = world.fired
        assert fired.real_s - (reached() or 0.0) <= 1
        await world.passes(3.0)
        assert len(world.fired) == 1


def _reached(clock: FakeClock, deadline: int) -> Callable[[], float | None]:
    """A function that says since when the wall clock has stood at or after the deadline."""
    since: float | None = None
    over = False

    def look() -> float | None:
        nonlocal since, over
        passed = clock.now_ms() >= deadline
        if passed and not over:
            since = clock.monotonic()
        over = passed
        return since

    return look
