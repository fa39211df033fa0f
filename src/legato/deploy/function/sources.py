"""What AWS invokes a function with besides requests: records of S3, SQS, SNS, Kinesis and DynamoDB streams, events
of EventBridge and its schedules.

Each record becomes one Happened, whose id is the same when the record is delivered again. Services send less
than their documentation shows now and then (a scheduled event without a version, a notification without an
address), so nothing is needed here but what an id is made of.

Read on 2026-11-28: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html,
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html, https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html,
https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html,
https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

import msgspec

from legato.app.nowhere import told
from legato.model.events import Happened

Record = dict[str, Any]

TICK = "legato"
"""An event with this key, as in {"legato": "tick"}, is a scheduler's: it only lets timers fire."""
STREAMS = ("aws:dynamodb", "aws:kinesis")
"""Sources whose records are in order: what follows a failed one waits for it."""


def records(event: Any) -> list[Record]:
    """The records in an event; [] if it holds none."""
    if not isinstance(event, dict):
        return []
    found = event.get("Records")
    if isinstance(found, list):
        return [record for record in found if isinstance(record, dict)]
    return [event] if "detail-type" in event else []


def source_of(record: Record) -> str:
    """Which service it is of: "aws:s3", "aws:sqs" ...; "" for EventBridge."""
    return str(record.get("eventSource") or record.get("EventSource") or "")


def identifier(record: Record) -> str:
    """How a batch names a record that failed. "" lets all of it come again."""
    if "messageId" in record:
        return str(record["messageId"])
    inner = record.get("dynamodb") or record.get("kinesis")
    told = inner if isinstance(inner, dict) else {}
    return str(told.get("SequenceNumber") or told.get("sequenceNumber") or "")


def happened(record: Record) -> Happened:
    """A record as an event."""
    read = _READERS.get(source_of(record), _bridge if "detail-type" in record else _other)
    kind, subject, name, data = read(record)
    return told(kind.partition(":")[0], name, kind, subject, data)


Read = tuple[str, str, str, Any]
"""Kind, subject, what the id is made of, data."""


def _s3(record: Record) -> Read:
    told = record.get("s3") or {}
    key = (told.get("object") or {}).get("key", "")
    bucket = (told.get("bucket") or {}).get("name", "")
    from urllib.parse import unquote_plus

    subject = f"{bucket}/{unquote_plus(str(key))}"
    name = str(record.get("eventName", ""))
    order = (told.get("object") or {}).get("sequencer") or record.get("eventTime", "")
    return f"s3:{name}", subject, f"{subject}:{name}:{order}", record


def _sqs(record: Record) -> Read:
    queue = str(record.get("eventSourceARN", "")).rpartition(":")[2]
    text = str(record.get("body", ""))
    try:
        data: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):  # anybody may send anything
        data = text.encode("utf-8", "replace").decode()
    return f"sqs:{queue}", queue, str(record.get("messageId", "")), data


def _sns(record: Record) -> Read:
    told = record.get("Sns") or {}
    topic = str(told.get("TopicArn", "")).rpartition(":")[2]
    return f"sns:{topic}", str(told.get("Subject") or ""), str(told.get("MessageId", "")), told


def _dynamodb(record: Record) -> Read:
    arn = str(record.get("eventSourceARN", ""))
    table = arn.partition(":table/")[2].partition("/")[0]
    told = record.get("dynamodb") or {}
    name = f"{table}:{record.get('eventID') or told.get('SequenceNumber', '')}"
    return f"dynamodb:{record.get('eventName', '')}", table, name, told


def _kinesis(record: Record) -> Read:
    stream = str(record.get("eventSourceARN", "")).rpartition(":stream/")[2]
    told = record.get("kinesis") or {}
    name = f"{stream}:{record.get('eventID') or told.get('sequenceNumber', '')}"
    data = _content(str(told.get("data", "")))
    return f"kinesis:{stream}", str(told.get("partitionKey", "")), name, data


def _content(data: str) -> Any:
    """What stands in base64: JSON, or text; what is neither stays as it came."""
    try:
        text = a2b_base64(data).decode()
    except ValueError:
        return data
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _other(record: Record) -> Read:
    """A source that we do not know. Records with the same content are taken for one if they have no id."""
    source = source_of(record).rpartition(":")[2] or "unknown"
    where = str(record.get("eventSourceARN") or record.get("EventSourceArn") or "").rpartition(":")[
        2
    ]
    name = record.get("eventID") or record.get("messageId") or record.get("id") or _digest(record)
    return f"{source}:{where}", where, f"{where}:{name}", record


def _digest(record: Record) -> str:
    import json
    from hashlib import sha256

    return sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _bridge(event: Record) -> Read:
    """EventBridge. A rule's schedule is named by its rule."""
    resources = event.get("resources") or [""]
    detail_type = str(event.get("detail-type", ""))
    source = str(event.get("source", ""))
    resource = str(resources[0]).rpartition("/")[2]
    kind = f"{source}:{detail_type}"
    if source in ("aws.events", "aws.scheduler"):
        kind = f"schedule:{resource}"
    name = str(event.get("id") or f"{kind}:{event.get('time', '')}")
    return kind, resource, name, event.get("detail") or {}


_READERS: dict[str, Callable[[Record], Read]] = {
    "aws:s3": _s3,
    "aws:sqs": _sqs,
    "aws:sns": _sns,
    "aws:dynamodb": _dynamodb,
    "aws:kinesis": _kinesis,
}

__all__ = ["STREAMS", "TICK", "happened", "identifier", "records", "source_of"]
