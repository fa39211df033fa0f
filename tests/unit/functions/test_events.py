import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from legato.functions.config import Function
from legato.functions.events import (
    STREAM,
    HttpCall,
    file_event,
    schedule_event,
    url_answer,
    url_event,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BOT = Function(name="bot", folder=Path(), handler="bot.handler")


def event_of(**fields: Any) -> dict[str, Any]:
    call = HttpCall(
        **{"method": "POST", "path": "/", "query": "", "headers": [], "body": b""} | fields
    )
    return json.loads(url_event(BOT, call, NOW))


def test_a_request_is_payload_version_2() -> None:
    event = event_of(
        path="/a%20b/",
        query="x=1&x=2&y=",
        headers=[
            (b"Host", b"example.com"),
            (b"X-A", b"1"),
            (b"x-a", b"2"),
            (b"cookie", b"a=1; b=2"),
            (b"content-type", b"application/json; charset=utf-8"),
        ],
        body='{"é": 1}'.encode(),
        client="192.0.2.1",
    )

    assert (event["version"], event["rawPath"], event["rawQueryString"]) == (
        "2.0",
        "/a%20b/",
        "x=1&x=2&y=",
    )
    assert event["headers"] == {
        "host": "example.com",
        "x-a": "1,2",
        "content-type": "application/json; charset=utf-8",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "http",
        "x-forwarded-port": "80",
    }
    assert (event["cookies"], event["queryStringParameters"]) == (
        ["a=1", "b=2"],
        {"x": "1,2", "y": ""},
    )
    assert (event["body"], event["isBase64Encoded"]) == ('{"é": 1}', False)
    about = event["requestContext"]
    assert (about["http"]["method"], about["http"]["path"]) == ("POST", "/a b/")
    assert (about["http"]["sourceIp"], about["domainName"]) == ("192.0.2.1", "example.com")
    assert (about["time"], about["timeEpoch"]) == ("02/Jan/2026:03:04:05 +0000", 1767323045000)


@pytest.mark.parametrize(
    ("client", "forwarded", "source"),
    [
        ("127.0.0.1", b"192.0.2.7", "192.0.2.7"),  # nginx as documented
        ("127.0.0.1", b"10.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("192.0.2.1", b"10.0.0.1", "192.0.2.1"),
        ("somebody", b"10.0.0.1", "somebody"),
        ("127.0.0.1", b"", "127.0.0.1"),
    ],
)
def test_who_asks_is_told_by_a_proxy_on_this_machine_only(
    client: str, forwarded: bytes, source: str
) -> None:
    headers = [(b"host", b"localhost:9000")] + [(b"x-forwarded-for", forwarded)] * bool(forwarded)
    event = event_of(client=client, headers=headers)

    assert event["requestContext"]["http"]["sourceIp"] == source
    assert event["headers"]["x-forwarded-port"] == "9000"


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"\xff", b"application/json", "/w=="),
        (b"abc", b"image/png", "YWJj"),
        (b"a=b", b"application/x-www-form-urlencoded", "YT1i"),
    ],
)
def test_what_is_no_text_goes_as_base64(body: bytes, kind: bytes, text: str) -> None:
    event = event_of(body=body, headers=[(b"content-type", kind)])

    assert (event["body"], event["isBase64Encoded"]) == (text, True)


def test_a_request_without_body_has_none() -> None:
    event = event_of(method="GET")

    assert "body" not in event
    assert event["isBase64Encoded"] is False


def test_a_result_that_is_a_response_is_sent_so() -> None:
    result = {
        "statusCode": 201,
        "headers": {"X-A": 1, "Content-Length": "7"},
        "cookies": ["a=1", "b=2"],
        "body": "aGk=",
        "isBase64Encoded": True,
    }

    answer = url_answer(json.dumps(result).encode())

    assert (answer.status, answer.body) == (201, b"hi")
    assert answer.headers == (
        (b"x-a", b"1"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"content-type", b"application/json"),
    )


