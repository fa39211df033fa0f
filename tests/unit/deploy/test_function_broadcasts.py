"""A broadcast in a function goes on from tick to tick: everybody is told once, and nobody waits for it."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from legato import App, Chat
from legato.app.runtime import Runtime
from legato.deploy.clock import SystemClock
from legato.deploy.function import caring, core, start
from legato.deploy.function.core import Function
from legato.deploy.function.frozen import Frozen
from legato.deploy.function.invocation import Invocation
from legato.model.events import Address
from legato.model.records import Call, Commit, OutboxItem, Settled
from legato.outbox.caretaker import Claims
from legato.outbox.relay import Relay
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy import asgi_kit
from tests.unit.deploy.function_kit import BODY, PROOF, TOKEN, Service, bot, on_telegram

TICK = {"legato": "tick"}
PEOPLE = 20
LATER_S = 70


class Later(SystemClock):
    """Goes before the others."""

    def __init__(self, later_s: int = LATER_S) -> None:
        self.later_ms = later_s * 1000

    def now_ms(self) -> int:
        return super().now_ms() + self.later_ms


def twice(app: App) -> App:
    @app.command("twice")
    async def say_twice(chat: Chat) -> None:
        await chat.say("One")
        await chat.say("Two")

    return app


def told(telegram: FakeTelegram) -> Counter[str]:
    """How often each person was told the news."""
    sent = telegram.called("sendMessage")
    return Counter(str(call.params["chat_id"]) for call in sent if call.params["text"] == "News!")


def process(service: Service, later_s: int = LATER_S) -> Function:
    function = service.cold()
    function.clock = Later(later_s)
    function.invocation = Invocation(function.clock)
    return function


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """More than a minute ago a broadcast was begun, by an invocation that had no time to send it."""
    with on_telegram(tmp_path, monkeypatch) as telegram:
        service = Service(telegram, twice(bot()))
        ids = [telegram.user(f"u{n}", started=True).id for n in range(PEOPLE)]
        places = [Address("telegram", TOKEN.partition(":")[0], str(n), str(n)) for n in ids]

        async def queued() -> None:
            async with service.process.invoked(8, quiet=True):
                await service.app.broadcast(places, "News!", id="n1")

        with monkeypatch.context() as patch:
            patch.setattr(Relay, "offer", lambda relay, items: None)
            service.process.run(queued())
        service.process.close()
        service.process = process(service)
        yield service
        service.process.close()


def test_two_ticks_at_the_same_time_tell_nobody_twice(service: Service) -> None:
    async def both() -> None:
        processes = [process(service) for _ in range(2)]
        await asyncio.gather(*[each.touch(8) for each in processes])
        for each in processes:
            await each.stopped()

    asyncio.run(both())
    assert sorted(told(service.telegram).values()) == [1] * PEOPLE


def test_a_tick_takes_no_more_than_it_can_send_and_the_next_one_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caring, "MOST", PEOPLE // 2)
    for count in (PEOPLE // 2, PEOPLE, PEOPLE):
        assert service.invoke(TICK) == {"woken": 0, "left": 0}
        assert sorted(told(service.telegram).values()) == [1] * count
        service.process.close()
        service.process = process(service)


def test_a_tick_sends_of_a_broadcast_what_it_has_time_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invocation that somebody waits for does not: it ends once the answer is on its way."""
    monkeypatch.setattr(core, "OTHERS_S", 0.0)
    assert service.invoke(TICK) == {"woken": 0, "left": 0}
    assert sorted(told(service.telegram).values()) == [1] * PEOPLE


async def test_who_waits_for_a_process_is_let_in_while_it_sends_a_broadcast(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "OTHERS_S", 0.1)
    monkeypatch.setattr(caring, "SLICE_S", 0.1)
    frozen = Frozen(service.app, 12, {"telegram_api": service.telegram.api})
    frozen.function = process(service)
    service.telegram.fails(429, method="sendMessage", times=PEOPLE, retry_after=10)
    tick = asyncio.create_task(asgi_kit.request(frozen, "POST", "/tick"))
    async with asyncio.timeout(20):
        while not service.telegram.called("sendMessage"):  # noqa: ASYNC110  # another thread's server
            await asyncio.sleep(0.02)
    answer = await asgi_kit.request(frozen, "POST", "/telegram", BODY, headers=PROOF)
    assert (answer.status, json.loads(answer.body)["text"]) == (200, "Hello")
    assert (await tick).status == 200
    await frozen.function.stopped()


def test_timers_fire_and_old_things_are_purged_while_a_broadcast_is_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "OTHERS_S", 0.1)
    monkeypatch.setattr(caring, "SLICE_S", 0.1)
    monkeypatch.setattr(caring, "LOOK_S", 0.2)
    done: list[str] = []
    tick, purge = Runtime.tick, Runtime.purge

    async def noted(runtime: Runtime, *most: int, **limits: Any) -> int:
        done.append("tick")
        return await tick(runtime, *most, **limits)

    async def purged(runtime: Runtime) -> None:
        await purge(runtime)
        done.append("purge")

    monkeypatch.setattr(Runtime, "tick", noted)
    monkeypatch.setattr(Runtime, "purge", purged)
    service.telegram.fails(429, method="sendMessage", times=PEOPLE, retry_after=2)
    service.invoke(TICK)
    assert done[:3] == ["tick", "purge", "tick"]


