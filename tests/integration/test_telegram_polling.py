"""Long polling: nothing is lost, nothing is confirmed too early, and each chat keeps its order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from legato.errors import BadToken, Malformed, StoreUnavailable, Unavailable
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.telegram_kit import AiohttpClient, opened


class Taken:
    """A sink that keeps the texts it was given; `before` may hold back or refuse one."""

    def __init__(self, before: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.texts: list[str] = []
        self._before = before
        self._came = asyncio.Event()

    async def __call__(self, body: bytes) -> None:
        update = msgspec.json.decode(body)
        text = (
            update["message"]["text"] if "message" in update else update["callback_query"]["data"]
        )
        if self._before is not None:
            await self._before(text)
        self.texts.append(text)
        self._came.set()

    async def all(self, count: int) -> list[str]:
        while len(self.texts) < count:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), 10)
        return self.texts


class ImpatientClock(FakeClock):
    """Sleeps take no time, but are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.001)


@asynccontextmanager
async def polling(
    fake: FakeTelegram, sink: Taken, clock: ImpatientClock | None = None
) -> AsyncIterator[Telegram]:
    telegram = Telegram(fake.token, api=fake.api, clock=clock or ImpatientClock())
    async with AiohttpClient() as http:
        task = asyncio.create_task(telegram.listen(sink, http, MemoryStore()))
        try:
            yield telegram
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def fresh() -> FakeTelegram:
    return FakeTelegram(second=0.01)


async def test_every_update_is_handed_over_once_and_then_confirmed() -> None:
    sink = Taken()
    async with fresh() as fake:
        people = [fake.user(str(n)) for n in range(5)]
        async with polling(fake, sink):
            for n in range(60):
                for person in people:
                    person.sends(f"{person.name}:{n:02}")
            await sink.all(300)
            await fake.wait_for(lambda: not fake.updates.pending)
        for person in people:
            own = [text for text in sink.texts if text.startswith(person.name + ":")]
            assert own == [f"{person.name}:{n:02}" for n in range(60)]


async def test_a_slow_chat_holds_up_no_other_and_its_update_is_not_confirmed() -> None:
    gate = asyncio.Event()

    async def before(text: str) -> None:
        if text == "slow":
            await gate.wait()

    sink = Taken(before)
    async with fresh() as fake:
        slow, quick = fake.user("Slow"), fake.user("Quick")
        slow.sends("slow")
        slow.sends("after slow")
        async with polling(fake, sink):
            for n in range(5):
                quick.sends(str(n))
                await sink.all(n + 1)
            assert sink.texts == list("01234")
            assert len(fake.updates.pending) == 7
            gate.set()
            assert (await sink.all(7))[5:] == ["slow", "after slow"]
            await fake.wait_for(lambda: not fake.updates.pending)


async def test_what_a_crash_left_unconfirmed_comes_again_to_the_next_process() -> None:
    async def never(text: str) -> None:
        if text == "2":
            await asyncio.get_running_loop().create_future()

    first, second = Taken(never), Taken()
    async with fresh() as fake:
        ann, bob = fake.user("Ann"), fake.user("Bob")
        ann.sends("1")
        ann.sends("2")
        bob.sends("3")
        async with polling(fake, first):
            await first.all(2)
        async with polling(fake, second):
            await second.all(2)
            await fake.wait_for(lambda: not fake.updates.pending)
        assert sorted(first.texts) == ["1", "3"]
        assert {"2"} <= set(second.texts) <= {"1", "2", "3"}


@pytest.mark.parametrize("error", [Unavailable("full", 7), StoreUnavailable("locked")])
async def test_an_update_that_cannot_be_taken_now_is_offered_again_before_the_next(
    error: Exception,
) -> None:
    refusals = [error, error]

    async def before(text: str) -> None:
        if text == "first" and refusals:
            raise refusals.pop()

    sink, clock = Taken(before), ImpatientClock()
    async with fresh() as fake:
        ann = fake.user()
        ann.sends("first")
        ann.sends("second")
        async with polling(fake, sink, clock):
            assert await sink.all(2) == ["first", "second"]
    assert len(clock.slept) == 2
    if isinstance(error, Unavailable):
        assert min(clock.slept) >= 7


async def test_an_unreadable_update_is_counted_and_passed_over() -> None:
    async def before(text: str) -> None:
        if text == "bad":
            raise Malformed("no")

    sink = Taken(before)
    async with fresh() as fake:
        ann = fake.user()
        for text in ("good", "bad", "good again"):
            ann.sends(text)
        async with polling(fake, sink) as telegram:
            assert await sink.all(2) == ["good", "good again"]
            await fake.wait_for(lambda: not fake.updates.pending)
            assert telegram.malformed == 1