@pytest.mark.parametrize(
    ("result", "body"),
    [  # as function URLs of AWS were seen to answer
        (b'{"a": 1, "b": [true, null]}', b'{"a":1,"b":[true,null]}'),
        ('"naïve"'.encode(), "naïve".encode()),
        (b"null", b"null"),
        (b"", b"null"),
        (b"3.1", b"3.1"),
        (b'{"statusCode": 200}', b""),
        (b'{"statusCode": 200, "body": null}', b""),
        (b'{"statusCode": 200, "body": {"not": "string"}}', b'{"not":"string"}'),
        (
            b'{"statusCode": 200, "body": "!!!not-base64!!!", "isBase64Encoded": true}',
            base64.b64decode("not+base6w=="),
        ),
        (b'{"statusCode": 200, "body": "aGkh\\nIQ", "isBase64Encoded": true}', b"hi!!"),
        (b'{"statusCode": 200, "body": "aGkhI", "isBase64Encoded": true}', b"hi!"),
    ],
)
def test_a_text_goes_as_it_is_and_any_other_result_as_json(result: bytes, body: bytes) -> None:
    answer = url_answer(result)

    assert (answer.status, answer.body) == (200, body)
    assert answer.headers == ((b"content-type", b"application/json"),)


def test_what_is_the_connections_is_not_the_handlers_to_say() -> None:
    headers = {
        "Connection": "close",
        "Transfer-Encoding": "chunked",
        "X-None": None,
        "X-True": True,
        "Content-Type": "text/plain",
    }
    answer = url_answer(json.dumps({"statusCode": 200, "headers": headers}).encode())

    assert answer.headers == ((b"x-true", b"true"), (b"content-type", b"text/plain"))


def test_a_streamed_response_may_say_its_status_before_it() -> None:
    about = {"statusCode": 206, "headers": {"X-A": "b"}, "cookies": ["s=1"]}
    body = b"\x00\xffbinary" + bytes(9)

    answer = url_answer(json.dumps(about).encode() + bytes(8) + body, STREAM)
    assert (answer.status, answer.body) == (206, body)
    assert answer.headers == (
        (b"x-a", b"b"),
        (b"set-cookie", b"s=1"),
        (b"content-type", b"application/json"),
    )
    plain = url_answer(b"\xff", "image/x")
    assert (plain.status, plain.body) == (200, b"\xff")
    assert plain.headers == ((b"content-type", b"image/x"),)


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": "200"},
        {"statusCode": 99},
        {"statusCode": 100},
        {"statusCode": 700},
        {"statusCode": 200, "headers": {"a b": "1"}},
        {"statusCode": 200, "headers": {"a": "1\r\nb: 2"}},
        {"statusCode": 200, "headers": {"": "1"}},
        {"statusCode": 200, "headers": {"a": "\N{SNOWMAN}"}},
    ],
)
def test_a_response_that_cannot_be_sent_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # UnicodeEncodeError is one
        url_answer(json.dumps(result).encode())


def test_a_file_is_an_object_of_s3(tmp_path: Path) -> None:
    file = tmp_path / "in" / "ä b+.txt"
    file.parent.mkdir()
    file.write_bytes(b"12345")

    event = json.loads(file_event(tmp_path, file, "ObjectCreated:Put", NOW))

    (record,) = event["Records"]
    assert (record["eventSource"], record["eventTime"]) == ("aws:s3", "2026-01-02T03:04:05.000Z")
    assert record["s3"]["object"]["key"] == "in/%C3%A4+b%2B.txt"
    assert record["s3"]["object"]["size"] == 5
    assert record["legato"]["path"] == str(file)


def test_a_file_may_have_any_name_and_be_gone_already(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9")

    event = json.loads(file_event(tmp_path, file, "ObjectCreated:Put", NOW))

    found = event["Records"][0]["s3"]["object"]
    assert (found["key"], found["size"]) == ("caf%E9", 0)


def test_a_moment_is_an_event_of_eventbridge() -> None:
    event = json.loads(schedule_event(BOT, 2, NOW))

    assert (event["time"], event["detail-type"]) == ("2026-01-02T03:04:05Z", "Scheduled Event")
    assert event["resources"] == ["arn:aws:events:local:000000000000:rule/bot-2"]
