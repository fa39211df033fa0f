"""One process cares for what others have left, and what goes wrong keeps nobody from it for long."""

import asyncio

import msgspec
import pytest

from legato.errors import StoreUnavailable
from legato.model.events import Address
from legato.model.records import Call, Commit, Committed, OutboxItem
from legato.outbox.caretaker import LONGEST_MS, Caretaker, Claims, is_strange
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock

TERM_MS = 60_000
PLACE = Address("fake", "b", "1", "1")
ITEM = OutboxItem(1, PLACE.lane, PLACE, "", 0, "", Call("say", {}))


class Slow(MemoryStore):
    """Lets others do something before it answers; loses its answer if it is told to."""

    lost = False

    async def get(self, kind: str, name: str) -> bytes | None:
        await asyncio.sleep(0)
        return await super().get(kind, name)

    async def commit(self, commit: Commit) -> Committed:
        await asyncio.sleep(0)
        found = await super().commit(commit)
        if self.lost:
            self.lost = False
            raise StoreUnavailable("the connection broke")
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> Slow:
    return Slow()


async def test_of_two_processes_one_becomes_it(store: Slow, clock: FakeClock) -> None:
    two = [Caretaker(store, clock) for _ in range(2)]
    until_ms = clock.now_ms() + TERM_MS
    assert sorted(await asyncio.gather(*[one.take(until_ms) for one in two])) == [False, True]
    assert [one.holds for one in two].count(True) == 1


async def test_who_asks_for_several_chats_at_once_becomes_it_for_all_of_them(
    store: Slow, clock: FakeClock
) -> None:
    one = Caretaker(store, clock)
    until_ms = clock.now_ms() + TERM_MS
    assert await asyncio.gather(*[one.take(until_ms) for _ in range(3)]) == [True] * 3
    assert one.holds


async def test_a_write_whose_answer_was_lost_is_known_as_its_own(
    store: Slow, clock: FakeClock
) -> None:
    one = Caretaker(store, clock)
    store.lost = True
    with pytest.raises(StoreUnavailable):
        await one.take(clock.now_ms() + TERM_MS)
    assert not one.holds
    assert not await Caretaker(store, clock).take(clock.now_ms() + TERM_MS)
    assert await one.take(clock.now_ms() + TERM_MS)
    assert one.holds


async def test_a_renewal_whose_answer_was_lost_interrupts_nothing(
    store: Slow, clock: FakeClock
) -> None:
    one = Caretaker(store, clock, server=True)
    assert await one.take(clock.now_ms() + TERM_MS)
    since_ms = one.since_ms
    clock.advance(30)
    store.lost = True
    with pytest.raises(StoreUnavailable):
        await one.take(clock.now_ms() + TERM_MS)
    assert one.holds  # its old term runs on
    clock.advance(30)
    assert await one.take(clock.now_ms() + TERM_MS)
    assert (one.holds, one.since_ms) == (True, since_ms)


async def test_a_term_of_a_process_whose_clock_was_far_ahead_is_over(
    store: Slow, clock: FakeClock
) -> None:
    ahead = FakeClock(clock.now_ms() + 2 * LONGEST_MS)
    assert await Caretaker(store, ahead).take(ahead.now_ms() + TERM_MS)
    assert await Caretaker(store, clock).take(clock.now_ms() + TERM_MS)


async def test_a_message_of_a_process_whose_clock_was_far_ahead_is_anybodys(
    clock: FakeClock,
) -> None:
    now_ms = clock.now_ms()
    for until_ms, free in ((now_ms + TERM_MS, False), (now_ms + 2 * LONGEST_MS, True)):
        item = msgspec.structs.replace(ITEM, call=Call("say", {}, until_ms=until_ms))
        assert Claims(now_ms).free(item) is free
        assert is_strange(item, now_ms) is free
