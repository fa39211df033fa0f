"""SQS and what Lambda does with it, for functions of these tests: queues, and an event source mapping by hand."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.ministack import Ministack

REGION, ACCOUNT = "eu-central-1", "000000000000"
WORKER = Path(__file__).with_name("sqs_worker.py")
OVER_S = 33
_numbers = itertools.count(1)

Record = dict[str, Any]


class Sqs:
    """One queue.

    Args:
        server: Where it is.
        name: With ".fifo" at its end or without.
    """

    def __init__(self, server: Ministack, name: str) -> None:
        self._server = server
        self.name = name
        fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        attributes = {"VisibilityTimeout": "300", **fifo}
        self._queue = self._ask("CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"]

    @property
    def address(self) -> str:
        """For LEGATO_QUEUE or LEGATO_TIMERS."""
        return f"sqs://{self.name}?region={REGION}&endpoint={self._server.endpoint}"

    @property
    def arn(self) -> str:
        """As events name it."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}"

    def _ask(self, action: str, **request: Any) -> dict[str, Any]:
        scope = f"Credential=test/20260101/{REGION}/sqs/aws4_request"
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"AmazonSQS.{action}",
            "authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
        }
        url = f"{self._server.endpoint}/"
        asked = urllib.request.Request(url, json.dumps(request).encode(), headers)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found

    def receive(self, most: int = 10, wait_s: int = 0) -> list[Record]:
        """Messages as Lambda gives them to a function."""
        found = self._ask(
            "ReceiveMessage",
            QueueUrl=self._queue,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait_s,
            MessageSystemAttributeNames=["All"],
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": self.arn,
                "awsRegion": REGION,
            }
            for message in found.get("Messages", [])
        ]

    def again(self, record: Record) -> None:
        """What a platform's repetition does when five minutes are over: the same letter comes once more."""
        group = record["attributes"]["MessageGroupId"]
        self.send(record["body"], group)

    def send(self, body: str, group: str = "") -> None:
        """Puts any message there."""
        fifo = (
            {"MessageGroupId": group, "MessageDeduplicationId": f"d{next(_numbers)}"}
            if group
            else {}
        )
        self._ask("SendMessage", QueueUrl=self._queue, MessageBody=body, **fifo)

    def settle(
        self, records: list[Record], answer: dict[str, Any] | None, *, soon: bool = True
    ) -> list[str]:
        """Does what Lambda does after an invocation: deletes what did not fail; what failed (all, if there is no answer)
        comes again: here at once, or, if not `soon`, in five minutes, unless the function saw to it. Returns the ids
        of those.
        """
        failed = {record["messageId"] for record in records}
        if answer is not None:
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        for record in records:
            handle = {"QueueUrl": self._queue, "ReceiptHandle": record["receiptHandle"]}
            if record["messageId"] in failed and not soon:
                continue
            if record["messageId"] in failed:
                self._ask("ChangeMessageVisibility", VisibilityTimeout=0, **handle)
            else:
                self._ask("DeleteMessage", **handle)
        return sorted(failed)

    @property
    def left(self) -> int:
        """Messages that are there, waiting or in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._ask("GetQueueAttributes", QueueUrl=self._queue, AttributeNames=["All"])
        return sum(int(found["Attributes"][name]) for name in names)


class Workers:
    """A process of a function for each event, made by a process that has everything imported.

    Args:
        bot: The file of the app.
        sabotage: "forget": no update is known again.

    Attributes:
        later_s: How much the clock of the next one goes before ours: a queue hides what a process that died had
            until its time is over.
    """

    def __init__(self, bot: Path, *sabotage: str) -> None:
        self.later_s: int = 0
        self._zygote = subprocess.Popen(
            [sys.executable, str(WORKER), str(bot), *sabotage],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def invoke(self, records: list[Record], fuse: int = 0) -> dict[str, Any] | None:
        """What a new process answers; None if it is killed with SIGKILL after its `fuse`th write."""
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        asked = {"event": {"Records": records}, "fuse": fuse, "later_s": self.later_s}
        self._zygote.stdin.write(json.dumps(asked) + "\n")
        self._zygote.stdin.flush()
        found: dict[str, Any] = json.loads(self._zygote.stdout.readline())
        assert "error" not in found, found["error"]
        answer: dict[str, Any] | None = found["answer"]
        if answer is None:
            self.later_s += OVER_S
        return answer

    def close(self) -> None:
        """Ends it."""
        self._zygote.communicate(timeout=30)


@contextmanager
def workers(bot: Path, *sabotage: str) -> Iterator[Workers]:
    """Processes of a function; see Workers."""
    made = Workers(bot, *sabotage)
    try:
        yield made
    finally:
        made.close()
