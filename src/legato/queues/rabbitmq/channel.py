"""A channel of AMQP 0-9-1: calls and their answers, deliveries and acks, publishes and confirms.

Frames of publish, deliver and acks are packed and read by hand, the rest by pamqp. Acks of
neighbouring deliveries go as one frame.
https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf and RabbitMQ's extensions (read in 2026)
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pamqp import commands as amqp
from pamqp import frame as frames
from pamqp.base import Frame

from legato.errors import Unavailable

FRAME_MAX = 131_072
CLOSE_S = 2.0
METHOD, HEADER, BODY, HEARTBEAT, END = 1, 2, 3, 8, 0xCE
_ACK, _NACK, _DELIVER, _SEND = 0x3C0050, 0x3C0078, 0x3C003C, 0x3C0028
FRAME = struct.Struct(">BHI")  # type, channel, size of the payload
_PUBLISH = struct.Struct(">BHIIH")
_SETTLE = struct.Struct(">BHIIQBB")
_TAG = struct.Struct(">QB")


class Wire(Protocol):
    """What a channel needs of its connection."""

    loop: asyncio.AbstractEventLoop
    blocked: str
    frame_max: int
    writable: bool

    async def drained(self) -> None:
        """Returns once it is writable."""

    def write(self, data: bytes) -> None:
        """Sends frames, in this order, soon."""

    def acks_wait(self, channel: Channel) -> None:
        """Calls `acks` before the next write."""


class ChannelLost(Unavailable):
    """The broker closed a channel (`code` says why, as 404), or the connection went (0)."""

    def __init__(self, message: str, code: int = 0) -> None:
        self.code: int = code
        super().__init__(message)


def publish_head(channel: int, exchange: str, key: str) -> bytes:
    """The frame that says where a message goes: mandatory, it comes back if no queue takes it."""
    where = b"".join(bytes((len(raw),)) + raw for raw in (exchange.encode(), key.encode()))
    return _PUBLISH.pack(METHOD, channel, 7 + len(where), _SEND, 0) + where + b"\x01\xce"


def content(channel: int, properties: bytes, body: bytes, most: int = FRAME_MAX - 8) -> bytes:
    """The frames that follow: `properties` are flags and values of the content's header."""
    size = len(body)
    head = b"%b\0\x3c\0\0%b%b\xce" % (
        FRAME.pack(HEADER, channel, 12 + len(properties)),
        size.to_bytes(8, "big"),
        properties,
    )
    if 0 < size <= most:
        return b"%b%b%b\xce" % (head, FRAME.pack(BODY, channel, size), body)
    parts = [head]  # an empty body has no frame at all
    for begin in range(0, size, most):
        part = body[begin : begin + most]
        parts.append(b"%b%b\xce" % (FRAME.pack(BODY, channel, len(part)), part))
    return b"".join(parts)


class Batch:
    """Messages that wait for their confirms.

    Attributes:
        done: Its result is "" once all are confirmed, or why one of them is not safe.
    """

    __slots__ = ("bad", "deadline", "done", "left", "names")

    def __init__(self, names: Sequence[bytes], deadline: float) -> None:
        self.names: Sequence[bytes] = names
        self.left: int = len(names)
        self.deadline: float = deadline
        self.bad: str = ""
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(self, bad: str) -> None:
        """Tells who waits."""
        if not self.done.done():
            self.done.set_result(bad)


