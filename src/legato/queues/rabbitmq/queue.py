"""A queue of RabbitMQ 3.10 to 4: quorum queues, one active consumer each, publishes with confirms.

Publishers send to one exchange with the slot as routing key; the exchange's bindings say which queue
that is, so a publisher never learns how many there are. Publishing has a connection of its own: under
a memory or disk alarm the broker stops reading from whoever publishes, and acks would get stuck, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pamqp import commands as amqp
from pamqp.common import FieldTable

from legato.abc.queue import Consumer, Delivery, Depth, Letter, Queue, Take
from legato.errors import Unavailable
from legato.model.shards import SLOTS, slots_of
from legato.queues.rabbitmq.address import Address
from legato.queues.rabbitmq.channel import Channel, ChannelLost, content, publish_head
from legato.queues.rabbitmq.connection import Connection
from legato.queues.rabbitmq.letters import name_of, properties, read
from legato.queues.rabbitmq.link import Link, backoff_s, log

PREFETCH = 200
PUBLISH_S = 1.8
"""A gateway answers within two seconds."""
MANAGE_S = 60.0
NOT_FOUND, DIFFERS = 404, 406
CLOSED = "the queue is closed"


class RabbitQueue(Queue):
    """Letters in RabbitMQ.

    Args:
        url: See Address.
        app: Names exchange and queues: legato.<app>, legato.<app>.<generation>.<shard>.
        prefetch: So many letters of a queue are handed out ahead of their acks.
        timeout_s: So long a publish waits for a connection and for the broker's confirm.

    Raises:
        ConfigError: The address is none.
    """

    __slots__ = (
        "_address",
        "_consumers",
        "_exchange",
        "_heads",
        "_open",
        "_prefetch",
        "_publishing",
        "_routed",
        "_timeout_s",
        "_working",
    )

    def __init__(
        self, url: str, app: str, *, prefetch: int = PREFETCH, timeout_s: float = PUBLISH_S
    ) -> None:
        self._address = Address(url)
        self._exchange = f"legato.{app}"
        self._routed = f"legato-routed.{app}"
        self._prefetch = prefetch
        self._timeout_s = timeout_s
        self._heads = [publish_head(1, self._exchange, str(slot)) for slot in range(SLOTS)]
        self._consumers: set[_RabbitConsumer] = set()
        self._open = False
        self._publishing = Link(self._address, f"{self._exchange} publishes", _confirming)
        self._working = Link(self._address, f"{self._exchange} works", _itself)

    @property
    def ready(self) -> bool:
        """See Queue."""
        channel = self._publishing.now()
        return self._open and channel is not None and not channel.connection.blocked

    async def open(self) -> None:
        await self._publishing.open()
        self._open = True

    async def close(self) -> None:
        self._open = False
        for consumer in list(self._consumers):
            await consumer.close()
        await self._publishing.close()
        await self._working.close()

    # -- publishing ---------------------------------------------------------------------------

    async def publish(self, letters: Sequence[Letter]) -> None:
        if not self._open:
            raise Unavailable(CLOSED)
        if letters:
            await self._send([self._heads[letter.slot] for letter in letters], letters)

    async def _send(self, heads: Iterable[bytes], letters: Sequence[Letter]) -> None:
        channel = self._publishing.now() or await self._publishing.ready(self._timeout_s)
        connection = channel.connection
        if connection.blocked:
            raise Unavailable(f"the broker blocks publishers: {connection.blocked}")
        if not connection.writable:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await connection.drained()
            except TimeoutError:
                raise Unavailable("the broker does not keep up") from None
        names = [name_of(letter) for letter in letters]
        most = connection.frame_max - 8
        parts = []
        for head, name, letter in zip(heads, names, letters, strict=True):
            parts.append(head)
            parts.append(content(1, properties(letter, name), letter.body, most))
        bad = await channel.publish(b"".join(parts), names, self._timeout_s).done
        if bad:
            raise Unavailable(bad)

    # -- consuming ----------------------------------------------------------------------------

    async def consume(self, generation: int, shard: int, take: Take) -> Consumer:
        link = await self._link()
        consumer = _RabbitConsumer(self._name(generation, shard), self._prefetch, take, link)
        await consumer.begin(self._consumers)
        return consumer

    # -- topology -----------------------------------------------------------------------------

    async def declare(self, generation: int, shards: int) -> None:
        async with self._channel() as channel:
            await channel.call(_exchange(self._exchange))
        for shard in range(shards):
            await self._declare(self._name(generation, shard))
        # AMQP cannot ask for bindings: that they were made once is said by an exchange of its own.
        if not await self._is_routed():
            await self._bind(generation, shards)
            async with self._channel() as channel:
                await channel.call(_exchange(self._routed))

    async def route(self, generation: int, shards: int, old: tuple[int, int] | None = None) -> None:
        await self._bind(generation, shards)
        if old is not None:
            await self._bind(*old, verb=amqp.Queue.Unbind)

    async def end(self, generation: int, shards: int) -> None:
        if not self._open:
            raise Unavailable(CLOSED)
        names = [self._name(generation, shard) for shard in range(shards)]
        ends = [Letter(f"end:{generation}:{n}", n, b"", "end") for n in range(shards)]
        await self._send([publish_head(1, "", name) for name in names], ends)

    async def drop(self, generation: int, shards: int) -> None:
        for depth in await self.depths(generation, shards):
            if depth.ready or depth.consumers:
                raise Unavailable(f"the queue {depth.queue} is still in use")
        async with self._channel() as channel:
            for shard in range(shards):
                # Quorum queues know no if-empty and no if-unused: that was looked at before.
                await channel.call(amqp.Queue.Delete(0, self._name(generation, shard)))

    async def depths(self, generation: int, shards: int) -> list[Depth]:
        found: list[Depth] = []
        while len(found) < shards:
            try:
                async with self._channel() as channel:
                    while len(found) < shards:
                        name = self._name(generation, len(found))
                        state = await channel.call(amqp.Queue.Declare(0, name, passive=True))
                        found.append(Depth(name, state.message_count, state.consumer_count))
            except ChannelLost as error:
                if error.code != NOT_FOUND:
                    raise
                found.append(Depth(self._name(generation, len(found)), 0, 0))
        return found

    # -- inside -------------------------------------------------------------------------------

    def _name(self, generation: int, shard: int) -> str:
        return f"{self._exchange}.{generation}.{shard}"

    async def _link(self) -> Link[Connection]:
        if not self._open:
            raise Unavailable(CLOSED)
        await self._working.open()
        return self._working

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Channel]:
        """A channel for some calls of the topology's."""
        connection = await (await self._link()).ready(self._timeout_s)
        try:
            async with asyncio.timeout(MANAGE_S):
                channel = await connection.channel()
                try:
                    yield channel
                finally:
                    await channel.close()
        except TimeoutError:
            raise Unavailable("the broker did not answer in time") from None

    async def _declare(self, name: str) -> None:
        version = (await (await self._link()).ready(self._timeout_s)).version
        kind: FieldTable = {"x-queue-type": "quorum", "x-single-active-consumer": True}
        # RabbitMQ 4 drops a letter after 20 redeliveries if not told otherwise; 3 never does, and
        # refuses -1. Poison is counted in the store.
        limit: FieldTable = {"x-delivery-limit": -1} if version >= (4,) else {}
        for arguments in (kind | limit, kind):
            try:
                async with self._channel() as channel:
                    await channel.call(
                        amqp.Queue.Declare(0, name, durable=True, arguments=arguments)
                    )
            except ChannelLost as error:
                if error.code != DIFFERS or arguments is kind or not limit:
                    raise
                log.warning(
                    "%s was declared by an older broker: set the policy delivery-limit=-1 for it, "
                    "or letters are lost after 20 deaths of workers",
                    name,
                )
            else:
                return

    async def _is_routed(self) -> bool:
        try:
            async with self._channel() as channel:
                await channel.call(_exchange(self._routed, passive=True))
        except ChannelLost as error:
            if error.code != NOT_FOUND:
                raise
            return False
        return True

    async def _bind(
        self, generation: int, shards: int, *, verb: type[Any] = amqp.Queue.Bind
    ) -> None:
        """Binds every slot to its queue of a generation, or unbinds it."""
        async with self._channel() as channel:
            for shard in range(shards):
                name = self._name(generation, shard)
                slots = slots_of(shard, shards)
                calls = [channel.call(verb(0, name, self._exchange, str(slot))) for slot in slots]
                await asyncio.gather(*calls)