def test_what_is_left_of_a_bot_that_is_gone_keeps_no_broadcast_waiting(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caring, "MOST", 10)
    gone = Address("telegram", "77", "5", "5")
    call = Call("sendMessage", {"chat_id": 5, "text": "Hi"}, bulk=True)
    items = tuple(OutboxItem(0, gone.lane, gone, "", 0, "", call, created_ms=1) for _ in range(10))

    async def left() -> None:
        async with service.process.invoked(8, quiet=True) as runtime:
            await runtime.store.commit(Commit(at_ms=1, outbox=items))
            first = await runtime.store.outbox(states=("queued",), limit=PEOPLE)
            again = tuple(replace(item, id=0) for item in first)
            await runtime.store.settle([Settled(item.id, "sent") for item in first])
            await runtime.store.commit(Commit(at_ms=1, outbox=again))

    service.process.run(left())
    service.invoke(TICK)
    assert len(told(service.telegram)) == 10


def test_a_process_that_has_not_ended_a_send_goes_on_with_the_others_at_its_next_tick(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the caretaker until the end of its time: for others, and not for itself."""
    monkeypatch.setattr(caring, "MOST", PEOPLE // 2)
    monkeypatch.setattr(caring, "GIVE_UP_S", 0.1)
    monkeypatch.setattr(core, "OTHERS_S", 0.5)
    service.telegram.hangs(carried_out=True, method="sendMessage", times=1)
    service.invoke(TICK)
    assert sorted(told(service.telegram).values()) == [1] * (PEOPLE // 2)
    other = process(service)
    asyncio.run(touched(other))
    assert len(told(service.telegram)) == PEOPLE // 2
    service.invoke(TICK)
    assert len(told(service.telegram)) > PEOPLE // 2
    assert set(told(service.telegram).values()) == {1}


async def touched(function: Function) -> None:
    await function.touch(8)
    await function.stopped()


def test_who_writes_does_not_wait_for_a_broadcast(service: Service) -> None:
    """The process is a new one, and looks for what others have left."""
    assert service.says("/start") == "Hello"
    assert told(service.telegram) == Counter()


def test_a_broadcast_that_is_too_long_to_be_looked_through_keeps_nobody_from_being_answered(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(start, "RESUME_S", -1.0)
    assert service.says("/start") == "Hello"
    assert service.invoke(TICK) == {"woken": 0, "left": 0}
    assert "more undelivered messages than can be looked through" in caplog.text


def test_what_was_left_behind_a_broadcast_that_is_too_long_is_found_by_a_later_tick(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caring, "MOST", 0)  # nothing of it is sent
    fault = service.telegram.fails(500, method="sendMessage", times=-1)
    service.invoke(service.update("/twice"), 700)
    fault.end()
    service.process.close()
    service.process = process(service, 2 * LATER_S)
    looked = Claims.free

    def slowly(claims: Claims, item: OutboxItem) -> bool:
        service.process.invocation.until -= 0.2
        return looked(claims, item)

    monkeypatch.setattr(Claims, "free", slowly)
    for _ in range(2 * PEOPLE // 5):
        assert service.telegram.chat(1001).texts == []
        service.invoke(TICK)
        if service.telegram.chat(1001).texts:
            break
    assert service.telegram.chat(1001).texts == ["One"]


@pytest.mark.parametrize(("budget_s", "term_s"), [(8, 10), (900, 60)])
def test_a_broadcast_goes_on_although_who_was_at_it_has_died(
    service: Service, budget_s: int, term_s: int
) -> None:
    async def dies() -> None:
        function = process(service)
        async with function.invoked(budget_s, quiet=True) as runtime:
            assert await caring.cares(runtime.store, function.clock, function.invocation)
            function.invocation.care = None  # it dies
        await function.stopped()

    asyncio.run(dies())
    assert service.invoke(TICK) == {"woken": 0, "left": 0}
    assert told(service.telegram) == Counter()  # it may be alive

    service.process.close()
    service.process = process(service, LATER_S + term_s + 1)
    service.invoke(TICK)
    assert sorted(told(service.telegram).values()) == [1] * PEOPLE


def test_who_cares_for_many_minutes_says_so_again_in_time(service: Service) -> None:
    async def care() -> None:
        function = process(service)
        assert isinstance(function.clock, Later)
        async with function.invoked(900, quiet=True) as runtime:
            for _ in range(5):
                assert await caring.cares(runtime.store, function.clock, function.invocation)
                function.clock.later_ms += 40_000
            # Nothing was sent for too long: others may have been it.
            function.clock.later_ms += 40_000
            assert not await caring.cares(runtime.store, function.clock, function.invocation)
        await function.stopped()

    asyncio.run(care())