class Channel:
    """A channel: calls and their answers, deliveries and their acks, publishes and their confirms.

    Attributes:
        lost: Done when the channel is of no more use; `why` and `code` say why.
        take: Gets (tag, redelivered, routing key, content's header, body) of each delivery; must not
            raise.
    """

    def __init__(self, connection: Wire, number: int) -> None:
        self.connection: Wire = connection
        self.number: int = number
        self.lost: asyncio.Future[None] = connection.loop.create_future()
        self.why: str = "the channel is closed"
        self.code: int = 0
        self.take: Callable[[int, bool, bytes, bytes, bytes], None] | None = None
        self._calls: deque[asyncio.Future[Any]] = deque()
        self._method: tuple[int, bool, bytes] | None = None
        self._header = b""
        self._left = 0
        self._chunks: list[bytes] = []
        self._returned = ""
        self._acked_to = 0
        self._acked_above: set[int] = set()
        self._new_acks: list[int] = []
        self._tag = 0  # of the last publish
        self._confirmed_to = 0
        self._unconfirmed: dict[int, Batch] = {}
        self._batches: deque[Batch] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def send(self, frame: Frame) -> None:
        """Sends what gets no answer."""
        if self.lost.done():
            raise ChannelLost(self.why, self.code)
        self.connection.write(frames.marshal(frame, self.number))

    async def call(self, frame: Frame) -> Any:
        """Sends what is answered, and returns the answer; raises ChannelLost."""
        self.send(frame)
        answer = self.connection.loop.create_future()
        self._calls.append(answer)
        found = await answer
        if found is None:
            raise ChannelLost(self.why, self.code)
        return found

    async def close(self) -> None:
        """Closes it: what was delivered and not acknowledged goes back. Idempotent."""
        if not self.lost.done():
            self.connection.write(self.acks())
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self.call(amqp.Channel.Close(200, "", 0, 0))
            except (ChannelLost, TimeoutError):
                self.lose(self.why)

    def lose(self, why: str, code: int = 0) -> None:
        """It is of no more use: whoever waits for an answer or a confirm gets the reason."""
        if self.lost.done():
            return
        self.why, self.code = why, code
        self.lost.set_result(None)
        if self._timer:
            self._timer.cancel()
        for answer in self._calls:
            if not answer.done():
                answer.set_result(None)
        for batch in self._batches:
            batch.end(why)
        self._calls, self._batches, self._unconfirmed = deque(), deque(), {}

    # -- acks ---------------------------------------------------------------------------------

    def ack(self, tag: int) -> None:
        """Acknowledges a delivery of this channel, once; does nothing if the channel is lost."""
        if not self.lost.done():
            if not self._new_acks:
                self.connection.acks_wait(self)
            self._new_acks.append(tag)

    def acks(self) -> bytes:
        """The frames for what was acknowledged since the last call."""
        above, new, self._new_acks = self._acked_above, self._new_acks, []
        above.update(new)
        while self._acked_to + 1 in above:
            self._acked_to += 1
            above.discard(self._acked_to)
        # The tag of an ack must still be open, or the broker closes the channel: it is a new one.
        upto = max((tag for tag in new if tag <= self._acked_to), default=0)
        parts = [(tag, False) for tag in new if tag > self._acked_to]
        if upto:
            parts.insert(0, (upto, True))
        return b"".join(_SETTLE.pack(METHOD, self.number, 13, _ACK, *part, END) for part in parts)

    # -- confirms -----------------------------------------------------------------------------

    def publish(self, messages: bytes, names: Sequence[bytes], timeout_s: float) -> Batch:
        """Sends messages that are packed already; the channel must be in confirm mode.

        Args:
            messages: All their frames.
            names: One a message: a part of its header by which it is known when it comes back.
            timeout_s: So long their confirms are waited for.
        """
        if self.lost.done():
            raise ChannelLost(self.why, self.code)
        loop = self.connection.loop
        batch = Batch(names, loop.time() + timeout_s)
        for _ in names:
            self._tag += 1
            self._unconfirmed[self._tag] = batch
        self._batches.append(batch)
        if self._timer is None:
            self._timer = loop.call_at(batch.deadline, self._expire)
        self.connection.write(messages)
        return batch

    def _settle(self, tag: int, *, multiple: bool, bad: str) -> None:
        tags = range(self._confirmed_to + 1, tag + 1) if multiple else (tag,)
        for one in tags:
            batch = self._unconfirmed.pop(one, None)
            if batch is not None:
                batch.left -= 1
                batch.bad = batch.bad or bad
                if not batch.left:
                    batch.end(batch.bad)
        if multiple:
            self._confirmed_to = max(tag, self._confirmed_to)

    def _came_back(self, header: bytes) -> None:
        # A message that comes back is confirmed afterwards: that must not count.
        for batch in self._batches:
            if not batch.done.done() and any(name in header for name in batch.names):
                batch.bad = self._returned

    def _expire(self) -> None:
        now, batches = self.connection.loop.time(), self._batches
        while batches and (batches[0].deadline <= now or batches[0].done.done()):
            batches.popleft().end("the broker did not confirm in time")
        self._timer = None
        if batches:
            self._timer = self.connection.loop.call_at(batches[0].deadline, self._expire)

    # -- what comes ---------------------------------------------------------------------------

    def method(self, index: int, data: bytes, at: int, end: int) -> None:
        """Takes a method whose arguments lie in data[at:end]."""
        if index == _DELIVER:
            at += 1 + data[at]  # the consumer's tag: a channel has one consumer
            tag, redelivered = _TAG.unpack_from(data, at)
            at += 10 + data[at + 9]  # the exchange
            self._method = tag, redelivered == 1, data[at + 1 : at + 1 + data[at]]
        elif index in (_ACK, _NACK):
            tag, bits = _TAG.unpack_from(data, at)
            refused = "the broker refused it" if index == _NACK else ""
            self._settle(tag, multiple=bits & 1 == 1, bad=refused)
        else:
            self._rare(frames.unmarshal(data[at - 11 : end + 1])[2])

    def _rare(self, frame: Any) -> None:
        if isinstance(frame, amqp.Basic.Return):
            self._returned = f"unroutable: {frame.exchange}/{frame.routing_key} goes to no queue"
            self._method = None
        elif isinstance(frame, amqp.Channel.Close):
            self.send(amqp.Channel.CloseOk())
            self.lose(f"the broker says: {frame.reply_text}", frame.reply_code or 0)
        elif isinstance(frame, amqp.Basic.Cancel):
            self.send(amqp.Channel.Close(200, "", 0, 0))
            self.lose("the broker ended the subscription")
        elif self._calls:
            answer = self._calls.popleft()
            if not answer.done():
                answer.set_result(frame)
            if isinstance(frame, amqp.Channel.CloseOk):
                self.lose(self.why)

    def header(self, payload: bytes) -> None:
        """Takes the header of a content."""
        self._header = payload
        self._left = int.from_bytes(payload[4:12], "big")
        if not self._left:
            self._complete(b"")

    def body(self, chunk: bytes) -> None:
        """Takes a part of its body."""
        self._left -= len(chunk)
        if self._left > 0 or self._chunks:
            self._chunks.append(chunk)
        if self._left > 0:
            return
        if self._chunks:
            chunk, self._chunks = b"".join(self._chunks), []
        self._complete(chunk)

    def _complete(self, body: bytes) -> None:
        if self._method is None:
            self._came_back(self._header)
        elif self.take is not None:
            self.take(*self._method, self._header, body)