async def _confirming(connection: Connection) -> Channel:
    """Channel 1 in confirm mode. Its connection goes with it, and both are made again."""
    channel = await connection.channel()
    await channel.call(amqp.Confirm.Select())
    channel.lost.add_done_callback(lambda _: connection.lose(channel.why))
    return channel


async def _itself(connection: Connection) -> Connection:
    return connection


def _exchange(name: str, *, passive: bool = False) -> amqp.Exchange.Declare:
    return amqp.Exchange.Declare(0, name, "direct", passive=passive, durable=True)


class _RabbitConsumer(Consumer):
    """A subscription on a channel of its own, made again whenever that is lost."""

    __slots__ = ("_all", "_channel", "_link", "_name", "_prefetch", "_stopped", "_take", "_task")

    def __init__(self, name: str, prefetch: int, take: Take, link: Link[Connection]) -> None:
        self._name = name
        self._prefetch = prefetch
        self._take = take
        self._link = link
        self._stopped = False
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._all: set[_RabbitConsumer] = set()

    async def begin(self, others: set[_RabbitConsumer]) -> None:
        """Subscribes, from now on by itself; it is one of `others` until it is closed."""
        await self._subscribe(await self._link.ready(PUBLISH_S))
        self._all = others
        self._all.add(self)
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        self._stopped = True
        self._all.discard(self)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    async def _keep(self) -> None:
        tries = 0
        while True:
            if self._channel is not None:
                await asyncio.shield(self._channel.lost)
                self._channel = None
            connection = await self._link.ready(None)
            try:
                await self._subscribe(connection)
                tries = 0
            except Unavailable as error:
                log.warning("cannot consume %s: %s", self._name, error)
                await asyncio.sleep(backoff_s(tries))
                tries += 1

    async def _subscribe(self, connection: Connection) -> None:
        channel = await connection.channel()

        def take(tag: int, redelivered: bool, key: bytes, header: bytes, body: bytes) -> None:  # noqa: FBT001
            # What comes after `stop` stays where it is: closing the channel gives it back.
            if not self._stopped:
                self._take(_RabbitDelivery(channel, tag, read(key, header, body), redelivered))

        channel.take = take
        try:
            await channel.call(amqp.Basic.Qos(0, self._prefetch))
            await channel.call(amqp.Basic.Consume(0, self._name))
        except BaseException:
            await channel.close()
            raise
        self._channel = channel


class _RabbitDelivery(Delivery):
    __slots__ = ("_channel", "_tag")

    def __init__(self, channel: Channel, tag: int, letter: Letter, redelivered: bool) -> None:  # noqa: FBT001
        self.letter = letter
        self.redelivered = redelivered
        self._channel: Channel | None = channel
        self._tag = tag

    def ack(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.ack(self._tag)


__all__ = ["RabbitQueue"]
