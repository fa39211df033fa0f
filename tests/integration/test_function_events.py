"""How we read the events of AWS, judged by those who read them, too: mangum and AWS's own powertools.

The events are AWS's samples (tests/fixtures/aws), and variations of them.
"""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest

from legato.abc import HttpResponse
from legato.deploy.function import sources
from legato.deploy.function.aws import answered, read_request

mangum = pytest.importorskip("mangum")
models = pytest.importorskip("aws_lambda_powertools.utilities.parser.models")

SAMPLES = Path(__file__).parents[1] / "fixtures" / "aws"
ODD = 'naïve "quotes" \N{GRINNING FACE}'


def sample(name: str) -> dict[str, Any]:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


V1, V2, ALB = (
    sample(name) for name in ("apigateway-aws-proxy", "apigateway-http-api-proxy", "alb-request")
)
URL = {key: value for key, value in V2.items() if key != "stageVariables"} | {"cookies": None}
"""A function's own address sends what an HTTP API does."""


def plain(event: dict[str, Any], text: str) -> dict[str, Any]:
    return event | {"body": text, "isBase64Encoded": False}


def coded(event: dict[str, Any], text: str) -> dict[str, Any]:
    return event | {"body": base64.b64encode(text.encode()).decode(), "isBase64Encoded": True}


several = {"a": ["1", "2"], "b": [""], "c": ["x y&z=%41+é"]}
ALB_SEVERAL = {k: v for k, v in ALB.items() if k not in ("headers", "queryStringParameters")} | {
    "multiValueHeaders": {"X-Telegram": ["no", "yes"], "accept": ["*/*"]},
    "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["x%20y"]},
}
EVENTS: dict[str, dict[str, Any]] = {
    "v1": V1,
    "v1 plain": plain(V1, ODD),
    "v1 coded": coded(V1, ODD),
    "v1 without a body": V1 | {"body": None, "isBase64Encoded": False},
    "v1 with several values": V1
    | {"multiValueQueryStringParameters": several, "queryStringParameters": {}},
    "v1 without a query": V1
    | {"multiValueQueryStringParameters": None, "queryStringParameters": None},
    "v2": V2,
    "v2 plain": plain(V2, ODD),
    "v2 without a query": V2 | {"rawQueryString": ""},
    "a function's address": URL,
    "serverless-offline v1": sample("serverless-offline-v1"),
    "serverless-offline v2": sample("serverless-offline-v2"),
    "alb": ALB,
    "alb plain": plain(ALB, ODD),
    "alb without a query": ALB | {"queryStringParameters": {}},
    "alb with several values": ALB_SEVERAL,
}
_NO_CONTEXT: Any = None
CONFIG: Any = {
    "api_gateway_base_path": "/",
    "text_mime_types": ["text/", "application/json"],
    "exclude_headers": [],
}


def theirs(event: dict[str, Any]) -> Any:
    """How mangum reads it: by the first of its readers that takes it for its own, as mangum does."""
    from mangum.handlers import ALB as Balancer  # noqa: N811
    from mangum.handlers import APIGateway, HTTPGateway

    for reader in (Balancer, HTTPGateway, APIGateway):
        if reader.infer(event, _NO_CONTEXT, CONFIG):
            return reader(event, _NO_CONTEXT, CONFIG)
    raise AssertionError("mangum does not know it")


@pytest.mark.parametrize("name", EVENTS)
def test_mangum_reads_the_same_request(name: str) -> None:
    event = EVENTS[name]
    ours, other = read_request(event), theirs(event)
    scope = other.scope
    assert ours is not None
    path, _, query = ours.url.partition("?")
    expected = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
    assert (ours.method, unquote(path)) == (scope["method"], scope["path"])
    assert parse_qsl(query, keep_blank_values=True) == expected
    assert ours.body == other.body
    headers = {key.decode(): value.decode() for key, value in scope["headers"]}
    assert set(ours.headers) == set(headers)
    for key, value in ours.headers.items():
        assert headers[key].endswith(value)  # of several it joins all, we take the last one


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("v1", "APIGatewayProxyEventModel"),
        ("v2", "APIGatewayProxyEventV2Model"),
        ("a function's address", "LambdaFunctionUrlModel"),
        ("alb", "AlbModel"),
    ],
)
def test_powertools_reads_the_same_request(name: str, model: str) -> None:
    event, ours = EVENTS[name], read_request(EVENTS[name])
    told = getattr(models, model).model_validate(event)
    assert ours is not None
    path = told.rawPath if hasattr(told, "rawPath") else told.path
    method = told.httpMethod if hasattr(told, "httpMethod") else told.requestContext.http.method
    assert (ours.method, ours.url.partition("?")[0]) == (method, path)
    assert ours.body == base64.b64decode(told.body)
    for key, value in told.headers.items():
        if key != "Host":  # which AWS's sample of a REST API gives twice, differently
            assert ours.headers[key.lower()] == value


ANSWERS = [
    (200, {"content-type": "application/json"}, b'{"text": "Hello"}'),
    (503, {"content-type": "text/plain", "retry-after": "1"}, b"try again"),
    (200, {"content-type": "application/octet-stream"}, b"\xff\x00"),
    (401, {"content-type": "text/plain"}, "geh weg \N{EM DASH} sofort".encode()),
]


