"""Updates are handed on in order per viewer, once, and never too many at a time."""

import asyncio

import pytest

from legato.errors import Malformed, StoreUnavailable, Unavailable
from legato.platforms.twitch import inbox as module
from legato.platforms.twitch.inbox import Inbox
from tests.unit.outbox.kit import LoopClock, virtual


class Sink:
    """Takes updates; `faults` befall the coming ones."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.faults: list[Exception] = []
        self.takes_s = 0.0
        self.now = self.most = 0

    async def __call__(self, body: bytes) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.now += 1
        self.most = max(self.most, self.now)
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        self.now -= 1
        self.taken.append(body)


@virtual
async def test_viewers_go_side_by_side_and_each_in_order() -> None:
    sink = Sink()
    inbox = Inbox(sink, LoopClock())
    sink.takes_s = 1.0
    for n in range(3):
        for viewer in "abc":
            await inbox.put(f"{viewer}{n}", viewer, f"{viewer}{n}".encode())
    await asyncio.sleep(3.5)
    assert sink.most == 3
    assert [body for body in sink.taken if body[:1] == b"b"] == [b"b0", b"b1", b"b2"]
    await inbox.close()


@virtual
async def test_what_was_put_before_is_passed_over() -> None:
    sink = Sink()
    inbox = Inbox(sink, LoopClock())
    for _ in range(3):
        await inbox.put("id", "a", b"x")
        await inbox.put("", "a", b"always new")
    await asyncio.sleep(0.1)
    assert sorted(sink.taken) == [b"always new"] * 3 + [b"x"]


@virtual
async def test_what_the_store_could_not_take_is_offered_again_before_the_next() -> None:
    sink = Sink()
    sink.faults = [Unavailable("busy", retry_after_s=9), StoreUnavailable("away")]
    inbox = Inbox(sink, LoopClock())
    began = asyncio.get_running_loop().time()
    await inbox.put("1", "a", b"1")
    await inbox.put("2", "a", b"2")
    await inbox.put("3", "b", b"3")
    await asyncio.sleep(20)
    assert sink.taken == [b"3", b"1", b"2"]
    assert asyncio.get_running_loop().time() - began == 20
    await inbox.close()


@virtual
async def test_what_cannot_be_read_is_counted_and_passed_over() -> None:
    sink = Sink()
    sink.faults = [Malformed("what?")]
    inbox = Inbox(sink, LoopClock())
    await inbox.put("1", "a", b"1")
    await inbox.put("2", "a", b"2")
    await asyncio.sleep(0.1)
    assert sink.taken == [b"2"]
    assert inbox.malformed == 1


def test_a_full_inbox_makes_the_reader_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    monkeypatch.setattr(module, "KNOWN", 5)

    @virtual
    async def story() -> None:
        sink = Sink()
        sink.takes_s = 1.0
        inbox = Inbox(sink, LoopClock())
        began = asyncio.get_running_loop().time()
        for n in range(30):
            await inbox.put(f"{n}", f"{n}", b"%d" % n)
        assert asyncio.get_running_loop().time() - began == 2.0
        await asyncio.sleep(2)
        assert sink.most == 10
        assert sorted(map(int, sink.taken)) == list(range(30))
        await inbox.put("29", "29", b"known")
        await inbox.put("1", "1", b"forgotten by now")
        await asyncio.sleep(2)
        assert sink.taken[30:] == [b"forgotten by now"]

    story()


def test_only_so_many_are_worked_on_at_once_and_those_who_came_first_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 4)

    @virtual
    async def story() -> None:
        sink = Sink()
        sink.takes_s = 1.0
        sink.faults = [Unavailable("busy", 50)]
        inbox = Inbox(sink, LoopClock())
        for n in range(21):
            await inbox.put(f"{n}", f"{n}", b"%d" % n)
        await asyncio.sleep(5.5)
        assert sink.most == 4
        numbers = [int(body) for body in sink.taken]  # 0 waits, and keeps nobody's place
        seconds = [sorted(numbers[start : start + 4]) for start in range(0, 20, 4)]
        assert seconds == [list(range(n, n + 4)) for n in range(1, 21, 4)]
        await asyncio.sleep(50)
        assert sink.taken[20:] == [b"0"]

    story()


@virtual
async def test_a_sink_that_breaks_is_told_to_the_reader() -> None:
    sink = Sink()
    sink.faults = [ZeroDivisionError()]
    inbox = Inbox(sink, LoopClock())
    await inbox.put("1", "a", b"1")
    await asyncio.sleep(0.1)
    with pytest.raises(ZeroDivisionError):
        await inbox.put("2", "b", b"2")


@virtual
async def test_closing_lets_go_of_everything() -> None:
    sink = Sink()
    sink.takes_s = 100.0
    inbox = Inbox(sink, LoopClock())
    for n in range(5):
        await inbox.put("", f"{n % 2}", b"%d" % n)
    await asyncio.sleep(0.1)
    await inbox.close()
    await inbox.close()
    assert sink.taken == []


@virtual
async def test_at_its_end_it_hands_on_what_has_come() -> None:
    sink = Sink()
    sink.takes_s = 0.4
    inbox = Inbox(sink, LoopClock())
    for n in range(4):
        await inbox.put(f"{n}", "a", b"%d" % n)
    await inbox.close()
    assert sink.taken == [b"0", b"1", b"2", b"3"]


def test_at_its_end_it_waits_for_nobody_who_is_away(caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def story() -> None:
        sink = Sink()
        inbox = Inbox(sink, LoopClock())
        sink.faults = [Unavailable("away")] * 100
        for viewer in "ab":
            for n in range(2):
                await inbox.put(f"{viewer}{n}", viewer, b"%d" % n)
        began = asyncio.get_running_loop().time()
        await inbox.close()
        assert asyncio.get_running_loop().time() - began < 0.1
        assert len(sink.faults) == 98  # each viewer's first was tried once, nothing overtook it

    story()
    assert "4 messages of Twitch came and could not be taken" in caplog.text


@virtual
async def test_at_its_end_it_waits_two_seconds_at_most() -> None:
    sink = Sink()
    sink.takes_s = 60.0
    inbox = Inbox(sink, LoopClock())
    await inbox.put("1", "a", b"1")
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    await inbox.close()
    assert asyncio.get_running_loop().time() - began == module.DRAIN_S
    assert sink.taken == []
