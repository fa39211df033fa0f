"""What AWS invokes a function with, besides requests to its URL, and what it wants back."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import Happened
from legato.app.runtime import Runtime
from legato.deploy.function import sources
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.errors import StoreTooMuch, StoreUnavailable
from tests.unit.deploy.function_kit import BODY, SECRET, bot, on_telegram, seen

PROOF = "X-Telegram-Bot-Api-Secret-Token"


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        function = Function(bot(), {"telegram_api": telegram.api})
        yield function
        function.close()


def v1(**more: Any) -> dict[str, Any]:
    """A request by a REST API."""
    return {
        "httpMethod": "POST",
        "path": "/telegram",
        "headers": {PROOF: SECRET},
        "multiValueHeaders": {PROOF: ["no", SECRET]},
        "queryStringParameters": {"a": "1"},
        "multiValueQueryStringParameters": {"a": ["1", "2"]},
        "requestContext": {"stage": "prod"},
        "body": BODY.decode(),
        "isBase64Encoded": False,
    } | more


def test_a_rest_api_is_answered_in_its_form(function: Function) -> None:
    answer = Lambda(function)(v1())
    assert answer["multiValueHeaders"] == {"content-type": ["application/json"]}
    assert "headers" not in answer
    assert json.loads(answer["body"])["text"] == "Hello"


@pytest.mark.parametrize("several", [False, True])
def test_a_load_balancer_gets_a_status_line_and_sends_its_query_as_it_came(
    function: Function, several: bool
) -> None:
    event = v1(
        requestContext={"elb": {"targetGroupArn": "arn"}},
        body=base64.b64encode(BODY).decode(),
        isBase64Encoded=True,
    )
    for name in ("headers", "queryStringParameters") if several else ():
        del event[name]
    for name in () if several else ("multiValueHeaders", "multiValueQueryStringParameters"):
        del event[name]
    answer = Lambda(function)(event)
    assert (answer["statusCode"], answer["statusDescription"]) == (200, "200 OK")
    assert answer["isBase64Encoded"] is False
    assert ("multiValueHeaders" in answer) is several


def test_the_secret_is_checked_in_every_form(function: Function) -> None:
    wrong = v1(headers={PROOF: "x"}, multiValueHeaders={PROOF: ["x"]})
    assert Lambda(function)(wrong)["statusCode"] == 401
    assert Lambda(function)(v1(httpMethod="GET"))["statusCode"] == 405
    assert Lambda(function)(v1(path="/elsewhere"))["statusCode"] == 404


@pytest.mark.parametrize("path", ["/healthz", "/prod/healthz"])
def test_a_load_balancer_that_asks_is_told_that_the_function_is_well(
    function: Function, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anything being started for it: also while the store is away."""
    monkeypatch.setenv("LEGATO_STORE", "postgresql://127.0.0.1:9/none")
    asks = {"httpMethod": "GET", "path": path, "body": "", "isBase64Encoded": False}
    asks["requestContext"] = {"elb": {"targetGroupArn": "arn"}}
    for headers in ("headers", "multiValueHeaders"):
        answer = Lambda(function)(asks | {headers: {}})
        assert (answer["statusCode"], answer["statusDescription"]) == (200, "200 OK")


RECORDS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "s3": (
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {"name": "box"},
                "object": {"key": "a+cat%21.png", "sequencer": "0A1B"},
            },
        },
        ("s3:ObjectCreated:Put", "box/a cat!.png"),
    ),
    "sqs": (
        {
            "eventSource": "aws:sqs",
            "messageId": "m1",
            "body": '{"order": 7}',
            "eventSourceARN": "arn:aws:sqs:eu-west-1:1:orders",
        },
        ("sqs:orders", "orders"),
    ),
    "sns": (
        {
            "EventSource": "aws:sns",
            "Sns": {"TopicArn": "arn:aws:sns:eu-west-1:1:news", "MessageId": "n1", "Subject": None},
        },
        ("sns:news", ""),
    ),
    "dynamodb": (
        {
            "eventSource": "aws:dynamodb",
            "eventName": "INSERT",
            "eventID": "e1",
            "eventSourceARN": "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/2026",
            "dynamodb": {"SequenceNumber": "11"},
        },
        ("dynamodb:INSERT", "orders"),
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_starts_a_dialog_once_however_often_it_comes(
    function: Function, name: str
) -> None:
    record, expected = RECORDS[name]
    for _ in range(2):
        answer = Lambda(function)({"Records": [record]})
        assert answer in ({"happened": 1}, {"batchItemFailures": []})
    assert [(event.kind, event.subject) for event in seen] == [expected]


def test_a_schedule_is_named_by_its_rule_and_other_events_by_source_and_type(
    function: Function,
) -> None:
    rule = "arn:aws:events:eu-west-1:1:rule/nightly"
    scheduled = {"source": "aws.events", "detail-type": "Scheduled Event", "resources": [rule]}
    other = {"source": "shop", "detail-type": "Order Placed", "detail": {"order": 7}, "id": "x"}
    Lambda(function)(scheduled | {"id": "1", "time": "2026-11-28T09:00:00Z"})
    Lambda(function)(other)
    assert [event.kind for event in seen] == ["schedule:nightly", "shop:Order Placed"]
    assert seen[1].data == {"order": 7}


def test_a_queue_is_told_which_messages_are_to_come_again(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = RECORDS["sqs"][0]
    batch = [sqs | {"messageId": name} for name in ("good", "bad", "last")]
    _fail(monkeypatch, "bad")
    answer = Lambda(function)({"Records": batch})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert len(seen) == 2


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        "[" * 980 + "]" * 980,
        '{"n": 123456789012345678901234567890}',
        '{"n": 1e400}',
        "\ud800",
        '"\\ud800"',
        "",
    ],
)
def test_a_strange_message_does_no_harm_to_its_neighbours(function: Function, body: str) -> None:
    sqs = RECORDS["sqs"][0]
    answer = Lambda(function)(
        {"Records": [sqs | {"messageId": "strange", "body": body}, sqs | {"messageId": "good"}]}
    )
    assert answer == {"batchItemFailures": []}
    assert [event.data for event in seen if event.id.endswith(":good")] == [{"order": 7}]
    assert len(seen) == 2


