"""Puts messages into one queue: signed, tried again while that may help, and known to be there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from legato.abc.http import HttpClient, MaybeSent, NotSent
from legato.abc.queue import Letter
from legato.aws.address import who_asks
from legato.aws.service import EXPIRED, Refused, Service, pause_s, refusal
from legato.errors import Unavailable
from legato.queues.sqs.address import Where
from legato.queues.sqs.letters import Wake, hashed, letter_text, wake_text

TRIES = 5
TIMEOUT_S = 3.0
BATCH = 10
BATCH_BYTES = 1_000_000
"""SQS takes 1 MiB; a batch that is only a little smaller saves nothing."""
LONGEST_DELAY_S = 900
AGAIN = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "KmsThrottled",
        "OverLimit",
        "RequestThrottled",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
    }
)
"""What may go well a moment later."""
_RIGHTS = {
    "SendMessageBatch": "sqs:SendMessage (and sqs:GetQueueUrl, where only the name is given)",
    "GetQueueUrl": "sqs:GetQueueUrl, or the whole address instead of the name",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}

Entry = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Post(Struct, frozen=True):
    """A letter, and whose turn it must wait for.

    Attributes:
        lane: Letters of one lane are worked on one after another.
        letter: What is sent.
    """

    lane: str
    letter: Letter


class SqsSender:
    """Sends to one queue. Belongs to one event loop.

    Args:
        where: The queue.
        http: Carries the requests; not closed with this.

    Raises:
        ConfigError: There are no credentials.
    """

    __slots__ = ("_service", "_url", "where")

    def __init__(self, where: Where, http: HttpClient) -> None:
        self.where: Where = where
        self._url = where.url
        self._service = Service(
            where.endpoint,
            where.region,
            "sqs",
            "AmazonSQS",
            http=http,
            who=who_asks,
            timeout_s=TIMEOUT_S,
        )

    async def publish(self, posts: Sequence[Post]) -> None:
        """Returns once SQS has all of them, those of a lane in this order. If it raises, any of them may be
        there or not: they are to be published again, and dedupe by their ids.

        Raises:
            Unavailable: SQS has not taken all of them.
        """
        for round_ in _rounds(posts):
            await self._put(
                [
                    {
                        "MessageBody": letter_text(post.letter),
                        "MessageGroupId": hashed(post.lane),
                        "MessageDeduplicationId": hashed(post.letter.id),
                    }
                    for post in round_
                ]
            )

    async def wake(self, wakes: Sequence[tuple[Wake, int]]) -> None:
        """Sends wakes, each of which arrives after so many seconds, up to LONGEST_DELAY_S.

        Raises:
            Unavailable: SQS has not taken all of them.
        """
        await self._put(
            [{"MessageBody": wake_text(wake), "DelaySeconds": delay_s} for wake, delay_s in wakes]
        )

    async def show(self, handles: Sequence[tuple[str, int]]) -> None:
        """Lets messages that were received be handed out again after so many seconds each, in this order. One that
        is not in flight any more is left alone.

        Raises:
            Unavailable: SQS has not heard of all.
        """
        url = self._url or await self._find()
        for start in range(0, len(handles), BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": pause_s}
                for number, (handle, pause_s) in enumerate(handles[start : start + BATCH])
            ]
            await self._ask("ChangeMessageVisibilityBatch", {"QueueUrl": url, "Entries": entries})

    async def _put(self, entries: list[Entry]) -> None:
        failed: Unavailable | None = None
        for batch in _batches(entries):
            try:
                await self._batch(batch)
            except Unavailable as error:  # the others are no worse for it
                failed = error
        if failed is not None:
            raise failed

    async def _batch(self, entries: list[Entry]) -> None:
        left = {str(number): entry for number, entry in enumerate(entries)}
        url = self._url or await self._find()
        why = ""
        for number in range(TRIES):
            if number:
                await asyncio.sleep(pause_s(number - 1))
            found = await self._ask(
                "SendMessageBatch",
                {
                    "QueueUrl": url,
                    "Entries": [{"Id": name} | entry for name, entry in left.items()],
                },
            )
            for done in found.get("Successful") or ():
                left.pop(str(done.get("Id")), None)
            if not left:
                return
            for refused in found.get("Failed") or ():
                why = f"{refused.get('Code', '')}: {refused.get('Message', '')}"
                if refused.get("SenderFault") and refused.get("Code") not in AGAIN:
                    raise self._unavailable(f"a message was refused, {why}")
        raise self._unavailable(why or "not all messages were taken")

    async def _find(self) -> str:
        found = await self._ask("GetQueueUrl", {"QueueName": self.where.name})
        self._url = str(found.get("QueueUrl") or "")
        return self._url

    async def _ask(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        """One request, which may be sent twice: messages have their ids, and a second wake does no harm."""
        body, failure = _encode(request), ""
        for number in range(TRIES):
            if number:
                await asyncio.sleep(pause_s(number - 1))
            try:
                answer = await self._service.send(action, body)
            except (NotSent, MaybeSent) as error:
                failure = str(error)
                continue
            refused = refusal(answer)
            if refused is None:
                return _decode(answer.body)
            failure = str(refused)
            if refused.kind == EXPIRED and number == 0:
                self._service.renew()
            elif answer.status < 500 and refused.kind not in AGAIN:
                raise self._explained(refused, action) from refused
        raise self._unavailable(failure)

    def _explained(self, refused: Refused, action: str) -> Unavailable:
        cure = ""
        if refused.kind.endswith(("AccessDenied", "AccessDeniedException")):
            cure = f"the role needs {_RIGHTS[action]}"
        elif refused.kind.endswith("QueueDoesNotExist"):
            cure = "was it deleted, or is it in another region?"
        return self._unavailable(f"{refused}{f' ({cure})' if cure else ''}")

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"queue {self.where.name} ({self.where.variable}): {why}")


def _rounds(posts: Sequence[Post]) -> Iterator[list[Post]]:
    """One letter of each lane at a time: a batch may fail in part, and a later letter would overtake."""
    left = list(posts)
    while left:
        lanes: set[str] = set()
        now: list[Post] = []
        later: list[Post] = []
        for post in left:
            (later if post.lane in lanes else now).append(post)
            lanes.add(post.lane)
        yield now
        left = later


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry["MessageBody"].encode())
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


__all__ = ["LONGEST_DELAY_S", "Post", "SqsSender"]