@pytest.mark.parametrize(
    "name", ["v1", "v2", "a function's address", "alb", "alb with several values"]
)
@pytest.mark.parametrize("answer", ANSWERS)
def test_mangum_would_give_the_same_answer(
    name: str, answer: tuple[int, dict[str, str], bytes]
) -> None:
    status, headers, body = answer
    ours = answered(EVENTS[name], HttpResponse(status, headers, body))
    other = theirs(EVENTS[name])
    raw = [[k.encode(), v.encode()] for k, v in headers.items()]
    given = other({"status": status, "headers": raw, "body": body})
    assert ours["statusCode"] == given["statusCode"]
    assert ours["body"] == given["body"]
    assert bool(ours.get("isBase64Encoded")) == given["isBase64Encoded"]
    flat = {k: v[-1] for k, v in (ours.get("multiValueHeaders") or {}).items()}
    flat |= ours.get("headers") or {}
    other_flat = {k: v[-1] for k, v in (given.get("multiValueHeaders") or {}).items()}
    other_flat |= given.get("headers") or {}
    assert flat == other_flat
    if "multiValueHeaders" in ours and name.startswith("alb"):  # where only one form is taken
        assert given["multiValueHeaders"] == ours["multiValueHeaders"]


def records(name: str) -> list[Any]:
    return [sources.happened(record) for record in sources.records(sample(name))]


def test_powertools_reads_the_same_messages_of_a_queue() -> None:
    told = models.SqsModel.model_validate(sample("sqs-receive-message")).Records[0]
    (ours,) = records("sqs-receive-message")
    assert ours.id.endswith(f":{told.messageId}")
    assert (ours.kind, ours.subject) == ("sqs:MyQueue", "MyQueue")
    assert told.eventSourceARN.endswith(f":{ours.subject}")
    assert ours.data == told.body
    assert sources.identifier(sample("sqs-receive-message")["Records"][0]) == told.messageId


@pytest.mark.parametrize("name", ["s3-put", "s3-delete"])
def test_powertools_reads_the_same_files_of_a_bucket(name: str) -> None:
    told = models.S3Model.model_validate(sample(name)).Records[0]
    (ours,) = records(name)
    assert ours.kind == f"s3:{told.eventName}"
    assert ours.subject == f"{told.s3.bucket.name}/{unquote(told.s3.object.key)}"
    assert told.s3.object.sequencer in ours.id


def test_powertools_reads_the_same_rows_of_a_table() -> None:
    told = models.DynamoDBStreamModel.model_validate(sample("dynamodb-update")).Records
    ours = records("dynamodb-update")
    assert [one.kind for one in ours] == [f"dynamodb:{one.eventName}" for one in told]
    assert {one.subject for one in ours} == {"ExampleTableWithStream"}
    for mine, other, record in zip(ours, told, sample("dynamodb-update")["Records"], strict=True):
        assert mine.id.endswith(f":{other.eventID}")
        assert sources.identifier(record) == other.dynamodb.SequenceNumber


def test_powertools_reads_the_same_schedule() -> None:
    event = sample("cloudwatch-scheduled-event")
    told = models.EventBridgeModel.model_validate(
        {"version": "0"} | event
    )  # which AWS's sample lacks
    (ours,) = records("cloudwatch-scheduled-event")
    assert ours.id.endswith(f":{told.id}")
    assert (told.source, ours.kind) == ("aws.events", "schedule:ExampleRule")
    assert told.resources[0].endswith(f"/{ours.subject}")


def test_powertools_reads_the_same_notification() -> None:
    event = sample("sns-notification")
    event["Records"][0]["Sns"]["UnsubscribeUrl"] = "https://sns.test/"  # no address in AWS's sample
    event["Records"][0]["Sns"]["SigningCertUrl"] = "https://sns.test/"
    told = models.SnsModel.model_validate(event).Records[0].Sns
    (ours,) = records("sns-notification")
    assert (ours.kind, ours.subject) == ("sns:ExampleTopic", told.Subject)
    assert ours.id.endswith(f":{told.MessageId}")
    assert ours.data["Message"] == told.Message


@pytest.mark.parametrize("content", [b'{"price": 3}', b"hello", b"\xff\xfe"])
def test_powertools_reads_the_same_records_of_a_kinesis_stream(content: bytes) -> None:
    record: dict[
        str, Any
    ] = {  # as in https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "one",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "data": base64.b64encode(content).decode(),
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-000000000006:4959033827149025660855969253836157109592157598",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
        "awsRegion": "us-east-2",
        "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
    }
    told = models.KinesisDataStreamModel.model_validate({"Records": [record]}).Records[0]
    event = sources.happened(record)
    assert (event.kind, event.subject) == ("kinesis:lambda-stream", told.kinesis.partitionKey)
    texts = {b"hello": "hello", b'{"price": 3}': {"price": 3}}
    assert event.data == texts.get(content, record["kinesis"]["data"])
    assert sources.identifier(record) == told.kinesis.sequenceNumber
    later = sources.happened(record | {"eventID": "shardId-000000000006:1"})
    assert later.id != event.id