LONE = "\ud83d"


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ({"source": "s", "detail-type": "t", "id": "1", "detail": {"a": LONE}}, {"a": "\ufffd"}),
        ({"source": "s", "detail-type": "t", "id": LONE, "detail": {LONE: [1]}}, {"\ufffd": [1]}),
        ({"source": LONE, "detail-type": LONE, "detail": {"x": float("nan")}}, {"x": None}),
        ({"source": "s", "detail-type": "t", "detail": {"x": 2**80}}, {"x": 2**80}),
        ({"Records": [{"eventSource": "aws:ses", "ses": LONE}]}, None),
    ],
)
def test_text_that_is_no_unicode_and_numbers_that_are_no_json_are_told_as_far_as_they_can_be(
    function: Function, event: dict[str, Any], data: Any
) -> None:
    """The service's runtime has decoded them, and lets them pass."""
    for _ in range(2):
        assert Lambda(function)(event) == {"happened": 1}
    assert len(seen) == 1
    assert data in (None, seen[0].data)


def test_a_bug_fails_its_own_message_only(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Runtime.handle

    async def failing(runtime: Runtime, event: Happened) -> Any:
        if event.id.endswith("bad"):
            raise ZeroDivisionError
        return await handle(runtime, event)

    monkeypatch.setattr(Runtime, "handle", failing)
    sqs = RECORDS["sqs"][0]
    batch = [sqs | {"messageId": name} for name in ("good", "bad", "last")]
    assert Lambda(function)({"Records": batch}) == {
        "batchItemFailures": [{"itemIdentifier": "bad"}]
    }
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("queue", "failed"), [("orders", ["bad"]), ("orders.fifo", ["bad", "last"])]
)
def test_only_in_a_fifo_queue_a_group_waits_for_its_failed_message(
    function: Function, monkeypatch: pytest.MonkeyPatch, queue: str, failed: list[str]
) -> None:
    """A standard queue has groups, too: they share its time."""
    sqs = RECORDS["sqs"][0] | {"eventSourceARN": f"arn:aws:sqs:eu-west-1:1:{queue}"}
    sqs["attributes"] = {"MessageGroupId": "tenant"}
    _fail(monkeypatch, "bad")
    batch = [sqs | {"messageId": name} for name in ("good", "bad", "last")]
    assert Lambda(function)({"Records": batch}) == {
        "batchItemFailures": [{"itemIdentifier": name} for name in failed]
    }


def test_what_is_more_than_the_store_takes_stops_no_stream(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Runtime.handle

    async def failing(runtime: Runtime, event: Happened) -> Any:
        if event.id.endswith("big"):
            raise StoreTooMuch("more than DynamoDB takes at once")
        return await handle(runtime, event)

    monkeypatch.setattr(Runtime, "handle", failing)
    row = RECORDS["dynamodb"][0]
    batch = [row | {"eventID": name, "dynamodb": {"SequenceNumber": name}} for name in ("big", "3")]
    assert Lambda(function)({"Records": batch}) == {"batchItemFailures": []}
    assert len(seen) == 1
    runtime = function._runtime
    assert runtime is not None
    found = function.run(runtime.store.get("dead-update", "event::dynamodb:orders:big"))
    assert b'"SequenceNumber":"big"' in (found or b"")


def test_what_follows_a_failed_row_of_a_stream_waits_for_it(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = RECORDS["dynamodb"][0]
    batch = [
        row | {"eventID": name, "dynamodb": {"SequenceNumber": name}} for name in ("1", "bad", "3")
    ]
    _fail(monkeypatch, "bad")
    answer = Lambda(function)({"Records": batch})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert len(seen) == 1


def test_a_service_that_takes_no_list_of_failures_is_failed(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail(monkeypatch, "box")
    with pytest.raises(StoreUnavailable):
        Lambda(function)({"Records": [RECORDS["s3"][0]]})


def test_a_message_that_is_no_json_comes_as_text_and_strange_records_are_events_too() -> None:
    assert sources.happened(RECORDS["sqs"][0] | {"body": "hello"}).data == "hello"
    for strange in ({}, {"eventSource": "aws:s3"}, {"eventSource": "aws:unheard-of"}):
        assert sources.happened(strange).id
    assert sources.records({"Records": "none"}) == []
    kafka = {"eventSource": "aws:kafka", "eventSourceARN": "arn:aws:kafka:eu-central-1:1:topic"}
    first, same, second = (sources.happened(kafka | {"value": value}) for value in ("a", "a", "b"))
    assert first.id == same.id != second.id  # nothing of a source that we do not know is lost
    assert first.kind == "kafka:topic"
    assert sources.records([1]) == []


def _fail(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """The store is away for events with this word in their ids."""
    handle = Runtime.handle

    async def failing(runtime: Runtime, event: Happened) -> Any:
        if word in event.id:
            raise StoreUnavailable("away")
        return await handle(runtime, event)

    monkeypatch.setattr(Runtime, "handle", failing)
