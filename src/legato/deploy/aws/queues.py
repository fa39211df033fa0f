"""Queues before the function: updates in order, and timers to the second (legato.deploy.function.queueing).

A message that the function does not finish comes again when it is no longer hidden; what is hidden for less than
the function's own time would be refused. Bugs are put aside by the bot itself, so what gets to the dead letters was
not worked on for hours.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html (read 2026-11-29)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legato.deploy.aws.cloud import Cloud

Resources = dict[str, Any]

GOES = {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}
"""Of what ends with the stack."""
FOUR_DAYS_S, FOURTEEN_DAYS_S = 345600, 1209600
TRIES = 100


def updates(timeout: int) -> Resources:
    """A FIFO queue that updates go into, and one for what nobody could work on."""
    dead = {"FifoQueue": True, "MessageRetentionPeriod": FOURTEEN_DAYS_S}
    queue = {
        "FifoQueue": True,
        "MessageRetentionPeriod": FOUR_DAYS_S,
        "VisibilityTimeout": 2 * timeout,
        "RedrivePolicy": {
            "deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetters", "Arn"]},
            "maxReceiveCount": TRIES,
        },
    }
    return {
        "DeadLetters": _queue(dead),
        "Queue": _queue(queue),
        "QueueMapping": _mapping("Queue"),
    }


def timers(timeout: int) -> Resources:
    """A queue with delays. What it loses is made up for by the schedule."""
    queue = {"MessageRetentionPeriod": FOUR_DAYS_S, "VisibilityTimeout": 2 * timeout}
    return {"Timers": _queue(queue), "TimersMapping": _mapping("Timers")}


def letters(cloud: Cloud, url: str) -> int:
    """How many messages lie in a queue, or are worked on, as far as SQS knows."""
    names = ["", "NotVisible", "Delayed"]
    asked = [f"ApproximateNumberOfMessages{name}" for name in names]
    answer = cloud("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=asked)
    return sum(int(answer["Attributes"].get(name, 0)) for name in asked)


def address(name: str) -> Any:
    """The address of a queue for LEGATO_QUEUE and LEGATO_TIMERS: its URL with another scheme."""
    rest = {"Fn::Select": [1, {"Fn::Split": ["://", {"Ref": name}]}]}
    return {"Fn::Join": ["", ["sqs://", rest]]}


def _queue(properties: Resources) -> Resources:
    return {"Type": "AWS::SQS::Queue", **GOES, "Properties": properties}


def _mapping(name: str) -> Resources:
    return {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "EventSourceArn": {"Fn::GetAtt": [name, "Arn"]},
            "FunctionName": {"Ref": "Live"},
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BatchSize": 10,
        },
    }


__all__ = ["GOES", "address", "timers", "updates"]
