"""A worker's share of the slots, and how long it lasts."""

from legato.app.share import WHOLE, Part
from legato.model.shards import slot_of_key
from legato.testing.clock import FakeClock


def part(clock: FakeClock, seconds: float = 3.0) -> Part:
    share = Part(clock)
    share.last(seconds, clock.monotonic(), clock.now_ms())
    share.gain(range(10))
    return share


def test_the_only_process_of_a_bot_owns_everything():
    assert WHOLE.slots is None
    assert WHOLE.good()
    assert all(WHOLE.owns(slot) and WHOLE.may_send(slot) for slot in range(1024))
    assert WHOLE.owns_key("test:bot:1:1:")


def test_a_part_owns_what_it_gained_and_nothing_else():
    share = part(FakeClock())
    assert share.slots == frozenset(range(10))
    assert share.owns(9)
    assert share.may_send(9)
    assert not share.owns(10)
    assert not share.may_send(10)
    key = "test:bot:1:1:"
    assert share.owns_key(key) == (slot_of_key(key) < 10)


def test_nothing_may_be_sent_once_the_leases_are_over_by_the_monotonic_clock():
    clock = FakeClock()
    share = part(clock)
    clock.advance(2.9)
    assert share.may_send(1)
    clock.advance(0.2)
    assert not share.good()
    assert not share.may_send(1)
    assert share.owns(1)  # nobody has told it of another owner yet


def test_nothing_may_be_sent_once_the_leases_are_over_by_the_wall_clock():
    clock = FakeClock()
    share = part(clock)
    clock.jump(3.1)  # the machine was suspended, and its monotonic clock stood still
    assert not share.may_send(1)


def test_a_wall_clock_that_is_set_back_makes_no_lease_longer():
    clock = FakeClock()
    share = part(clock)
    clock.jump(-3600)
    clock.advance(3.1)
    assert not share.may_send(1)


def test_leases_count_from_when_they_were_asked_for():
    clock = FakeClock()
    asked, asked_ms = clock.monotonic(), clock.now_ms()
    share = Part(clock)
    share.gain([1])
    clock.advance(2)  # the answer took so long
    share.last(3.0, asked, asked_ms)
    clock.advance(1.1)
    assert not share.may_send(1)


def test_what_is_to_be_left_is_finished_but_nothing_new_of_it_is_begun():
    share = part(FakeClock())
    share.leave([1, 2])
    assert share.slots == frozenset({0, *range(3, 10)})
    assert share.owns(1)
    assert share.may_send(1)
    share.lose([1, 2])
    assert not share.owns(1)
    share.gain([1])
    assert share.slots is not None
    assert 1 in share.slots


def test_leases_that_are_over_may_begin_anew():
    clock = FakeClock()
    share = part(clock)
    share.end()
    assert not share.good()
    share.last(3.0, clock.monotonic(), clock.now_ms())
    assert share.good()
