"""The Store's and the Leases' methods over one schema of a PostgreSQL database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from legato.abc.leases import Leases
from legato.abc.store import Store
from legato.errors import StoreCorrupt, StoreError, StoreUnavailable
from legato.model.records import (
    Commit,
    Committed,
    Conversation,
    Loaded,
    Mail,
    OutboxItem,
    Settled,
)
from legato.model.shards import slot_of_key
from legato.stores.postgres import rows
from legato.stores.postgres.address import Where, where_is
from legato.stores.postgres.failures import bad_address, refused_at_start
from legato.stores.postgres.links import Connect, Door, Pool, connect, read
from legato.stores.postgres.migrate import migrate
from legato.stores.postgres.queries import Queries
from legato.stores.postgres.rows import Packed, to_bytes, to_text
from legato.stores.postgres.within import Ride, Within
from legato.stores.postgres.writer import Statements, Writer

log: logging.Logger = logging.getLogger("legato.store")

PURGE_PAGE = 1000


class PostgresStore(Store, Leases):
    """Keeps everything in one schema of a PostgreSQL database, for any number of processes.

    Args:
        url: "postgresql://user:password@host:5432/database". Several hosts are separated by commas; the
            one that takes writes is used. Parameters of ours: schema (default "legato"), pool
            (connections at most, 4; leases have one more of their own), timeout (seconds a statement
            may take, 15), pgbouncer=1, partitions (when the tables are made). All others are libpq's:
            sslmode, sslrootcert ...
        create: Whether the tables are made if there are none; False is for tools that look at a store.

    Raises:
        ConfigError: It is no such address.
    """

    __slots__ = (
        "_connect",
        "_create",
        "_door",
        "_hurry_s",
        "_leasing",
        "_patience_s",
        "_pool",
        "_queries",
        "_riding",
        "_statements",
        "_where",
        "_writer",
        "_writing",
    )

    def __init__(
        self,
        url: str,
        *,
        create: bool = True,
        _connect: Connect = connect,
        _synchronous: str = "on",
        _hurry_s: float = 2.0,
        _patience_s: float = 30.0,
    ) -> None:
        self._where: Where = where_is(url)
        self._connect = _connect
        self._create = create
        self._hurry_s = _hurry_s
        self._patience_s = _patience_s
        self._queries = Queries(self._where.schema)
        self._statements = Statements(self._where.schema, _synchronous)
        self._door: Door | None = None
        self._pool: Pool | None = None
        self._leasing: Pool | None = None
        self._writing: Pool | None = None
        self._riding: asyncio.Semaphore | None = None
        self._writer: Writer | None = None

    def __repr__(self) -> str:
        return f"<{self._where.name}, schema {self._where.schema}>"

    async def open(self) -> None:
        """See Store.open.

        Raises:
            ConfigError: User, password, database or rights are wrong.
            MissingExtra: The driver is not installed.
        """
        if self._writer is not None:
            return
        where = self._where
        door = Door(where, self._connect)
        try:
            connection = await self._connect(where)
        except ValueError:
            raise bad_address(where.name) from None
        except Exception as error:
            raise refused_at_start(error, where.name) from error
        try:
            await migrate(connection, where, create=self._create)
        except asyncio.CancelledError:
            connection.terminate()  # whoever cancels has no time for a goodbye that may hang, too
            raise
        except Exception as error:
            await connection.close(timeout=2)
            raise refused_at_start(error, where.name) from error
        await connection.close(timeout=2)
        # One connection for batches, so that a page of rows keeps no commit waiting.
        self._pool = Pool(door, max(1, where.pool - 1))
        self._writing = Pool(door, 1) if where.pool > 1 else self._pool
        # Behind a flood of other questions a worker would lose what it has: leases wait for none.
        self._leasing = Pool(door, 1) if where.pool > 1 else self._pool
        self._riding = asyncio.Semaphore(max(1, where.pool - 2))
        self._door = door
        self._writer = Writer(
            self._writing,
            door,
            self._statements,
            hurry_s=self._hurry_s,
            patience_s=self._patience_s,
        )

    async def close(self) -> None:
        """See Store.close."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        assert self._pool is not None
        assert self._writing is not None
        await writer.close()
        assert self._leasing is not None
        for pool in {self._writing, self._pool, self._leasing}:
            await pool.close()

    # -- writing ------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> Committed:
        """See Store.commit."""
        writer = self._open()
        packed = Packed(commit)
        if commit.within is not None:
            return await self._commit_within(writer, packed, commit.within)
        committed = await writer.submit(packed)
        assert committed is not None
        if commit.purge_ms and committed.result == "committed":
            await self._purge(commit.purge_ms)
        return committed

    async def settle(self, settled: Sequence[Settled]) -> None:
        """See Store.settle."""
        if settled:
            await self._open().submit(settled)

    async def _commit_within(self, writer: Writer, packed: Packed, within: Within) -> Committed:
        writer.check_loop()
        assert self._riding is not None
        assert self._pool is not None
        async with self._riding:
            link = await self._pool.take()
            writer.hold(packed.keys)
            try:
                ride = Ride(link, writer, self._statements, self._where.name)
                return await ride.commit(packed, within)
            finally:
                writer.free(packed.keys)
                self._pool.back(link)

    async def _purge(self, before_ms: int) -> None:
        """The rest of a purge, page by page; what fails is left to the next one."""
        try:
            gone = PURGE_PAGE
            while gone == PURGE_PAGE:
                ((gone,),) = await self._fetch(self._statements.purge, before_ms, PURGE_PAGE)
        except StoreError as error:
            log.warning("what is old was not all forgotten: %s", error)

    # -- reading ------------------------------------------------------------------------------

    async def load(self, key: str) -> Loaded | None:
        """See Store.load."""
        found = await self._fetch(self._queries.load, to_bytes(key), slot_of_key(key))
        return rows.loaded(found[0]) if found else None

    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        """See Store.due."""
        query, args = self._queries.due(now_ms, limit, slots)
        return [rows.conversation(row) for row in await self._fetch(query, *args)]

    async def outbox(
        self,
        *,
        states: Sequence[str],
        after: int = 0,
        limit: int = 1000,
        key: str = "",
        slots: Collection[int] | None = None,
    ) -> list[OutboxItem]:
        """See Store.outbox."""
        if not states:
            return []
        query, args = self._queries.outbox(states, after, limit, key, slots)
        found = await self._fetch(query, *args)
        try:
            return [rows.item(row) for row in found]
        except StoreCorrupt as error:
            raise StoreCorrupt(f"{self._where.name}: {error}") from error

    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        """See Store.mail. An `after` that is not known (any more) begins at the beginning."""
        query, args = self._queries.mail(key, after, limit, slots)
        found = await self._fetch(query, *args)
        return [Mail(to_text(row[0]), to_text(row[1]), row[2]) for row in found]

    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        """See Store.find."""
        query, args = self._queries.find(status, dialog, after, limit, slots)
        return [rows.conversation(row) for row in await self._fetch(query, *args)]

    async def get(self, space: str, name: str) -> bytes | None:
        """See Store.get."""
        if space == "inbox":
            found = await self._fetch(self._queries.consumed, to_bytes(name))
            return (found[0][0] or b"") if found else None
        found = await self._fetch(self._queries.get, to_bytes(space), to_bytes(name))
        return found[0][0] if found else None

    # -- leases -------------------------------------------------------------------------------

    async def hold(self, holder: str, names: Collection[str], ttl_s: float) -> frozenset[str]:
        """See Leases.hold."""
        if not names:
            return frozenset()
        wanted = [to_bytes(name) for name in sorted(set(names))]
        found = await self._lease(self._queries.hold, to_bytes(holder), wanted, ttl_s)
        return frozenset([to_text(row[0]) for row in found])

    async def release(self, holder: str, names: Collection[str]) -> None:
        """See Leases.release."""
        if names:
            given = [to_bytes(name) for name in names]
            await self._lease(self._queries.release, to_bytes(holder), given)

    async def holders(self, prefix: str) -> Mapping[str, str]:
        """See Leases.holders."""
        found = await self._lease(self._queries.holders, to_bytes(prefix))
        return {to_text(row[0]): to_text(row[1]) for row in found}

    # -- what they share ----------------------------------------------------------------------

    async def _lease(self, query: str, *args: Any) -> list[Any]:
        self._open().check_loop()
        assert self._leasing is not None
        return await read(self._leasing, self._where.name, query, args)

    async def _fetch(self, query: str, *args: Any) -> list[Any]:
        self._open().check_loop()
        assert self._pool is not None
        return await read(self._pool, self._where.name, query, args)

    def _open(self) -> Writer:
        if self._writer is None:
            raise StoreUnavailable(f"{self._where.name} is not open: await store.open() first")
        return self._writer