async def test_another_error_of_the_sink_ends_the_listening_with_it() -> None:
    async def before(text: str) -> None:
        raise ZeroDivisionError(text)

    async with fresh() as fake, AiohttpClient() as http:
        fake.user().sends("x")
        telegram = Telegram(fake.token, api=fake.api)
        with pytest.raises(ZeroDivisionError):
            await telegram.listen(Taken(before), http, MemoryStore())
        assert len(fake.updates.pending) == 1


async def test_a_refused_token_ends_the_listening() -> None:
    async with fresh() as fake, AiohttpClient() as http:
        fake.fails(401, method="getUpdates")
        with pytest.raises(BadToken):
            await Telegram(fake.token, api=fake.api).listen(Taken(), http, MemoryStore())


async def test_a_conflict_names_its_cause_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink, clock = Taken(), ImpatientClock()
    async with fresh() as fake:
        fake.updates.set_webhook({"url": "http://127.0.0.1:1/"})
        async with polling(fake, sink, clock):
            await fake.wait_for(lambda: clock.slept)
            fake.updates.set_webhook({})
            fake.fails(409, method="getUpdates", description="Conflict: terminated by other")
            fake.user().sends("x")
            await sink.all(1)
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert any("a webhook is set" in text for text in errors)
    assert any("another process polls" in text for text in errors)


async def test_trouble_on_the_way_is_waited_out_with_growing_pauses_and_nothing_is_lost() -> None:
    sink, clock = Taken(), ImpatientClock()
    async with fresh() as fake:
        ann = fake.user()
        fake.resets(carried_out=False, method="getUpdates")
        fake.fails(502, method="getUpdates", html=True)
        fake.fails(500, method="getUpdates")
        fake.fails(429, method="getUpdates", retry_after=9)
        fake.resets(carried_out=True, method="getUpdates")
        ann.sends("x")
        async with polling(fake, sink, clock):
            await sink.all(1)
    assert len(clock.slept) == 5
    assert clock.slept[3] >= 9
    for n, pause in enumerate(clock.slept):
        assert pause >= 0.25 * 2**n


async def test_updates_that_telegram_repeats_reach_the_sink_again_and_harm_nothing() -> None:
    sink = Taken()
    async with fresh() as fake:
        ann = fake.user()
        async with polling(fake, sink):
            ann.sends("x")
            await sink.all(1)
            await fake.wait_for(lambda: not fake.updates.pending)
            fake.updates.repeat_polls = 1
            ann.sends("y")
            await fake.wait_for(lambda: not fake.updates.pending)
            await sink.all(2)
    assert sink.texts[0] == "x"
    assert sink.texts[-1] == "y"
    assert set(sink.texts) == {"x", "y"}


async def test_after_an_empty_answer_the_offset_is_forgotten_for_telegram_may_count_anew() -> None:
    sink = Taken()
    async with fresh() as fake:
        fake.log_polls = True
        async with polling(fake, sink):
            fake.user().sends("x")
            await sink.all(1)
            await fake.wait_for(
                lambda: "offset" not in fake.calls[-1].params and len(fake.calls) > 2
            )
            fake.updates._next = 500  # a week later
            fake.user().sends("y")
            await sink.all(2)


async def test_presses_and_messages_of_one_chat_are_one_lane() -> None:
    order: list[str] = []

    async def before(text: str) -> None:
        order.append(f"{text} in")
        await asyncio.sleep(0)
        order.append(f"{text} out")

    sink = Taken(before)
    async with fresh() as fake:
        ann = fake.user(started=True)
        button = {"text": "Go", "callback_data": "pressed"}
        params = {"chat_id": ann.id, "text": "?", "reply_markup": {"inline_keyboard": [[button]]}}
        fake.methods.send_message(params, {})
        ann.presses("Go")
        ann.sends("said")
        async with polling(fake, sink):
            await sink.all(2)
    assert order == ["pressed in", "pressed out", "said in", "said out"]


async def test_whoever_polls_says_which_webhook_it_removes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened() as (fake, call):
        await call("setWebhook", url="https://bot.example/telegram")
        async with AiohttpClient() as http:
            for _ in range(2):  # the second start has nothing to remove, and says nothing
                telegram = Telegram(fake.token, api=fake.api, clock=FakeClock())
                await telegram.setup(http, MemoryStore(), "")
        assert fake.updates.webhook is None
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(said) == 1
    assert "https://bot.example/telegram" in said[0]
    assert "LEGATO_PUBLIC_URL" in said[0]
