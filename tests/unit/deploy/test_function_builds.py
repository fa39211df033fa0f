"""A function whose requests go back to an older version: conversations stay with the version that can replay them."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.deploy.function.aws import number_of
from legato.deploy.function.builds import AT_ONCE
from legato.engine import journal
from legato.engine.outcomes import Handed
from legato.model.events import MessageReceived, User
from legato.model.ids import place_of
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import request
from tests.unit.deploy.queue_kit import QUEUE, TIMERS, fake_sqs
from tests.unit.deploy.versions_kit import TICK, Versions, deployed, on_aws, shop

KEY = "telegram:4200:1001:1001:"


@pytest.fixture
def telegram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTelegram]:
    with on_aws(tmp_path, monkeypatch) as telegram:
        yield telegram


@pytest.fixture
def versions(telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch) -> Iterator[Versions]:
    with deployed(telegram, shop(1), shop(2)) as versions:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{versions.port}")
        yield versions


def builds(versions: Versions) -> list[int]:
    return [journal.decode_state(row.state).build for row in versions.rows()]


def test_a_conversation_goes_on_under_the_version_that_it_was_begun_with(
    versions: Versions,
) -> None:
    versions.says("/order")
    assert builds(versions) == [2]
    versions.live = 1
    versions.says("tea")
    versions.ends(2)  # a cold one takes over
    versions.says("milk")
    versions.says("/order")
    versions.says("tea")
    assert versions.heard() == ["v2 0?", "v2 1?", "v2: tea milk", "v1 0?", "v1: tea"]
    assert [number for number, _ in versions.calls] == [2, 2]


def test_its_timer_fires_at_the_tick_of_the_older_version(versions: Versions) -> None:
    versions.says("/order")
    versions.live = 1
    assert versions.clock is not None
    versions.clock.advance(61)  # type: ignore[attr-defined]
    assert versions.invoke(TICK) == {"woken": 1, "left": 0}
    assert versions.heard() == ["v2 0?", "v2 quiet"]
    assert versions.invoke(TICK) == {"woken": 0, "left": 0}


def test_a_command_ends_it_and_begins_the_older_dialog_after_its_last_word(
    versions: Versions,
) -> None:
    versions.says("/order")
    versions.live = 1
    versions.says("/order")
    assert versions.heard() == ["v2 0?", "v2 bye", "v1 0?"]
    assert builds(versions) == [1]


def test_what_the_older_version_said_goes_before_what_the_newer_one_says(
    versions: Versions,
) -> None:
    versions.says("/order")
    versions.live = 1
    versions.says("/hours")
    assert versions.heard() == ["v2 0?", "v1 9 to 5", "v2 0?"]


def test_events_of_other_sources_are_handed_over_too(versions: Versions) -> None:
    versions.says("/order")
    versions.live = 1
    body = json.loads(versions.update("tea")["body"])
    function = versions.process(1)
    versions.invoke(TICK)
    thread = versions._threads[1]
    thread.submit(
        lambda: function.run(function.trusted("telegram", json.dumps(body).encode(), 5))
    ).result(60)
    assert versions.heard() == ["v2 0?", "v2 1?"]


def test_letters_and_wakes_of_queues_are_handed_over_too(
    telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_sqs() as sqs, deployed(telegram, shop(1), shop(2)) as versions:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{versions.port}")
        for name, value in sqs.settings.items():
            monkeypatch.setenv(name, value)

        def works(queue: str = QUEUE) -> None:
            done: dict[str, list[str]] = {"batchItemFailures": []}
            assert versions.invoke({"Records": sqs.records(queue)}) == done

        versions.says("/order")
        works()
        versions.live = 1
        versions.says("tea")
        sqs.records(TIMERS)
        works()
        assert versions.heard() == ["v2 0?", "v2 1?"]
        assert versions.clock is not None
        versions.clock.advance(60)  # type: ignore[attr-defined]
        works(TIMERS)  # what the newer version has sent
        assert versions.heard() == ["v2 0?", "v2 1?", "v2 quiet"]
        assert len(versions.calls) == 2


def test_an_answer_that_was_lost_is_given_again_by_the_older_version(versions: Versions) -> None:
    versions.says("/order")
    tea = versions.update("tea")
    lost = versions.invoke(tea)
    assert json.loads(lost["body"])["text"] == "v2 1?"
    versions.live = 1
    again = versions.invoke(tea)
    assert again["body"] == lost["body"]
    assert versions.invoke(versions.update("milk"))["statusCode"] == 200
    assert versions.heard() == ["v2 0?", "v2: tea milk"]


def test_the_newer_version_does_what_it_is_handed_and_nothing_else(versions: Versions) -> None:
    assert versions.clock is not None
    versions.says("/order")
    versions.live = 1
    person = json.loads(versions.update("/order")["body"])
    for part in (person["message"]["from"], person["message"]["chat"]):
        part["id"] = 2002
    versions.invoke(request("POST", "/telegram", json.dumps(person)))  # another one, in version 1
    versions.clock.advance(30)  # type: ignore[attr-defined]
    versions.says("tea")
    versions.clock.advance(31)  # type: ignore[attr-defined]
    before = {row.key: row.head for row in versions.rows()}
    assert handed(versions, Handed(KEY, said("milk")))["outcome"] == "taken"
    after = {row.key: row.head for row in versions.rows()}
    other = "telegram:4200:2002:2002:"
    assert after == {other: before[other]}  # due, and left to the version that is live


def said(text: str) -> MessageReceived:
    return MessageReceived(
        id=f"telegram:4200:{text}", place=place_of(KEY), user=User("1001"), text=text, private=True
    )


def letter(work: Handed, until_ms: int) -> dict[str, Any]:
    """What one version sends to another."""
    text = b64encode(journal.encode(work)).decode()
    return {"legato": "turn", "work": text, "until_ms": until_ms}


def handed(versions: Versions, work: Handed) -> Any:
    """Hands something to version 2, as version 1 does."""
    assert versions.clock is not None
    return versions.invoke(letter(work, versions.clock.now_ms() + 5000), "2")


# -- who may -----------------------------------------------------------------------------------


def test_nobody_hands_over_by_a_request_or_an_event(versions: Versions) -> None:
    versions.says("/order")
    versions.says("tea")
    milk = Handed(KEY, said("milk"))
    forged = letter(milk, 2**60)
    text = json.dumps(forged)
    attempts: list[dict[str, Any]] = [
        request("POST", "/telegram", text, {}),
        request("POST", "/telegram", text),  # with the webhook's secret: no update
        request("POST", "/", text),
        request("GET", "/", text),
        request("POST", "/telegram", text, isBase64Encoded=False)
        | {"queryStringParameters": forged},
        {"httpMethod": "POST", "path": "/telegram", "body": text, "headers": {}},
        {"requestContext": {"connectionId": "c", "eventType": "MESSAGE"}, "body": text},
        {"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": text}]},
        {"Records": [forged | {"eventSource": "aws:s3"}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": text}}]},
        {"detail-type": "x", "detail": forged, "source": "aws.events"},
        forged,  # whoever calls the alias: a trigger that gives what devices send
    ]
    for attempt in attempts:
        for qualifier in ("live", "2") if "legato" not in attempt else ("live",):
            try:
                answer = versions.invoke(attempt, qualifier)
            except Exception:  # noqa: BLE001  # refused one way or another
                continue
            assert "outcome" not in answer, attempt
    assert [row.head for row in versions.rows()] == [2]
    assert handed(versions, milk)["outcome"] == "taken"  # it would have been


def test_a_version_has_its_number_where_versions_may_call_each_other() -> None:
    for version, handover, number in (("7", "on", 7), ("7", "", 0), ("$LATEST", "on", 0)):
        found = {"AWS_LAMBDA_FUNCTION_VERSION": version, "LEGATO_HANDOVER": handover}
        assert number_of(found) == number
    assert number_of({}) == 0


def test_versions_that_may_not_call_each_other_decide_alone(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEGATO_HANDOVER")
    versions.says("/order")
    assert b"build" not in versions.rows()[0].state
    versions.live = 1
    versions.says("tea")
    assert versions.calls == []
    assert versions.heard() == ["v2 0?", "v1 0?"]


# -- what goes wrong ---------------------------------------------------------------------------


def test_where_the_newer_version_is_gone_the_policy_decides(versions: Versions) -> None:
    versions.says("/order")
    versions.live = 1
    del versions.apps[2]
    versions.says("tea")
    assert versions.heard() == ["v2 0?", "v1 0?"]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((404, {}, b"<html>a proxy</html>"), "HTTP 404"),
        ((403, {"x-amzn-errortype": "AccessDeniedException"}, b"{}"), "needs lambda:InvokeFunction"),
        ((429, {"x-amzn-errortype": "TooManyRequestsException"}, b"{}"), "no concurrency left"),
        ((429, {}, b'{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}'), "with one it stands still"),
        ((500, {"x-amzn-errortype": "ServiceException"}, b"{}"), "HTTP 500 Service"),
        ((200, {}, b'{"woken":0,"left":0}'), "knows of no other versions"),
        ((200, {"x-amz-function-error": "Unhandled"}, b'{"errorMessage":"died"}'), "died"),
    ],
)  # fmt: skip
def test_what_the_newer_version_does_not_take_comes_again(
    versions: Versions, caplog: pytest.LogCaptureFixture, refusal: Any, told: str
) -> None:
    caplog.set_level(logging.WARNING)
    versions.says("/order")
    versions.live = 1
    tea = versions.update("tea")
    versions.refuse = [refusal]
    assert versions.answer(tea) == 503
    assert told in caplog.text
    assert builds(versions) == [2]
    assert versions.answer(tea) == 200
    assert versions.heard() == ["v2 0?", "v2 1?"]


def test_a_service_that_cannot_be_reached_loses_nothing(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.says("/order")
    versions.live = 1
    tea = versions.update("tea")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        assert versions.answer(tea) == 503
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        assert versions.answer(tea) == 503
    assert versions.answer(tea) == 200
    assert versions.heard() == ["v2 0?", "v2 1?"]


def test_a_newer_version_that_dies_after_its_commit_is_not_asked_for_what_it_had_said(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.says("/order")
    versions.live = 1
    order = versions.update("/order")
    newer = versions.process(2)

    async def dies(runtime: object, lane: str) -> None:
        raise MemoryError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(newer, "delivered", dies)
        assert versions.answer(order) == 503
    assert versions.heard() == ["v2 0?", "v2 bye"]  # by the older one
    assert versions.answer(order) == 200
    assert versions.heard() == ["v2 0?", "v2 bye", "v1 0?"]


def test_what_the_newer_version_could_not_deliver_is_delivered_by_the_older_one(
    versions: Versions,
) -> None:
    versions.clock = None  # a chat that failed has to wait a moment
    for number in (1, 2):
        versions.ends(number)
    versions.says("/order")
    versions.live, versions.left_ms = 1, 4000
    fault = versions.telegram.fails(500, method="sendMessage", times=1)
    versions.answer(versions.update("/order"))
    fault.end()
    versions.invoke(TICK)
    assert versions.heard() == ["v2 0?", "v2 bye", "v1 0?"]


def test_a_step_of_the_newer_version_that_is_cut_off_is_finished_in_a_later_call(
    telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, ran, hangs = App("new"), [], [True]

    async def work() -> str:
        ran.append("work")
        await asyncio.sleep(3600 if hangs else 0)
        return "done"

    @new.command("order")
    async def order(chat: Chat) -> None:
        await chat.ask("Ready?", key="ready")
        await chat.say(await chat.run(work))

    with deployed(telegram, shop(1), new) as versions:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{versions.port}")
        versions.says("/order")
        versions.live, versions.left_ms = 1, 2000
        yes = versions.update("yes")
        assert versions.answer(yes) == 503
        assert ran == ["work"]
        hangs.clear()
        assert versions.answer(yes) == 503  # somebody may still be at it
        assert versions.clock is not None
        versions.clock.advance(5)  # type: ignore[attr-defined]
        assert versions.answer(yes) == 200
        assert (ran, versions.heard()) == (["work"] * 2, ["Ready?", "done"])


def test_nothing_is_handed_over_when_there_is_no_time_for_it(versions: Versions) -> None:
    versions.says("/order")
    versions.live = 1
    tea = versions.update("tea")
    assert versions.invoke(tea, left_ms=400)["statusCode"] in (200, 503)
    assert versions.calls == []
    versions.invoke(TICK)
    versions.answer(tea)
    assert versions.heard() == ["v2 0?", "v2 1?"]


def test_the_newer_version_has_the_time_that_the_older_one_has(versions: Versions) -> None:
    assert versions.clock is not None
    versions.says("/order")
    versions.live = 1
    versions.says("tea")
    (_, payload) = versions.calls[0]
    assert payload["until_ms"] - versions.clock.now_ms() == 7500
    assert versions.process(1).invocation.left_s == 7.5
    assert versions.process(2).invocation.left_s == 7.0  # the answer is there before it is too late


def test_only_some_are_handed_over_at_the_same_time(versions: Versions) -> None:
    assert versions.clock is not None
    people = range(2001, 2001 + 2 * AT_ONCE)
    for person in people:
        body = json.loads(versions.update("/order")["body"])
        for part in (body["message"]["from"], body["message"]["chat"]):
            part["id"] = person
        versions.invoke(request("POST", "/telegram", json.dumps(body)))
    versions.live = 1
    versions.clock.advance(61)  # type: ignore[attr-defined]
    assert versions.invoke(TICK)["woken"] == len(people)
    assert len(versions.calls) == len(people)
    assert 1 < versions.most <= AT_ONCE
    assert versions.rows() == []
