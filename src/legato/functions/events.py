"""The shapes of events, as AWS makes them.

Read on 2026-11-28: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html,
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
"""

from __future__ import annotations

import json
import os
import re
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, unquote

from msgspec import Struct

from legato.functions.config import Function
from legato.functions.container import REGION

STREAM = "application/vnd.awslambda.http-integration-response"
"""Content type of a streamed response whose status and headers stand before it, with eight zeros between."""
OF_THE_CONNECTION = frozenset(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that are not a handler's to say."""
TEXTS = ("text/", "application/json", "application/xml", "application/javascript")
ACCOUNT = "000000000000"
Pairs = list[tuple[bytes, bytes]]


class HttpCall(Struct, frozen=True, kw_only=True):
    """A request to a function's URL.

    Attributes:
        path: Without the function's name, as it was sent.
        query: As it was sent, without "?".
        headers: As they were sent.
        client: Address of whoever sent it.
    """

    method: str
    path: str
    query: str
    headers: Pairs
    body: bytes
    client: str = ""


class HttpAnswer(Struct, frozen=True):
    """What is sent back."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def url_event(function: Function, call: HttpCall, now: datetime) -> bytes:
    """A request as a function URL brings it: payload version 2.0."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in call.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if call.client:
        headers.setdefault("x-forwarded-for", call.client)
    headers.setdefault("x-forwarded-proto", "http")
    headers.setdefault("x-forwarded-port", _port_of(headers.get("host", "")))
    cookies = [cookie.strip() for cookie in headers.pop("cookie", "").split(";") if cookie.strip()]
    query: dict[str, str] = {}
    for name, value in parse_qsl(call.query, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    text = _text_of(call.body, headers.get("content-type", ""))
    host = headers.get("host", "localhost")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": call.path,
        "rawQueryString": call.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": function.name,
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": call.method,
                "path": unquote(call.path),
                "protocol": "HTTP/1.1",
                "sourceIp": _source(call.client, headers.get("x-forwarded-for", "")),
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": text is None,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = query
    if call.body:
        event["body"] = b64encode(call.body).decode() if text is None else text
    return json.dumps(event).encode()


def _text_of(body: bytes, kind: str) -> str | None:
    """The body as a text; None: it is none, and goes as base64."""
    if body and not kind.lower().startswith(TEXTS):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _port_of(host: str) -> str:
    """As a client has named it."""
    _, colon, port = host.rpartition(":")
    return port if colon and port.isdecimal() else "80"


def _source(client: str, forwarded: str) -> str:
    """Who has asked: a proxy on this machine says it."""
    try:
        ours = ip_address(client).is_loopback
    except ValueError:
        return client
    return forwarded.rpartition(",")[2].strip() or client if ours else client


def url_answer(body: bytes, streamed: str = "") -> HttpAnswer:
    """What a function URL makes of a handler's result: a response if it looks like one; else a text as it is, and
    anything else as JSON without spaces.

    Args:
        body: JSON; of a handler that streams, whatever that is.
        streamed: The content type that it has said, "" for all others.

    Raises:
        ValueError, TypeError, AttributeError: It cannot be sent.
    """
    if streamed == STREAM:
        about, _, data = body.partition(bytes(8))
        value = json.loads(about or b"{}")
        return HttpAnswer(_status(value.get("statusCode", 200)), data, _headers(value))
    if streamed:
        return HttpAnswer(200, body, ((b"content-type", _line(streamed)),))
    value = json.loads(body or b"null")
    if not isinstance(value, dict) or "statusCode" not in value:
        return HttpAnswer(200, _bytes(value), ((b"content-type", b"application/json"),))
    content = value.get("body")
    if content is None:
        data = b""
    elif value.get("isBase64Encoded") and isinstance(content, str):
        data = _decoded(content)
    else:
        data = _bytes(content)
    return HttpAnswer(_status(value["statusCode"]), data, _headers(value))


def _status(value: object) -> int:
    if not isinstance(value, int) or not 200 <= value <= 599:
        raise ValueError("statusCode is no status of a response")
    return value


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(text: str) -> bytes:
    """Base64 of either alphabet; what is none of it does not count, and an end that is missing is made up for."""
    kept = re.sub(r"[^A-Za-z0-9+/]", "", text.replace("-", "+").replace("_", "/"))
    if len(kept) % 4 == 1:
        kept = kept[:-1]
    return b64decode(kept + "=" * (-len(kept) % 4))


def _headers(value: dict[str, Any]) -> tuple[tuple[bytes, bytes], ...]:
    given: Iterable[tuple[str, object]] = (value.get("headers") or {}).items()
    found = [(_token(name), _line(text)) for name, text in given if text is not None]
    found = [pair for pair in found if pair[0] not in OF_THE_CONNECTION]
    found += [(b"set-cookie", _line(cookie)) for cookie in value.get("cookies") or ()]
    if not any(name == b"content-type" for name, _ in found):
        found.append((b"content-type", b"application/json"))
    return tuple(found)


def _token(text: object) -> bytes:
    name = str(text).lower().encode("ascii")
    if not name or any(byte <= 32 or byte in b':"(),/;<=>?@[\\]{}' for byte in name):
        raise ValueError("a header's name is no token")
    return name


def _line(value: object) -> bytes:
    text = (str(value).lower() if isinstance(value, bool) else str(value)).encode("latin-1")
    if b"\r" in text or b"\n" in text or b"\0" in text:
        raise ValueError("a header holds a line break")
    return text


def file_event(folder: Path, file: Path, what: str, now: datetime) -> bytes:
    """A file in a watched folder as S3 tells of an object.

    Args:
        folder: The watched one: its name is the bucket's, its full path stands in `legato.folder`.
        file: In it.
        what: "ObjectCreated:Put" or "ObjectRemoved:Delete".
        now: When it was seen.
    """
    try:
        size = file.stat().st_size
    except OSError:  # it has gone
        size = 0
    key = quote_plus(os.fsencode(file.relative_to(folder)), safe="/")  # whatever bytes are its name
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": _iso(now),
        "eventName": what,
        "userIdentity": {"principalId": "legato"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": uuid.uuid4().hex[:16].upper()},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "legato",
            "bucket": {
                "name": folder.name,
                "ownerIdentity": {"principalId": "legato"},
                "arn": f"arn:aws:s3:::{folder.name}",
            },
            "object": {"key": key, "size": size, "sequencer": f"{now.timestamp():.6f}"},
        },
        "legato": {"folder": str(folder), "path": str(file)},
    }
    return json.dumps({"Records": [record]}).encode()


def schedule_event(function: Function, number: int, due: datetime) -> bytes:
    """A scheduled moment as EventBridge tells of it."""
    rule = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{function.name}-{number}"
    return json.dumps(
        {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": [rule],
            "detail": {},
        }
    ).encode()


def _iso(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


__all__ = ["HttpAnswer", "HttpCall", "file_event", "schedule_event", "url_answer", "url_event"]
