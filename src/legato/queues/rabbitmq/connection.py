"""A connection of AMQP 0-9-1 on asyncio: login, frames, heartbeats. It never connects again.

What goes is gathered and written once a turn of the loop. A connection that is silent for two
heartbeats is given up.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from pamqp import commands as amqp
from pamqp import frame as frames
from pamqp.exceptions import PAMQPException
from pamqp.header import ProtocolHeader

from legato.errors import BadToken, ConfigError, Unavailable
from legato.queues.rabbitmq.address import Address
from legato.queues.rabbitmq.channel import (
    BODY,
    CLOSE_S,
    END,
    FRAME,
    FRAME_MAX,
    HEADER,
    METHOD,
    Channel,
)

WRITE_HIGH = 1 << 20
"""So many bytes wait for the network before publishers wait for it."""
BEAT = b"\x08\0\0\0\0\0\0\xce"
_INDEX = struct.Struct(">I")
_CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Connection(asyncio.Protocol):
    """A connection that is open, until it is lost.

    Attributes:
        lost: Done when it is gone; `why` says why.
        blocked: Why the broker takes no publishes now; "" if it does.
        writable: Whether the network keeps up.
        version: Of the broker, as (3, 10, 8); () if it is no RabbitMQ.
    """

    def __init__(self, address: Address, name: str) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self.loop.create_future()
        self.why: str = "the connection is closed"
        self.blocked: str = ""
        self.writable: bool = True
        self.version: tuple[int, ...] = ()
        self._address = address
        self._name = name
        self._transport: Any = None
        self._gone = self.loop.create_future()
        self._replies: asyncio.Queue[Any] = asyncio.Queue()  # of channel 0
        self.frame_max: int = FRAME_MAX
        self._channels: dict[int, Channel] = {}
        self._channel_max = 2047
        self._last_channel = 0
        self._out: list[bytes] = []
        self._acking: list[Channel] = []
        self._scheduled = False
        self._drained = asyncio.Event()
        self._rest = bytearray()
        self._need = 8
        self._beat_s = 0.0
        self._heard = self._wrote = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, address: Address, host: str, port: int, name: str) -> Connection:
        """Connects to one host and logs in.

        Raises:
            Unavailable: It is out of reach.
            ConfigError: It refuses the login or the virtual host.
        """
        self = cls(address, name)
        tls = address.context()
        server_name = address.server_name or host if tls else None
        try:
            async with asyncio.timeout(address.connect_s):
                await self.loop.create_connection(
                    lambda: self, host, port, ssl=tls, server_hostname=server_name
                )
                await self._log_in()
        except BaseException as error:
            await self._abort()
            if isinstance(error, OSError | TimeoutError):
                what = str(error) or "no answer in time"
                raise Unavailable(f"the broker {host}:{port} is out of reach: {what}") from None
            raise
        return self

    async def _log_in(self) -> None:
        self.write(ProtocolHeader().marshal())
        start = await self._reply(amqp.Connection.Start)
        known = start.server_properties
        if known.get("product") == "RabbitMQ":
            parts = str(known.get("version", "")).split(".")[:3]
            self.version = tuple(int(part) for part in parts if part.isdigit())
        login = f"\0{self._address.user}\0{self._address.password}"
        about: Any = {
            "product": "Legato",
            "connection_name": self._name,
            "capabilities": _CAPABILITIES,
        }
        self._send(amqp.Connection.StartOk(about, "PLAIN", login, "en_US"))
        tune = await self._reply(amqp.Connection.Tune)
        self._channel_max = tune.channel_max or 65_535
        beat = min(filter(None, (tune.heartbeat, self._address.heartbeat_s)), default=0)
        if not self._address.heartbeat_s:
            beat = 0
        size = min(tune.frame_max or FRAME_MAX, FRAME_MAX)
        self._send(amqp.Connection.TuneOk(self._channel_max, size, beat))
        self._send(amqp.Connection.Open(self._address.vhost))
        await self._reply(amqp.Connection.OpenOk)
        self.frame_max = size
        if beat:
            self._beat_s = float(beat)
            self._timer = self.loop.call_later(beat / 2, self._beat)

    async def _reply(self, expected: type[Any]) -> Any:
        frame = await self._replies.get()
        if isinstance(frame, expected):
            return frame
        if isinstance(frame, amqp.Connection.Close):
            if frame.reply_code == 403:
                raise BadToken(
                    "the broker refuses this user name and password: check those in LEGATO_QUEUE (special "
                    "characters as %40 and so on), or make them there: rabbitmqctl add_user"
                )
            if frame.reply_code in (402, 530):
                raise ConfigError(
                    f"the broker refuses the virtual host: {frame.reply_text}. Name another in LEGATO_QUEUE, or "
                    "make it and let this user in: rabbitmqctl add_vhost, set_permissions"
                )
        raise Unavailable(f"the broker ended the login: {self.why}")

    async def channel(self) -> Channel:
        """Opens a channel; raises Unavailable."""
        if self.lost.done():
            raise Unavailable(self.why)
        for _ in range(self._channel_max):
            self._last_channel = self._last_channel % self._channel_max + 1
            if self._last_channel not in self._channels:
                break
        else:
            raise Unavailable("the connection has no free channel")
        channel = Channel(self, self._last_channel)
        self._channels[channel.number] = channel
        channel.lost.add_done_callback(lambda _: self._channels.pop(channel.number, None))
        await channel.call(amqp.Channel.Open())
        return channel

    async def drained(self) -> None:
        """Returns when the network takes more. Raises Unavailable if the connection is lost."""
        while not self.writable:
            self._drained.clear()
            await self._drained.wait()
        if self.lost.done():
            raise Unavailable(self.why)

    async def close(self) -> None:
        """Says goodbye and disconnects. Idempotent."""
        if not self.lost.done():
            self.write(b"".join(channel.acks() for channel in self._acking))
            self._send(amqp.Connection.Close(200, "", 0, 0))
            try:
                async with asyncio.timeout(CLOSE_S):
                    await asyncio.shield(self.lost)
            except TimeoutError:
                self.lose("the broker did not say goodbye")
        await self._abort()

    def lose(self, why: str) -> None:
        """Gives the connection up, with all its channels."""
        if self.lost.done():
            return
        self.why = why
        self.lost.set_result(None)
        self._replies.put_nowait(None)
        self.resume_writing()
        if self._timer:
            self._timer.cancel()
        for channel in list(self._channels.values()):
            channel.lose(why)
        if self._transport is not None:
            self._transport.abort()

    # -- what goes ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See Wire."""
        self._out.append(data)
        self._flush_soon()

    def acks_wait(self, channel: Channel) -> None:
        """See Wire."""
        self._acking.append(channel)
        self._flush_soon()

    def _send(self, frame: Any) -> None:
        self.write(frames.marshal(frame, 0))

    def _flush_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        acking, self._acking = self._acking, []
        out, self._out = self._out, []
        out += [channel.acks() for channel in acking if not channel.lost.done()]
        if not self.lost.done():
            self._wrote = self.loop.time()
            self._transport.write(b"".join(out))

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._drained.set()

    def _beat(self) -> None:
        now = self.loop.time()
        if now - self._heard > 2 * self._beat_s:
            self.lose("the broker was silent for two heartbeats")
            return
        if now - self._wrote >= self._beat_s / 2:
            self.write(BEAT)
        self._timer = self.loop.call_later(self._beat_s / 2, self._beat)

    # -- what comes ---------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose(f"the connection to the broker broke: {exc or 'it was closed'}")
        self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return
            data = bytes(self._rest)
        try:
            done = self._read(data)
        except (PAMQPException, ArithmeticError, LookupError, ValueError, struct.error) as error:
            self.lose(f"the broker sent what is no AMQP: {error}")
        else:
            self._rest = bytearray(data[done:])

    def _read(self, data: bytes) -> int:
        """Takes all frames that are complete; returns where the next begins."""
        at, size = 0, len(data)
        self._need = 8
        while size - at >= 8:
            kind, number, length = FRAME.unpack_from(data, at)
            end = at + 7 + length
            if length > FRAME_MAX:
                raise ValueError("a frame that is too large")
            if end >= size:
                self._need = length + 8
                break
            if data[end] != END:
                raise ValueError("a frame without an end")
            self._take(kind, number, data, at + 7, end)
            at = end + 1
        return at

    def _take(self, kind: int, number: int, data: bytes, at: int, end: int) -> None:
        channel = self._channels.get(number)
        if channel is not None:
            if kind == METHOD:
                channel.method(_INDEX.unpack_from(data, at)[0], data, at + 4, end)
            elif kind == HEADER:
                channel.header(data[at:end])
            elif kind == BODY:
                channel.body(data[at:end])
        elif kind == METHOD and number == 0:
            self._control(frames.unmarshal(data[at - 7 : end + 1])[2])

    def _control(self, frame: Any) -> None:
        if isinstance(frame, amqp.Connection.Blocked):
            self.blocked = frame.reason or "no reason given"
        elif isinstance(frame, amqp.Connection.Unblocked):
            self.blocked = ""
        elif isinstance(frame, amqp.Connection.CloseOk):
            self.lose("the connection is closed")
        elif isinstance(frame, amqp.Connection.Close):
            self._replies.put_nowait(frame)
            self._send(amqp.Connection.CloseOk())
            self._flush()
            self.lose(f"the broker says: {frame.reply_text}")
        else:
            self._replies.put_nowait(frame)

    async def _abort(self) -> None:
        self.lose(self.why)
        if self._transport is not None:
            self._transport.abort()
            await self._gone
