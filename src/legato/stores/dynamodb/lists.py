"""Lists of what several partitions hold, merged into one order. Indexes give keys; items are read by them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable

from legato.model.records import FAILED, HELD, RUNNING, WAITING, Conversation, Mail, OutboxItem
from legato.model.shards import slot_of_key
from legato.stores.dynamodb.client import together
from legato.stores.dynamodb.clock import slot_of_id
from legato.stores.dynamodb.items import (
    Item,
    get_n,
    get_s,
    key_text,
    keyed,
    mail_pk,
    mail_sk,
    outbox_item,
    s,
    untext,
    update_pk,
)
from legato.stores.dynamodb.reading import PAGE, Reading
from legato.stores.dynamodb.table import DUE, STATUS, Table

STATUSES = (FAILED, HELD, RUNNING, WAITING)


class Lists:
    """Lists what workers and operators look for.

    Args:
        table, reading: The table.
    """

    __slots__ = ("_reading", "_table")

    def __init__(self, table: Table, reading: Reading) -> None:
        self._table = table
        self._reading = reading

    async def due(
        self, now_ms: int, limit: int, slots: Collection[int] | None
    ) -> list[Conversation]:
        """See Store.due."""
        before = s(f"{now_ms + 1:020d}")

        def pages(part: int) -> AsyncIterator[Item]:
            values = {":p": s(f"w|{part:02d}"), ":n": before}
            return self._reading.query(
                "wpk = :p AND wsk < :n", values, index=DUE, page=min(limit, PAGE)
            )

        found = await self._merged(pages, "wsk", limit, slots)
        rows = await self._rows(found)
        rows = [
            row for row in rows if 0 < row.wake_ms <= now_ms and row.status not in (FAILED, HELD)
        ]
        return sorted(rows, key=lambda row: (row.wake_ms, row.key))

    async def find(
        self, status: str, dialog: str, after: str, limit: int, slots: Collection[int] | None
    ) -> list[Conversation]:
        """See Store.find."""
        found: dict[str, Conversation] = {}
        last = key_text(after, "a key") if after else " "
        while len(found) < limit:

            def pages(part: int, begin: str = last) -> AsyncIterator[Item]:
                wanted = (status,) if status else STATUSES
                return _by_key(
                    [
                        self._reading.query(
                            "spk = :p AND ssk > :a",
                            {":p": s(f"{each}|{part:02d}"), ":a": s(begin)},
                            index=STATUS,
                            page=min(limit, PAGE),
                        )
                        for each in wanted
                    ]
                )

            keys = await self._merged(pages, "ssk", limit, slots)
            for row in await self._rows(keys):
                if status in ("", row.status) and dialog in ("", row.dialog):
                    found[row.key] = row
            if len(keys) < limit:
                break
            last = get_s(keys[-1], "ssk")
        return [found[key] for key in sorted(found)][:limit]

    async def _rows(self, keys: Iterable[Item]) -> list[Conversation]:
        """The conversations that an index names, as they are by now."""
        wanted = {get_s(key, "pk"): keyed(get_s(key, "pk"), "c") for key in keys}
        rows = await self._reading.batch(list(wanted.values()))
        found = await together(map(self._reading.record, rows))
        return [row for row in found if row is not None]

    # -- mail and outbox ----------------------------------------------------------------------

    async def mail(
        self, key: str, after: str, limit: int, slots: Collection[int] | None
    ) -> list[Mail]:
        """See Store.mail."""
        order = 0
        if after:
            seen = await self._reading.item(keyed(update_pk(after), "u"))
            if seen is not None and get_n(seen, "tm", self._table.horizon) >= self._table.horizon:
                order = get_n(seen, "mo")
        if key:
            if limit <= 0 or (slots is not None and slot_of_key(key) not in slots):
                return []
            return await self._mailbox(mail_pk(key), order, limit)
        found: list[Mail] = []
        begin = f"{mail_sk(order)}~"
        while len(found) < limit:

            def pages(part: int, begin: str = begin) -> AsyncIterator[Item]:
                values = {":p": s(f"m|{part:02d}"), ":a": s(begin)}
                condition = "wpk = :p AND wsk > :a"
                return self._reading.query(condition, values, index=DUE, page=min(limit, PAGE))

            keys = await self._merged(pages, "wsk", limit - len(found), slots)
            items = await self._reading.batch(
                [keyed(get_s(each, "pk"), get_s(each, "sk")) for each in keys]
            )
            items.sort(key=lambda item: get_s(item, "sk"))
            found += [mail for item in items if (mail := await self._mail(item)) is not None]
            if not keys:
                break
            begin = f"{get_s(keys[-1], 'wsk')}~"
        return found

    async def _mailbox(self, pk: str, order: int, limit: int) -> list[Mail]:
        found: list[Mail] = []
        values = {":p": s(pk), ":a": s(f"{mail_sk(order)}~")}
        query = self._reading.query("pk = :p AND sk > :a", values, page=min(2 * limit, PAGE))
        async for item in query:
            if len(found) == limit:
                break
            if "part" not in item and (mail := await self._mail(item)) is not None:
                found.append(mail)
        return found

    async def _mail(self, item: Item) -> Mail | None:
        payload = await self._reading.whole(item)
        if payload is None:
            return None
        return Mail(untext(get_s(item, "id")), untext(get_s(item, "pk")[2:]), payload)

    async def outbox(
        self,
        states: Collection[str],
        after: int,
        limit: int,
        key: str,
        slots: Collection[int] | None,
    ) -> list[OutboxItem]:
        """See Store.outbox."""

        async def pages(part: int) -> AsyncIterator[Item]:
            values = {":p": s(f"o|{part:02d}"), ":a": s(f"{after:019d}~")}
            async for item in self._reading.query("pk = :p AND sk > :a", values):
                if get_s(item, "fate") in states and (
                    not key or untext(get_s(item, "conv")) == key
                ):
                    yield item

        items = await self._merged(pages, "sk", limit, slots)
        found = []
        for item in items:
            call = await self._reading.whole(item)
            if call is not None:
                found.append(outbox_item(item, call))
        return found

    # -- out of several partitions ------------------------------------------------------------

    async def _merged(
        self,
        pages: Callable[[int], AsyncIterator[Item]],
        by: str,
        limit: int,
        slots: Collection[int] | None,
    ) -> list[Item]:
        """The first `limit` items of the partitions that hold these slots, in one order."""
        spread = self._table.spread
        parts = range(spread) if slots is None else {slot % spread for slot in slots}
        wanted = None if slots is None else frozenset(slots)

        async def first(part: int) -> list[Item]:
            found: list[Item] = []
            async for item in pages(part):
                if wanted is None or _slot(item) in wanted:
                    found.append(item)
                    if len(found) == limit:
                        break
            return found

        if limit <= 0:
            return []
        found = await together(map(first, parts))
        return sorted([item for part in found for item in part], key=lambda item: get_s(item, by))[
            :limit
        ]


def _slot(item: Item) -> int:
    pk = get_s(item, "pk")
    return slot_of_id(int(get_s(item, "sk"))) if pk[:2] == "o|" else slot_of_key(untext(pk[2:]))


async def _by_key(queries: list[AsyncIterator[Item]]) -> AsyncIterator[Item]:
    """Several indexes' answers as one, by key."""
    heads = [(await anext(query, None), query) for query in queries]
    while True:
        first = min(
            [(get_s(item, "ssk"), at) for at, (item, _) in enumerate(heads) if item is not None],
            default=None,
        )
        if first is None:
            return
        item, query = heads[first[1]]
        assert item is not None
        yield item
        heads[first[1]] = (await anext(query, None), query)
