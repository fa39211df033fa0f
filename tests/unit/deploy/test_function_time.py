"""An invocation ends, and with it whatever has not come to its end: nothing of it is lost or goes on for ever."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from legato.app.runtime import Runtime
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.function.invocation import Invocation
from legato.deploy.function.yandex import Yandex
from legato.errors import StoreUnavailable
from legato.model.records import RUNNING
from legato.testing.clock import FakeClock
from tests.unit.deploy.function_kit import Jumping, Service
from tests.unit.deploy.time_kit import AFTER_S, SHORT_MS, TICK, Work, sent, stored, working


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def service(work: Work, tmp_path: Path) -> Iterator[Service]:
    with working(work, tmp_path) as service:
        yield service


def test_a_turn_that_has_no_time_for_its_next_step_goes_on_at_the_next_tick(
    service: Service, work: Work
) -> None:
    assert service.says("/two") == ""  # what it has said is delivered, not in the answer
    assert (work.ran, sent(service)) == (["first"], ["half"])

    assert service.invoke(TICK) == {"woken": 1, "left": 0}
    assert (work.ran, sent(service)) == (["first", "second"], ["half", "all"])
    assert stored(service) is None


def test_a_paused_turn_goes_on_before_what_the_person_says_next_and_in_another_process(
    service: Service, work: Work
) -> None:
    service.says("/two")
    service.restart()

    assert service.says("hello?") == ""
    assert (work.ran, sent(service)) == (["first", "second"], ["half", "all"])


@pytest.mark.parametrize("cold", [False, True])
def test_an_update_that_comes_when_there_is_no_time_at_all_is_applied_later(
    service: Service, work: Work, cold: bool
) -> None:
    service.says("/asks")
    event = service.update("Bob")
    status = service.invoke(event, 400)["statusCode"]
    assert work.ran == ["first"]

    if cold:
        service.restart()
    service.invoke(TICK)
    if status != 200:  # else it lies in the mailbox
        assert service.invoke(event)["statusCode"] == 200
    assert work.ran == ["first", "second"]
    assert sent(service)[0] == "Name?"
    assert service.invoke(event)["statusCode"] == 200
    last = json.loads(service.invoke(event).get("body", "{}")).get("text", "")
    assert "Hi Bob" in [*sent(service), last]


def test_a_step_that_is_cut_off_runs_again_once_its_invocation_is_surely_over(
    service: Service, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.hangs = True
    event = service.update("/long")
    assert (
        service.invoke(event, SHORT_MS)["statusCode"] == 200
    )  # it is written: no need to repeat it
    assert (
        "conversation telegram:4200:1001:1001: (update telegram:4200:1) did not end" in caplog.text
    )
    assert (work.ran, work.ended) == (["long"], [])

    work.hangs = False
    assert service.invoke(TICK)["woken"] == 0  # somebody may still be at it
    work.clock.advance(AFTER_S)
    assert service.invoke(TICK)["woken"] == 1
    assert (work.ran, work.ended, sent(service)) == (["long"] * 2, ["long"], ["done"])


def test_while_one_process_is_at_a_conversation_another_one_refuses_its_updates(
    service: Service, work: Work
) -> None:
    work.hangs = True
    event = service.update("/long")
    service.invoke(event, SHORT_MS)
    service.crash()  # as seen by another process: the first one is away, and its time is not over
    work.hangs = False
    for again in (event, service.update("hello?")):
        refused = service.invoke(again)
        assert (refused["statusCode"], refused["headers"]["retry-after"]) == (503, "1")
    row = stored(service)
    assert row is not None
    assert row.status == RUNNING

    work.clock.advance(AFTER_S)
    assert service.invoke(event)["statusCode"] == 200
    assert work.ended == ["long"]
    assert sent(service) == ["done"]


def test_a_task_that_nobody_awaits_is_named_and_cancelled(
    service: Service, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.hangs = True
    service.says("/stray")
    assert sent(service) == ["done"]
    assert work.background.cancelled()
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "Work.hanging was still running" in told[0].getMessage()
    assert "Await it in a step" in told[0].getMessage()


def test_tasks_that_a_step_awaits_are_no_strays_even_when_they_are_cut_off(
    service: Service, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    service.says("/crowd")
    assert sent(service) == ["done"]
    assert sorted(work.ended) == ["a", "b", "c"]
    assert "ERROR" not in {record.levelname for record in caplog.records}

    work.hangs = True
    service.invoke(service.update("/crowd"), SHORT_MS)
    assert sorted(work.ran) == sorted("abcabc")
    assert "was still running" not in caplog.text
    assert "did not end within" in caplog.text


def test_what_could_not_be_delivered_is_delivered_by_the_next_invocation(
    service: Service,
) -> None:
    service.clock = None  # a chat that failed has to wait a moment
    service.restart()
    fault = service.telegram.fails(500, method="sendMessage", times=-1)
    assert service.invoke(service.update("/leaves"), SHORT_MS)["statusCode"] == 503
    fault.end()

    assert service.invoke(TICK) == {"woken": 0, "left": 0}
    assert service.telegram.chat(1001).texts == ["1", "2"]  # the third is the answer to the update


RULE = {"source": "aws.events", "detail-type": "Scheduled Event", "resources": ["rule/tick"]}
TIMER = {
    "event_metadata": {"event_type": "yandex.cloud.events.serverless.triggers.TimerMessage"},
    "details": {"trigger_id": "tick"},
}


@pytest.mark.parametrize(
    ("handler", "tick"),
    [(Lambda, TICK), (Lambda, RULE), (Yandex, {"messages": [TIMER]})],
    ids=["tick", "rule", "timer"],
)
def test_what_a_dead_process_could_not_deliver_is_delivered_by_another_one_once_its_time_is_over(
    service: Service,
    handler: Callable[[Function], Callable[[object], object]],
    tick: dict[str, object],
) -> None:
    service.clock = clock = Jumping()
    service.restart()
    fault = service.telegram.fails(500, method="sendMessage", times=-1)
    service.invoke(service.update("/leaves"), SHORT_MS)
    service.crash()
    fault.end()
    handler(service.process)(tick | {"id": "1"})
    assert service.telegram.chat(1001).texts == []  # the other one may be alive

    clock.later_s += 5
    handler(service.process)(tick | {"id": "2"})
    assert service.telegram.chat(1001).texts == ["1", "2"]


@pytest.mark.parametrize("tick", [TICK, RULE], ids=["tick", "rule"])
def test_every_tick_sees_to_it_that_what_is_old_is_forgotten(
    service: Service, monkeypatch: pytest.MonkeyPatch, tick: dict[str, object]
) -> None:
    done: list[Runtime] = []

    async def purge(runtime: Runtime) -> None:
        done.append(runtime)

    monkeypatch.setattr(Runtime, "purge", purge)
    for _ in range(2):
        service.invoke(tick)
    assert len(done) == 1  # once an hour


def test_an_event_that_is_cut_off_comes_again_and_is_finished_once(
    service: Service, work: Work
) -> None:
    record = {
        "eventSource": "aws:sqs",
        "messageId": "m1",
        "body": "7",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:1:orders",
    }
    failed = {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    work.hangs = True
    assert service.invoke({"Records": [record]}, SHORT_MS) == failed
    work.hangs = False
    assert service.invoke({"Records": [record]}) == failed  # somebody may still be at it
    work.clock.advance(AFTER_S)
    for _ in range(2):
        assert service.invoke({"Records": [record]}) == {"batchItemFailures": []}
    assert work.ended == ["order"]


def test_forgetting_what_is_old_does_not_outlast_the_invocation(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []

    async def long(runtime: Runtime) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ends.append("cut off")
            raise
        ends.append("over")

    monkeypatch.setattr(Runtime, "purge", long)
    assert service.invoke(TICK, SHORT_MS) == {"woken": 0, "left": 0}
    assert ends == ["cut off"]


def test_a_store_that_cannot_be_read_asks_for_the_update_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.invoke(TICK)
    runtime = service.process._runtime
    assert runtime is not None

    async def refuse(*args: object, **options: object) -> None:
        raise StoreUnavailable("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(runtime.store), "due", refuse)
        assert service.invoke(service.update("/leaves"))["statusCode"] == 503
    assert service.says("/leaves") == "3"


@pytest.mark.parametrize("budget_s", [-3.0, 0.0, 0.4])
def test_nothing_is_begun_in_an_invocation_that_is_over_when_it_begins(budget_s: float) -> None:
    clock = FakeClock()
    invocation = Invocation(clock)
    invocation.begin(budget_s)
    assert (invocation.left_s, invocation.may_begin()) == (0.0, False)
    assert invocation.sends_until_ms() > clock.now_ms()
