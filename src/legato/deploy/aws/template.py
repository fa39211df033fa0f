"""The stack of a bot, as plain CloudFormation: no transform, no stack beside it.

The table outlives the stack: it holds conversations. `legato deploy aws destroy` deletes it when none is
open. Versions of the function outlive the update that replaces them, for `rollback`.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/ (read 2026-11-29)
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from msgspec import Struct

from legato.deploy.aws.asked import Asked
from legato.deploy.aws.fronts import function_url, http_api, pages
from legato.deploy.aws.place import ALIAS, Place
from legato.deploy.aws.queues import GOES, address, timers, updates
from legato.deploy.aws.role import assumed, role
from legato.deploy.aws.sockets import socket_address, web_socket
from legato.deploy.function.aws import HANDOVER
from legato.deploy.package.target import Target
from legato.errors import ConfigError
from legato.stores.dynamodb.table import definition

TICK = {"legato": "tick"}
UNITS = {"m": "minute", "h": "hour", "d": "day"}
RETENTION = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)
"""Days that a log group may keep what is in it."""
FRONTS = {"url": function_url, "http-api": http_api}


class Wanted(Struct, frozen=True, kw_only=True):
    """What a stack is made of.

    Attributes:
        place: Its names.
        target: Machine and Python.
        sha256: Of the zip.
        entry: The bot, for people.
        variables: The function's environment.
        secrets: Names of what stands in Parameter Store, with versions: {"TELEGRAM_TOKEN": 3}.
        memory: MB.
        timeout: Seconds of one invocation.
        schedule: How often timers are looked at: "1m", "5m", "1h"; "" = never.
        front: "url" or "http-api".
        queue: Whether updates go into a FIFO queue before they are worked on.
        timers: Whether timers are brought to the second, by a queue with delays.
        retention: Days for which logs are kept.
        web_socket: Whether there is a web chat, with a WebSocket API for its pages.
        public_socket: Where pages connect to instead of the API's own address; "{id}" in it stands for the
            API's id.
        asked: What of this was said, for later deployments.
    """

    place: Place
    target: Target
    sha256: str
    entry: str = ""
    variables: dict[str, str] = {}
    secrets: dict[str, int] = {}
    memory: int = 512
    timeout: int = 30
    schedule: str = "1m"
    front: str = "url"
    queue: bool = False
    timers: bool = False
    retention: int = 30
    web_socket: bool = False
    public_socket: str = ""
    asked: Asked = Asked()


def template(wanted: Wanted) -> dict[str, Any]:
    """The template; its parameters are CodeBucket and CodeKey.

    Raises:
        ConfigError: Something is wanted that AWS does not have.
    """
    _check(wanted)
    front, url = FRONTS[wanted.front]()
    function = _function(wanted)
    version = f"Version{_hash([function, wanted.sha256])}"
    resources: dict[str, Any] = {
        "Table": _table(),
        "Logs": _logs(wanted.retention),
        "Role": role(
            wanted.place,
            secrets=bool(wanted.secrets),
            queues=_queues(wanted),
            web_socket=wanted.web_socket,
        ),
        "Function": function | {"Metadata": wanted.asked.metadata},
        version: {
            "Type": "AWS::Lambda::Version",
            "DeletionPolicy": "RetainExceptOnCreate",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "FunctionName": {"Ref": "Function"},
                "Description": f"{wanted.sha256} {wanted.entry}"[:256],
            },
        },
        "Live": {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "FunctionName": {"Ref": "Function"},
                "FunctionVersion": {"Fn::GetAtt": [version, "Version"]},
                "Name": ALIAS,
            },
        },
        **front,
        **(_schedule(wanted.schedule) if wanted.schedule else {}),
        **(updates(wanted.timeout) if wanted.queue else {}),
        **(timers(wanted.timeout) if wanted.timers else {}),
        **(web_socket() if wanted.web_socket else {}),
        **(pages() if wanted.web_socket and wanted.front == "http-api" else {}),
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"The bot {wanted.place.name}, made by `legato deploy aws`",
        "Parameters": {
            "CodeBucket": {"Type": "String", "Description": "Where the zip of the bot is"},
            "CodeKey": {
                "Type": "String",
                "Default": wanted.place.key(wanted.sha256),
                "Description": "Its name there",
            },
        },
        "Resources": resources,
        "Outputs": _outputs(wanted, url, version),
    }


def _outputs(wanted: Wanted, url: Any, version: str) -> dict[str, Any]:
    """What commands ask the stack for later."""
    outputs = {
        "Url": url,
        "Table": {"Ref": "Table"},
        "Version": {"Fn::GetAtt": [version, "Version"]},
        "Bucket": {"Ref": "CodeBucket"},
        **{name: {"Ref": name} for name in _queues(wanted)},
    }
    if wanted.web_socket:
        outputs["WebSocket"] = socket_address(wanted.public_socket)
    return {name: {"Value": value} for name, value in outputs.items()}


def _logs(days: int) -> dict[str, Any]:
    return {
        "Type": "AWS::Logs::LogGroup",
        **GOES,
        "Properties": {
            "LogGroupName": {"Fn::Sub": "/aws/lambda/${AWS::StackName}"},
            "RetentionInDays": days,
        },
    }


def text_of(found: dict[str, Any]) -> str:
    """A template as text, the same each time."""
    return json.dumps(found, indent=2) + "\n"


def rate(text: str) -> str:
    """An interval such as "1m" in the words of EventBridge.

    Raises:
        ConfigError: It is none.
    """
    number, unit = text[:-1], UNITS.get(text[-1:])
    if unit is None or not number.isascii() or not number.isdigit() or not 0 < int(number) < 1000:
        raise ConfigError(
            f"--schedule {text!r:.20}: write 1m, 5m, 1h or off (nothing is shorter than 1m)"
        )
    return f"rate({int(number)} {unit}{'s' if int(number) > 1 else ''})"


def _check(wanted: Wanted) -> None:
    if not 128 <= wanted.memory <= 10240:
        raise ConfigError(f"--memory {wanted.memory}: 128 to 10240 MB")
    if not 3 <= wanted.timeout <= 900:
        raise ConfigError(f"--timeout {wanted.timeout}: 3 to 900 seconds")
    if wanted.front == "http-api" and wanted.timeout > 30:
        raise ConfigError("an HTTP API waits 30 seconds at most: --timeout 30, or --front url")
    if wanted.retention not in RETENTION:
        allowed = ", ".join(map(str, RETENTION[:-1]))
        raise ConfigError(
            f"--retention {wanted.retention}: AWS keeps logs for {allowed} or {RETENTION[-1]} days"
        )
    if wanted.public_socket and not wanted.web_socket:
        raise ConfigError("--public-socket is where pages of the web chat connect to: --web-socket")
    if wanted.public_socket and not wanted.public_socket.startswith(("wss://", "ws://")):
        raise ConfigError(
            f"--public-socket {wanted.public_socket!r:.80}: write an address, as in wss://chat.example.org"
        )
    size = sum(len(name) + len(value) for name, value in wanted.variables.items())
    if size > 3500:
        raise ConfigError(
            f"the variables have {size} bytes: Lambda takes 4096 with ours. Long ones are secrets (--secret) or files"
        )


def _table() -> dict[str, Any]:
    properties = definition("-")
    del properties["TableName"]  # a name of CloudFormation's own: a table can be replaced
    return {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties
        | {
            "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        },
    }


def _function(wanted: Wanted) -> dict[str, Any]:
    variables: dict[str, Any] = dict(sorted(wanted.variables.items()))
    variables[HANDOVER] = "on"
    variables["LEGATO_STORE"] = {"Fn::Sub": "dynamodb://${Table}?region=${AWS::Region}"}
    if wanted.queue:
        variables["LEGATO_QUEUE"] = address("Queue")
    if wanted.timers:
        variables["LEGATO_TIMERS"] = address("Timers")
    if wanted.web_socket:
        variables["LEGATO_WEB_SOCKET"] = socket_address(wanted.public_socket)
    if wanted.secrets:
        variables["LEGATO_PARAMETERS"] = wanted.place.parameters
        variables["LEGATO_SECRETS"] = ",".join(
            f"{name}:{version}" for name, version in sorted(wanted.secrets.items())
        )
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": {"Ref": "AWS::StackName"},
            "Runtime": f"python{wanted.target.python}",
            "Architectures": [wanted.target.arch],
            "Handler": f"{wanted.target.service.module}.handler",
            "Code": {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}},
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "MemorySize": wanted.memory,
            "Timeout": wanted.timeout,
            "LoggingConfig": {"LogGroup": {"Ref": "Logs"}},
            "Environment": {"Variables": variables},
        },
    }


def _schedule(every: str) -> dict[str, Any]:
    """Timers: the function is touched so often. A tick that is lost is made up for by the next."""
    may = {
        "Sid": "Tick",
        "Effect": "Allow",
        "Action": ["lambda:InvokeFunction"],
        "Resource": {"Ref": "Live"},
    }
    ours = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    return {
        "TickRole": assumed("scheduler.amazonaws.com", [may], ours),
        "Tick": {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {
                "Name": {"Fn::Sub": "${AWS::StackName}-tick"},
                "ScheduleExpression": rate(every),
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": {"Ref": "Live"},
                    "RoleArn": {"Fn::GetAtt": ["TickRole", "Arn"]},
                    "Input": json.dumps(TICK),
                    "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
                },
            },
        },
    }


def _queues(wanted: Wanted) -> list[str]:
    named = {"Queue": wanted.queue, "Timers": wanted.timers}
    return [name for name, there in named.items() if there]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


__all__ = ["FRONTS", "TICK", "Wanted", "rate", "template", "text_of"]
