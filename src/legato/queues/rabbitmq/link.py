"""A connection that comes back: it is made again whenever it is lost, to whichever host answers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from legato.errors import ConfigError, Unavailable
from legato.queues.rabbitmq.address import Address
from legato.queues.rabbitmq.connection import Connection

FIRST_S = 0.1
MOST_S = 5.0
STABLE_S = 10.0
"""A connection that lived so long does not count as a failed try when it goes."""

log: logging.Logger = logging.getLogger("legato.rabbitmq")
T = TypeVar("T")


def backoff_s(tries: int) -> float:
    """So long to wait after so many failures in a row: up to MOST_S, with jitter."""
    most: float = min(FIRST_S * 2.0 ** min(tries, 10), MOST_S)
    return most * random.uniform(0.5, 1.0)  # nosec B311 # no secret: it spreads the load


class Link(Generic[T]):
    """What is wanted of a connection (`prepare` makes it of each new one), as long as it lives.

    Args:
        address: Its hosts.
        name: The broker shows it in its list of connections.
        prepare: Called with each new connection.
    """

    def __init__(
        self, address: Address, name: str, prepare: Callable[[Connection], Awaitable[T]]
    ) -> None:
        self._address = address
        self._name = name
        self._prepare = prepare
        self._connection: Connection | None = None
        self._prepared: T | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._host = random.randrange(len(address.hosts))  # nosec B311 # spreads the load
        self.why: str = "it was never reached"

    async def open(self) -> None:
        """Connects, once; from then on by itself. Raises Unavailable or ConfigError. Idempotent."""
        async with self._opening:
            if self._task is None:
                await self._connect()
                self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Disconnects, and stays away. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        connection, self._connection = self._connection, None
        self._clear(None)
        if connection is not None:
            await connection.close()

    def now(self) -> T | None:
        """What there is now, None while there is no connection."""
        return self._prepared

    async def ready(self, timeout_s: float | None) -> T:
        """What there is, or comes within the time; None waits for ever. Raises Unavailable."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._prepared is None:
                    await self._ready.wait()
        except TimeoutError:
            raise Unavailable(f"the broker is out of reach: {self.why}") from None
        return self._prepared

    async def _connect(self) -> None:
        """Tries every host once."""
        hosts = self._address.hosts
        for last in reversed(range(len(hosts))):
            self._host = (self._host + 1) % len(hosts)
            try:
                connection = await Connection.open(self._address, *hosts[self._host], self._name)
                try:
                    prepared = await self._prepare(connection)
                except BaseException:
                    await connection.close()
                    raise
            except Unavailable as error:
                self.why = str(error)
                if not last:
                    raise
            else:
                self._connection, self._prepared = connection, prepared
                self._ready.set()
                connection.lost.add_done_callback(self._clear)
                return

    def _clear(self, _: object) -> None:
        self._prepared = None
        self._ready.clear()

    async def _keep(self) -> None:
        loop, tries = asyncio.get_running_loop(), 0
        while True:
            if self._connection is not None:
                began = loop.time()
                connection = self._connection
                await asyncio.shield(connection.lost)
                self._connection = None
                self.why = connection.why
                await connection.close()
                tries = 0 if loop.time() - began > STABLE_S else tries + 1
                log.warning("lost the broker (%s): %s", self._name, self.why)
            if tries:
                await asyncio.sleep(backoff_s(tries - 1))
            try:
                await self._connect()
            except (Unavailable, ConfigError) as error:
                tries += 1
                self.why = str(error)
                if tries in (1, 10) or tries % 100 == 0:
                    log.warning("cannot reach the broker (%s): %s", self._name, error)
            else:
                log.info("reached the broker again (%s)", self._name)


__all__ = ["Link", "backoff_s"]
