"""A cloud that answers as a test has written, for bad days that no cloud of this machine plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place

PLACE = Place("adder")
Answer = dict[str, Any] | Exception | Callable[..., dict[str, Any]]


def refused(code: str, text: str = "") -> ClientError:
    """A refusal, as boto3 raises it."""
    return ClientError({"Error": {"Code": code, "Message": text}}, "DescribeStacks")


class Scripted:
    """Stands for all clients of boto3: gives the answers of a method in order, the last one for ever.

    Attributes:
        calls: (method, words) in order.
    """

    def __init__(self, **answers: list[Answer]) -> None:
        self._answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def answer(**words: Any) -> Any:
            self.calls.append((method, words))
            left = self._answers.get(method, [{}])
            found = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(found, Exception):
                raise found
            return found(**words) if callable(found) else found

        return answer

    def words(self, method: str) -> list[dict[str, Any]]:
        """What a method was called with."""
        return [words for name, words in self.calls if name == method]


def clouded(script: Scripted, region: str = "eu-central-1") -> Cloud:
    """A cloud whose clients are scripted. What regions there are is not looked up: that takes 0.1 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cloud, "_check_region", lambda _: None)
        cloud = Cloud(region)
    services = ("cloudformation", "s3", "logs", "sts", "lambda", "ssm", "dynamodb")
    cloud._clients = dict.fromkeys(services, cast("Any", script))
    return cloud


def stacks(*states: str) -> list[Answer]:
    """Answers of describe_stacks; "" = there is none."""
    output = {"OutputKey": "Table", "OutputValue": "t"}
    return [
        {"Stacks": [{"StackStatus": state, "Outputs": [output]}]}
        if state
        else refused("ValidationError")
        for state in states
    ]
