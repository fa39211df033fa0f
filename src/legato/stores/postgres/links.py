"""Connections: making them, lending them, and knowing what became of the last transaction of each.

A pool of our own and not the driver's: that one resets a connection with a round trip each time it comes
back, and what is needed here is little. A connection that failed in any way is dropped, never mended.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from legato.errors import MissingExtra, StoreUnavailable
from legato.stores.postgres.address import Where
from legato.stores.postgres.failures import READ_ONLY, explained, fatal, sqlstate

LOCK_S = 5
FIRST_PAUSE_S = 0.05
MOST_PAUSE_S = 1.0


class Connection(Protocol):
    """What we use of asyncpg.Connection."""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Runs a statement; all its rows."""

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """Runs a statement; its first row, or None."""

    async def execute(self, query: str) -> str:
        """Runs statements without parameters."""

    def transaction(self) -> Any:
        """A transaction, not yet begun."""

    def is_in_transaction(self) -> bool:
        """Whether one is open."""

    def is_closed(self) -> bool:
        """Whether it is known to be over."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Says goodbye."""

    def terminate(self) -> None:
        """Ends it at once."""


Connect = Callable[[Where], Awaitable[Connection]]


def settings_of(where: Where) -> dict[str, str]:
    """What we set for a connection of our own.

    The server gives up a statement before we give up the connection, and it notices soon when we are
    gone: what we left locked would hold up the others.
    """
    settings = {
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{where.timeout_s * 0.8:g}s",
        "lock_timeout": f"{min(LOCK_S, where.timeout_s / 3):g}s",
        "idle_in_transaction_session_timeout": "60s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "jit": "off",
    }
    if "application_name=" not in where.dsn:
        settings["application_name"] = "legato"
    return settings


async def connect(where: Where) -> Connection:
    """A connection by asyncpg.

    Raises:
        MissingExtra: asyncpg is not installed.
        Exception: Whatever it raises.
    """
    try:
        import asyncpg
    except ImportError as error:
        raise MissingExtra("A store in PostgreSQL", "postgres") from error
    made: Connection = await asyncpg.connect(
        where.dsn,
        timeout=min(10.0, where.timeout_s),
        command_timeout=where.timeout_s,
        statement_cache_size=0 if where.pgbouncer else 100,
        max_cached_statement_lifetime=0,
        server_settings=None if where.pgbouncer else settings_of(where),
        target_session_attrs="read-write" if where.several else None,
    )
    return made


class Link:
    """One connection, made when it is first needed and again when it was lost.

    Attributes:
        session: Names it in the table `writer`; outlives the connection.
        number: Of its last transaction that may have taken place.
        lost: Whether the last call ended so that nobody knows whether it took place.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._connection: Connection | None = None
        self.session: bytes = b""
        self.number: int = 0
        self.lost: bool = False
        self.forget()

    def forget(self) -> None:
        """Begins a new session: what the last transaction of the old one did will not be asked."""
        self.session = secrets.token_bytes(12)
        self.number = 0

    async def up(self) -> Connection:
        """The connection, made anew if need be.

        Raises:
            LegatoError: There is none now.
        """
        connection = self._connection
        if connection is None or connection.is_closed():
            self.drop()
            connection = self._connection = await self._door.enter()
        return connection

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Runs one statement in a transaction of its own; its rows."""
        connection = await self.up()
        self.lost = False
        try:
            if not self._door.where.pgbouncer:
                return await connection.fetch(query, *args)
            return await _in_transaction(connection, query, args)
        except BaseException as error:
            self.failed(error)
            raise

    async def fetch_inside(self, query: str, *args: Any) -> list[Any]:
        """Runs one statement in the transaction that is open on the connection; its rows."""
        connection = self._connection
        if connection is None:
            raise StoreUnavailable(
                f"{self._door.where.name}: the connection broke in a transaction"
            )
        self.lost = False
        try:
            return await connection.fetch(query, *args)
        except BaseException as error:
            self.failed(error)
            raise

    def failed(self, error: BaseException) -> None:
        """Notes that a call failed; drops the connection unless it is certainly sound."""
        if fatal(error) or self._connection is None or self._connection.is_closed():
            self.lost = True
            self.drop()
        elif sqlstate(error) == READ_ONLY:
            self.drop()  # the next one finds the server that writes

    def drop(self) -> None:
        """Ends the connection at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Ends the connection politely."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=2)
            except Exception:  # noqa: BLE001 - it is gone either way
                connection.terminate()


async def _in_transaction(connection: Connection, query: str, args: Sequence[Any]) -> list[Any]:
    """Runs a statement in a transaction, which holds the pooler's connection. Who is cancelled rolls nothing
    back: the answer might never come, and the connection is dropped.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        rows = await connection.fetch(query, *args)
    except Exception:
        await transaction.rollback()
        raise
    await transaction.commit()
    return rows


class Door:
    """Makes connections, and never storms a server that is down.

    After a failure nobody tries for a moment that doubles up to MOST_PAUSE_S; who asks meanwhile is
    told the same again.
    """

    def __init__(self, where: Where, connect: Connect) -> None:
        self.where: Where = where
        self._connect = connect
        self._failures = 0
        self._shut_until = 0.0
        self._why: StoreUnavailable | None = None

    @property
    def pause_s(self) -> float:
        """How long nobody will try, in seconds."""
        return max(0.0, self._shut_until - asyncio.get_running_loop().time())

    async def enter(self) -> Connection:
        """A new connection.

        Raises:
            StoreUnavailable: There is none now.
        """
        if self._why is not None and self.pause_s > 0:
            raise StoreUnavailable(str(self._why))
        try:
            connection = await self._connect(self.where)
        except Exception as error:
            ours = explained(error, self.where.name)
            if isinstance(ours, StoreUnavailable):
                self._why = ours
                pause_s = min(FIRST_PAUSE_S * 2**self._failures, MOST_PAUSE_S)
                self._failures = min(self._failures + 1, 10)
                self._shut_until = asyncio.get_running_loop().time() + pause_s
            raise ours from error
        self._failures, self._why = 0, None
        return connection


class Pool:
    """So many links, lent to one caller at a time: the one that came back last goes first."""

    def __init__(self, door: Door, size: int) -> None:
        self._links = [Link(door) for _ in range(size)]
        self._free = self._links.copy()
        self._turns = asyncio.Semaphore(size)

    async def take(self) -> Link:
        """Waits for a free one. Give it back with `back`."""
        await self._turns.acquire()
        return self._free.pop()

    def back(self, link: Link) -> None:
        """Ends a loan."""
        self._free.append(link)
        self._turns.release()

    async def close(self) -> None:
        """Ends all connections."""
        for link in self._links:
            await link.close()


async def read(pool: Pool, name: str, query: str, args: Sequence[Any]) -> list[Any]:
    """Runs one statement that may be run twice, once more if the connection broke under it.

    Raises:
        LegatoError: As `failures.explained` says.
    """
    link = await pool.take()
    try:
        try:
            return await link.fetch(query, *args)
        except Exception:
            if not link.lost:
                raise
        return await link.fetch(query, *args)
    except Exception as error:
        raise explained(error, name) from error
    finally:
        pool.back(link)
