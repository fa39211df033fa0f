"""The Store's methods over one table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from legato.abc.http import HttpClient
from legato.abc.store import Store
from legato.aws.address import who_asks
from legato.errors import StoreError, StoreUnavailable, Unsupported
from legato.model.records import (
    COMMITTED,
    Commit,
    Committed,
    Conversation,
    Loaded,
    Mail,
    OutboxItem,
    Settled,
)
from legato.stores.dynamodb.address import Where, where_is
from legato.stores.dynamodb.client import Client
from legato.stores.dynamodb.clock import Numbers, now_us
from legato.stores.dynamodb.fates import Fates
from legato.stores.dynamodb.lists import Lists
from legato.stores.dynamodb.reading import Reading
from legato.stores.dynamodb.table import Table, forget, opened
from legato.stores.dynamodb.writer import Writer

log: logging.Logger = logging.getLogger("legato.store")

NO_SQL = (
    "DynamoDB runs no SQL: chat.tx() needs a store that does, postgresql://... or sqlite:///bot.db. A step "
    "with its idempotency key may call your database instead"
)


class _Open(Struct):
    """What there is while the store is open.

    Attributes:
        busy: Writes under way.
        idle: Set when there are none any more; None while nobody waits for that.
    """

    client: Client
    table: Table
    reading: Reading
    lists: Lists
    writer: Writer
    fates: Fates
    busy: int = 0
    idle: asyncio.Event | None = None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        """Counts a write."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            if not self.busy and self.idle is not None:
                self.idle.set()


class DynamoDBStore(Store):
    """Keeps everything in one DynamoDB table, for any number of processes and cloud functions.

    Args:
        url: "dynamodb://table?region=eu-central-1". Parameters: region (else AWS_REGION), endpoint (else
            AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL), create=1 (make the table if there is none),
            spread (partitions for what workers look for, a power of two up to 64; counts when a table is
            first used), pool (requests at a time, 32), timeout (seconds a try may take, 5), keep (days
            after which what is of no use is deleted, 16). Credentials stand in AWS_ACCESS_KEY_ID,
            AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
        http: Makes the HTTP client, which is closed with the store.
        create: Overrides the address.

    Raises:
        ConfigError: It is no such address.
    """

    __slots__ = ("_create", "_http", "_numbers", "_open", "_where")

    def __init__(
        self, url: str, *, http: Callable[[], HttpClient], create: bool | None = None
    ) -> None:
        self._where: Where = where_is(url)
        self._http = http
        self._create = self._where.create if create is None else create
        self._numbers = Numbers()
        self._open: _Open | None = None

    def __repr__(self) -> str:
        return f"<{self._where.name}>"

    @property
    def mail_at_once(self) -> int:
        """A transaction takes 100 items: mail is two of them, long mail more."""
        return 25

    async def open(self) -> None:
        """See Store.open.

        Raises:
            ConfigError: There is no table, no right to use it, or there are no credentials.
        """
        if self._open is not None:
            return
        who_asks()  # before anything is made that would have to be closed
        client = Client(self._where, self._http(), who_asks)
        try:
            table = await opened(client, create=self._create)
        except BaseException:
            await client.close()
            raise
        reading = Reading(client, table)
        writer = Writer(client, table, reading, self._numbers)
        self._open = _Open(
            client,
            table,
            reading,
            Lists(table, reading),
            writer,
            Fates(client, table, reading),
        )

    async def close(self) -> None:
        """See Store.close."""
        parts, self._open = self._open, None
        if parts is None:
            return
        if parts.busy:
            parts.idle = asyncio.Event()
            await parts.idle.wait()
        await parts.client.close()

    # -- writing ------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> Committed:
        """See Store.commit.

        Raises:
            StoreError: It is more than a transaction takes: 100 items, 4 MB.
        """
        parts = self._parts()
        if commit.within is not None:
            raise Unsupported(NO_SQL)
        async with parts.write():
            committed = await parts.writer.commit(commit)
            if commit.purge_ms and committed.result == COMMITTED:
                await self._purge(parts, commit.purge_ms)
        return committed

    async def _purge(self, parts: _Open, before_ms: int) -> None:
        """What fails is left to the next one."""
        try:
            await forget(parts.client, parts.table, before_ms)
            await parts.fates.sweep(now_us())
        except StoreError as error:
            log.warning("what is old was not all forgotten: %s", error)

    async def settle(self, settled: Sequence[Settled]) -> None:
        """See Store.settle."""
        parts = self._parts()
        async with parts.write():
            await parts.fates.settle(settled)

    # -- reading ------------------------------------------------------------------------------

    async def load(self, key: str) -> Loaded | None:
        """See Store.load."""
        parts = self._parts()
        found = await parts.reading.load(key)
        if found is None:
            return None
        row, loaded = found
        parts.writer.seen(key, row)
        return loaded

    async def due(
        self, now_ms: int, limit: int, *, slots: Collection[int] | None = None
    ) -> list[Conversation]:
        """See Store.due. One that was committed a moment ago may be missing."""
        return await self._parts().lists.due(now_ms, limit, slots)

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
        parts = self._parts()
        if not states:
            return []
        return await parts.lists.outbox(states, after, limit, key, slots)

    async def mail(
        self,
        *,
        key: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Mail]:
        """See Store.mail. An `after` that is not known (any more) begins at the beginning. Without `key`,
        mail that was deposited a moment ago may be missing.
        """
        return await self._parts().lists.mail(key, after, limit, slots)

    async def find(
        self,
        *,
        status: str = "",
        dialog: str = "",
        after: str = "",
        limit: int = 1000,
        slots: Collection[int] | None = None,
    ) -> list[Conversation]:
        """See Store.find. What was committed a moment ago may be missing."""
        return await self._parts().lists.find(status, dialog, after, limit, slots)

    async def get(self, space: str, name: str) -> bytes | None:
        """See Store.get."""
        reading = self._parts().reading
        return await (reading.consumed(name) if space == "inbox" else reading.kept(space, name))

    def _parts(self) -> _Open:
        if self._open is None:
            raise StoreUnavailable(f"{self._where.name} is not open: await store.open() first")
        return self._open
