"""The sliding window: kept to the message, over role changes, restarts and crashes."""

import asyncio
from bisect import bisect_right
from random import Random

import pytest

from legato.abc import Clock
from legato.model.events import Address
from legato.model.records import Call, Commit, Committed
from legato.outbox.pacing import Pacing, Sent
from tests.unit.outbox.kit import Faulty, LoopClock, Scripted, World, item, virtual

WINDOW = (20, 30.0)
SLACK_S = 1e-3


def most_within(times: list[float], span_s: float) -> int:
    """The most messages that any window of this length holds."""
    times = sorted(times)
    return max(
        (n + 1 - bisect_right(times, at - span_s + SLACK_S) for n, at in enumerate(times)),
        default=0,
    )


class Windowed(Scripted):
    """A bot whose messages called "say..." are limited; in "#mod..." rooms it may say more."""

    def limit(self, call: Call, place: Address) -> tuple[int, float] | None:
        if not call.method.startswith("say"):
            return None
        return (100, 30.0) if place.chat in self.mod_of else WINDOW

    mod_of: frozenset[str] | set[str] = frozenset()

    def times(self, chat: str = "c") -> list[float]:
        return [at for at, where, method in self.tries if where == chat and method == "say"]


class Room(World):
    """A world with a bot in rooms."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.windowed = Windowed()
        self.bot = self.windowed
        self.start()


@virtual
async def test_twenty_go_at_once_and_the_next_after_thirty_seconds() -> None:
    async with Room() as room:
        await asyncio.sleep(100)  # nobody was here before
        began = asyncio.get_running_loop().time()
        await room.say(*[item("say") for _ in range(45)])
        await room.relay.flush(1000)
        after = [round(at - began) for at in room.windowed.times()]
        assert after == [0] * 20 + [30] * 20 + [60] * 5


@virtual
async def test_rooms_do_not_wait_for_each_other() -> None:
    async with Room() as room:
        await asyncio.sleep(100)
        await room.say(*[item("say", chat) for chat in "ab" for _ in range(20)])
        assert await room.relay.flush(1) == 0


@virtual
async def test_what_is_no_message_is_not_counted() -> None:
    async with Room() as room:
        await asyncio.sleep(100)
        await room.say(*[item("delete", idempotent=True) for _ in range(100)])
        await room.say(*[item("say") for _ in range(20)])
        assert await room.relay.flush(1) == 0


@virtual
async def test_a_message_counts_from_when_it_arrived() -> None:
    async with Room() as room:
        await asyncio.sleep(100)
        room.windowed.takes_s = 1.0
        await room.say(*[item("say") for _ in range(21)])
        await room.relay.flush(1000)
        first, *_, last = room.windowed.times()
        assert last - first >= 31.0


@virtual
async def test_a_moderator_may_say_more_and_less_again_once_it_is_none() -> None:
    async with Room() as room:
        await asyncio.sleep(100)
        room.windowed.mod_of = {"c"}
        await room.say(*[item("say") for _ in range(60)])
        assert await room.relay.flush(1) == 0
        room.windowed.mod_of = set()
        await room.say(item("say"))
        assert await room.relay.flush(28) == 1
        assert await room.relay.flush(3) == 0


@virtual
async def test_a_broadcast_and_answers_share_the_window() -> None:
    async with Room() as room:
        await asyncio.sleep(100)
        await room.say(*[item("say", bulk=n % 2 == 0) for n in range(60)])
        await room.relay.flush(1000)
        assert len(room.windowed.times()) == 60
        assert most_within(room.windowed.times(), 30.0) <= 20


@virtual
async def test_a_first_start_has_all_of_the_window() -> None:
    async with Room() as room:
        await room.say(*[item("say") for _ in range(20)])
        assert await room.relay.flush(1) == 0


@virtual
async def test_a_start_long_after_the_last_message_has_all_of_the_window() -> None:
    async with Room() as room:
        await room.say(*[item("say") for _ in range(20)])
        await room.relay.flush(1)
        await room.relay.close()
        await asyncio.sleep(46)
        room.start()
        await room.say(*[item("say") for _ in range(20)])
        assert await room.relay.flush(1) == 0


@virtual
async def test_after_a_start_a_quarter_of_the_window_is_left_to_whoever_was_here_before() -> None:
    async with Room() as room:
        await room.say(item("say", "elsewhere"))
        await room.relay.flush(1)
        await room.relay.close()
        room.start()
        began = asyncio.get_running_loop().time()
        await room.say(*[item("say") for _ in range(25)])
        await room.relay.flush(1000)
        after = [round(at - began) for at in room.windowed.times()]
        assert after == [0] * 15 + [30] * 10


@virtual
async def test_the_window_holds_over_every_crash() -> None:
    chance = Random(7)
    room = Room()
    await asyncio.sleep(100)
    for _ in range(40):
        await room.say(*[item("say") for _ in range(chance.randrange(30))])
        await room.relay.flush(chance.uniform(0, 45))
        await room.relay.close()
        await asyncio.sleep(chance.choice((0, 0.1, 5, 20, 60)))
        room.start()
        await room.relay.recover()
    await room.relay.flush(10_000)
    await room.relay.close()
    assert len(room.windowed.times()) > 300
    assert most_within(room.windowed.times(), 30.0) == 20


@virtual
async def test_crashes_in_a_row_cost_no_more_than_what_was_said() -> None:
    room = Room()
    began = asyncio.get_running_loop().time()
    for _ in range(14):
        await room.say(item("say"))
        await room.relay.flush(10)
        await room.relay.close()
        await asyncio.sleep(0.1)
        room.start()
    assert asyncio.get_running_loop().time() - began < 5
    await room.relay.close()


@virtual
async def test_a_quiet_room_is_not_written_down_and_a_busy_one_with_every_message() -> None:
    async with Room() as room:
        await asyncio.sleep(100)
        room.store = counting = Counting()
        room.start()
        await asyncio.sleep(100)
        for _ in range(20):
            await room.say(item("say", "quiet"))
            await room.relay.flush(1000)
            await asyncio.sleep(10)
        assert counting.paced <= 20 * 10 / 15 + 1
        assert await room.store.get("pace", "test:1:quiet") is None
        counting.paced = 0
        await room.say(*[item("say", "busy") for _ in range(20)])
        await room.relay.flush(1)
        assert counting.paced == 16  # and once that anything was sent


@virtual
async def test_a_store_that_fails_delays_nothing_that_may_be_repeated() -> None:
    async with Room() as room:
        items = await room.commit(*[item("say", idempotent=True) for _ in range(20)])
        room.store.broken = True
        room.relay.offer(items)
        await asyncio.sleep(0.1)
        assert len(room.windowed.times()) == 15  # nobody knows what was sent before
        await asyncio.sleep(31)
        assert len(room.windowed.times()) == 20
        room.store.broken = False
        assert await room.relay.flush(100) == 0


@virtual
async def test_a_wall_clock_that_was_set_back_does_not_silence_a_room() -> None:
    clock = LoopClock()
    store = Faulty()
    pacing = Pacing(store, clock)
    for _ in range(20):
        assert await pacing.admit("lane", WINDOW) == 0.0
    late = Pacing(store, Behind())
    ready = await late.admit("lane", WINDOW)
    assert 0 < ready - clock.monotonic() <= 30.0


class Counting(Faulty):
    """Counts what is written down for the pace."""

    __slots__ = ("paced",)

    def __init__(self) -> None:
        super().__init__()
        self.paced = 0

    async def commit(self, commit: Commit) -> Committed:
        self.paced += any(space == "pace" for space, _, _ in commit.puts)
        return await super().commit(commit)


class Behind(LoopClock):
    """A wall clock that was set back by a day."""

    def now_ms(self) -> int:
        return super().now_ms() - 86_400_000


@virtual
async def test_rooms_that_fell_silent_are_forgotten() -> None:
    pacing = Pacing(Faulty(), LoopClock())
    for n in range(5000):
        await asyncio.sleep(1)
        assert await pacing.admit(f"lane {n}", WINDOW) == 0.0
    assert len(pacing) <= 1100


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_any_count_is_kept_exactly(count: int) -> None:
    sent = Sent()
    times: list[float] = []
    now = 0.0
    chance = Random(count)
    while len(times) < 200:
        if sent.ready_at((count, 30.0), now) <= now:
            sent.times.append(now)
            times.append(now)
        now += chance.choice((0.0, 0.1, 1.0))
    assert most_within(times, 30.0) == count


@virtual
async def test_a_chat_that_nothing_was_sent_to_cannot_land_anything() -> None:
    pacing = Pacing(Faulty(), LoopClock())
    pacing.landed("lane")
    assert len(pacing) == 0


@virtual
async def test_right_after_a_start_nothing_is_forgotten() -> None:
    pacing = Pacing(Faulty(), LoopClock())
    for n in range(2000):
        assert await pacing.admit(f"lane {n}", WINDOW) == 0.0
    assert len(pacing) == 2000
