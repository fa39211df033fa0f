"""Short timers of a function go through a queue that delays them: they fire to the second."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat, Timeout
from legato.deploy.loader import load_app
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import SECRET, TOKEN, Service
from tests.unit.deploy.queue_kit import CREDENTIALS, TIMERS, FakeSqs, Message, fake_sqs, record

ADDER = Path(__file__).parents[3] / "examples" / "adder.py"
TICK = {"legato": "tick"}
QUIET = "You went quiet. /start to begin again."
AWAY = (500, {"__type": "com.amazonaws.sqs#InternalFailure", "message": "away"})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sqs() -> Iterator[FakeSqs]:
    with fake_sqs() as sqs:
        yield sqs


def later(clock: FakeClock) -> App:
    """A bot that waits for longer than a delay of SQS, and one that pauses between two steps."""
    app = App("later", apology="Sorry")

    @app.command("hour")
    async def hour(chat: Chat) -> None:
        try:
            await chat.ask("Well?", timeout=3600)
        except Timeout:
            await chat.say("an hour")

    @app.command("two")
    async def two(chat: Chat) -> None:
        await chat.run(clock.advance, 7)
        await chat.run(clock.advance, 0)
        await chat.say("both")

    return app


@pytest.fixture
def service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock, sqs: FakeSqs
) -> Iterator[Service]:
    monkeypatch.chdir(tmp_path)
    settings = {**CREDENTIALS, "TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET}
    for name, value in (settings | {"LEGATO_TIMERS": sqs.settings["LEGATO_TIMERS"]}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    monkeypatch.delenv("LEGATO_QUEUE", raising=False)
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        service = Service(telegram, load_app(str(ADDER)), clock)
        yield service
        service.process.close()


@pytest.fixture
def other(service: Service, clock: FakeClock) -> Service:
    """The same service with the other bot."""
    service.process.close()
    service.app = later(clock)
    service.process = service.cold()
    return service


def texts(service: Service) -> list[str]:
    return [str(call.params["text"]) for call in service.telegram.called("sendMessage")]


def delays(sqs: FakeSqs) -> list[int]:
    return [entry["DelaySeconds"] for entry in sqs.sent[TIMERS]]


def woken(service: Service, records: list[Message]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.invoke({"Records": records})["batchItemFailures"]
    return found


def test_the_silence_of_the_adder_speaks_after_twenty_seconds(
    service: Service, sqs: FakeSqs, clock: FakeClock
) -> None:
    assert service.says("/start") == "First number?"
    assert delays(sqs) == [20]
    clock.advance(20)
    service.restart()
    assert woken(service, sqs.records(TIMERS)) == []
    assert texts(service) == [QUIET]
    assert delays(sqs) == []


def test_a_wake_that_comes_twice_or_for_nothing_does_nothing(
    service: Service, sqs: FakeSqs, clock: FakeClock
) -> None:
    service.says("/start")
    wakes = sqs.records(TIMERS)
    clock.advance(19)
    service.says("7")
    assert delays(sqs) == [20]
    clock.advance(1)
    assert woken(service, wakes) == []  # of the question before
    assert texts(service) == []
    clock.advance(19)
    second = sqs.records(TIMERS)
    for _ in range(2):
        assert woken(service, second) == []
    assert texts(service) == [QUIET]
    nobody = json.dumps({"legato": "wake", "key": "telegram:4200:9:9:", "at": 1})
    assert woken(service, [record(nobody, TIMERS), record("{}", TIMERS)]) == []


def test_a_wake_that_comes_too_early_is_sent_once_more(
    service: Service, sqs: FakeSqs, clock: FakeClock
) -> None:
    """Clocks differ."""
    service.says("/start")
    clock.advance(17.5)
    assert woken(service, sqs.records(TIMERS)) == []
    assert (texts(service), delays(sqs)) == ([], [3])
    clock.advance(2.5)
    assert woken(service, sqs.records(TIMERS)) == []
    assert texts(service) == [QUIET]


def test_a_lost_wake_is_made_up_for_by_the_tick(
    service: Service, sqs: FakeSqs, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    sqs.refuse = [AWAY] * 5
    assert service.says("/start") == "First number?"  # it is no reason to answer nothing
    assert "1 timers fire with the next tick" in caplog.text
    assert delays(sqs) == []
    clock.advance(20)
    assert service.invoke(TICK)["woken"] == 1
    assert texts(service) == [QUIET]


def test_timers_that_are_too_far_away_for_a_delay_get_it_from_the_tick_before_them(
    other: Service, sqs: FakeSqs, clock: FakeClock
) -> None:
    other.says("/hour")
    other.invoke(TICK)
    assert delays(sqs) == []
    clock.advance(3600 - 61.5)
    other.restart()
    other.invoke(TICK)
    assert delays(sqs) == [62]
    clock.advance(61.5)
    assert woken(other, sqs.records(TIMERS)) == []
    assert texts(other) == ["an hour"]


def test_a_tick_sends_no_second_wake_for_short_timers(
    service: Service, sqs: FakeSqs, clock: FakeClock
) -> None:
    service.says("/start")
    clock.advance(5)
    service.invoke(TICK)
    assert delays(sqs) == [20]


def test_a_paused_turn_goes_on_at_once(other: Service, sqs: FakeSqs) -> None:
    other.says("/two")
    assert texts(other) == []
    assert delays(sqs) == [0]
    other.restart()
    assert woken(other, sqs.records(TIMERS)) == []
    assert texts(other) == ["both"]


def test_a_wake_for_which_there_is_no_time_comes_again(
    service: Service, sqs: FakeSqs, clock: FakeClock
) -> None:
    service.says("/start")
    clock.advance(20)
    wakes = sqs.records(TIMERS)
    failed = service.invoke({"Records": wakes}, 500)["batchItemFailures"]
    assert failed == [{"itemIdentifier": wakes[0]["messageId"]}]
    again = [one | {"attributes": {"ApproximateReceiveCount": "2"}} for one in wakes]
    assert woken(service, again) == []
    assert texts(service) == [QUIET]
