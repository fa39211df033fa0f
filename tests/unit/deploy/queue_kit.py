"""A server that speaks as much of SQS's JSON as a function needs, and messages as Lambda gives them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

REGION = "eu-west-1"
QUEUE, TIMERS = "bot.fifo", "bot-timers"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret"}

Message = dict[str, Any]


class FakeSqs:
    """Keeps what is sent.

    Attributes:
        sent: All entries of SendMessageBatch that were taken, by queue.
        refuse: Answers of the next requests instead: (status, body), or a list of entries' numbers that fail.
        asked: How many requests came.
        shown: Seconds after which messages are visible again, by receipt handle, in the order of the requests.
    """

    def __init__(self) -> None:
        self.sent: dict[str, list[Message]] = {QUEUE: [], TIMERS: []}
        self.refuse: list[tuple[int, dict[str, Any]] | list[int]] = []
        self.asked = 0
        self.shown: dict[str, int] = {}
        self.port = 0
        self._ids = itertools.count(1)

    def address(self, name: str) -> str:
        return f"sqs://{name}?region={REGION}&endpoint=http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        return {"LEGATO_QUEUE": self.address(QUEUE), "LEGATO_TIMERS": self.address(TIMERS)}

    def answer(self, action: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked += 1
        if action == "GetQueueUrl":
            return 200, {"QueueUrl": f"https://sqs.example/1/{asked['QueueName']}"}
        failed: list[int] = []
        if self.refuse:
            what = self.refuse.pop(0)
            if isinstance(what, tuple):
                return what
            failed = what
        name = asked["QueueUrl"].rpartition("/")[2]
        done: dict[str, Any] = {"Successful": [], "Failed": []}
        assert len(asked["Entries"]) <= 10
        for number, entry in enumerate(asked["Entries"]):
            if number in failed:
                error = {"Code": "InternalError", "SenderFault": False, "Message": "away"}
                done["Failed"].append({"Id": entry["Id"], **error})
            elif action == "ChangeMessageVisibilityBatch":
                assert entry["ReceiptHandle"].endswith(name)
                self.shown[entry["ReceiptHandle"]] = entry["VisibilityTimeout"]
                done["Successful"].append({"Id": entry["Id"]})
            else:
                done["Successful"].append({"Id": entry["Id"], "MessageId": f"m{next(self._ids)}"})
                self.sent[name].append(entry)
        return 200, done

    def records(self, name: str = QUEUE, count: int = 1) -> list[Message]:
        """What was sent, as Lambda gives it to a function; it is taken out."""
        found, self.sent[name] = self.sent[name], []
        return [record(entry["MessageBody"], name, entry, count) for entry in found]


def record(
    body: str, name: str = QUEUE, entry: Message | None = None, count: int = 1, number: int = 0
) -> Message:
    """One message of SQS."""
    attributes = {"ApproximateReceiveCount": str(count)}
    group = (entry or {}).get("MessageGroupId")
    if group:
        attributes["MessageGroupId"] = group
    its_id = f"id{number or next(_ids)}"
    return {
        "messageId": its_id,
        "receiptHandle": f"{its_id}@{name}",
        "body": body,
        "attributes": attributes,
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:1:{name}",
    }


_ids = itertools.count(1000)


@contextmanager
def fake_sqs() -> Iterator[FakeSqs]:
    """A server of its own."""
    sqs = FakeSqs()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            action = self.headers["x-amz-target"].removeprefix("AmazonSQS.")
            assert self.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")
            status, found = sqs.answer(action, asked)
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        sqs.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield sqs
        finally:
            server.shutdown()
            thread.join()
