"""What is read: single items, whole values, conversations. lists.py has what several partitions hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from legato.aws.service import pause_s
from legato.errors import StoreUnavailable
from legato.model.records import (
    FAILED,
    HELD,
    RUNNING,
    WAITING,
    Conversation,
    Loaded,
)
from legato.stores.dynamodb.client import TRIES, Client, together
from legato.stores.dynamodb.items import (
    Item,
    conversation,
    conversation_pk,
    corrupt,
    get_b,
    get_n,
    get_s,
    journal_sk,
    kept_key,
    keyed,
    s,
    seat_of,
    state_sk,
    update_pk,
)
from legato.stores.dynamodb.table import Table

PAGE = 1000
BATCH = 100
"""Items that BatchGetItem takes."""
AGAIN = 3
"""How often something is read again that was changed while it was read."""
STATUSES = (FAILED, HELD, RUNNING, WAITING)


class Reading:
    """Reads the table.

    Args:
        client, table: The table.
    """

    __slots__ = ("_client", "_table")

    def __init__(self, client: Client, table: Table) -> None:
        self._client = client
        self._table = table

    # -- items and values -----------------------------------------------------------------------

    async def item(self, key: Item) -> Item | None:
        """One item, as the last answered write left it."""
        answer = await self._client.do("GetItem", Key=key, ConsistentRead=True)
        return answer.get("Item")

    async def whole(self, item: Item) -> bytes | None:
        """An item's value with the part of it that stands in further items; None if those are gone."""
        count = get_n(item, "parts")
        body = get_b(item, "body")
        if not count:
            return body
        found = await self._parts(get_s(item, "pk"), get_s(item, "sk"), get_s(item, "tx"))
        return body + b"".join(found) if len(found) == count else None

    async def _parts(self, pk: str, sk: str, tx: str = "") -> list[bytes]:
        condition = "pk = :p AND begins_with(sk, :s)"
        values = {":p": s(pk), ":s": s(f"{sk}+")}
        return [
            get_b(part, "part")
            async for part in self.query(condition, values)
            if tx in ("", get_s(part, "tx"))
        ]

    async def query(
        self, condition: str, values: Item, *, index: str = "", page: int = PAGE, **more: Any
    ) -> AsyncIterator[Item]:
        """The items that a condition on keys names, in their order: of the table as it is, of an index
        as it was a moment ago.
        """
        request: dict[str, Any] = {"KeyConditionExpression": condition}
        request |= {"ExpressionAttributeValues": values, "Limit": page} | more
        request |= {"IndexName": index} if index else {"ConsistentRead": True}
        while True:
            answer = await self._client.do("Query", **request)
            for item in answer["Items"]:
                yield item
            last = answer.get("LastEvaluatedKey")
            if not last:
                return
            request["ExclusiveStartKey"] = last

    async def batch(self, keys: Sequence[Item]) -> list[Item]:
        """The items that have these keys, in no order."""
        pages = [keys[at : at + BATCH] for at in range(0, len(keys), BATCH)]
        found = await together(map(self._batch, pages))
        return [item for page in found for item in page]

    async def _batch(self, keys: Sequence[Item]) -> list[Item]:
        name = self._client.where.table
        found: list[Item] = []
        left: dict[str, Any] = {name: {"Keys": keys, "ConsistentRead": True}}
        number = 0
        while left:
            answer = await self._client.do_call("BatchGetItem", {"RequestItems": left})
            more = answer["Responses"].get(name, [])
            found += more
            left = answer.get("UnprocessedKeys") or {}
            if left:
                number = 0 if more else number + 1
                if number == TRIES:
                    raise StoreUnavailable(f"{self._client.where.name} has no time to read")
                await asyncio.sleep(pause_s(number))
        return found

    # -- conversations ------------------------------------------------------------------------

    async def load(self, key: str) -> tuple[Item, Loaded] | None:
        """A conversation's row, and what it is with its journal."""
        pk = conversation_pk(key)
        for number in range(AGAIN):
            if number:
                await asyncio.sleep(pause_s(number))
            items = [item async for item in self.query("pk = :p", {":p": s(pk)})]
            if not items or get_s(items[0], "sk") != "c":
                return None
            row, journal = items[0], items
            seat = seat_of(row)
            if seat.home != pk:
                condition = "pk = :p AND begins_with(sk, :s)"
                values = {":p": s(seat.home), ":s": s(f"j|{seat.run}|")}
                journal = [item async for item in self.query(condition, values)]
            loaded = _loaded(row, journal)
            if loaded is not None:
                return row, loaded
        raise corrupt(self._client.where.name, f"the journal of {key!r:.80} is not whole")

    async def record(self, row: Item) -> Conversation | None:
        """The record of a row; None if it was changed meanwhile."""
        count, body = get_n(row, "parts"), get_b(row, "body")
        if count:
            seat = seat_of(row)
            sk = state_sk(seat.run, get_n(row, "head"))
            found = await self._parts(seat.home, sk)
            if len(found) != count:
                return None
            body += b"".join(found)
        return conversation(row, body)

    # -- values -------------------------------------------------------------------------------

    async def consumed(self, update_id: str) -> bytes | None:
        """The reply of a consumed update; None if it was not, or is forgotten."""
        found = await self.item(keyed(update_pk(update_id), "u"))
        if found is None or get_n(found, "tm", -1) < self._table.horizon or "tm" not in found:
            return None
        return await self.whole(found) or b""

    async def kept(self, space: str, name: str) -> bytes | None:
        """A remembered value."""
        for number in range(AGAIN):
            if number:
                await asyncio.sleep(pause_s(number))
            found = await self.item(kept_key(space, name))
            if found is None or get_n(found, "tm", self._table.horizon) < self._table.horizon:
                return None
            value = await self.whole(found)
            if value is not None:
                return value
        raise corrupt(self._client.where.name, f"the value {space!r:.40} {name!r:.80} is not whole")


def _loaded(row: Item, journal: list[Item]) -> Loaded | None:
    """The conversation of a row; None if its journal does not fit to it: it was changed meanwhile."""
    seat, head = seat_of(row), get_n(row, "head")
    births = journal_sk(seat.run, 0)
    last = f"{journal_sk(seat.run, head)}~"
    state = state_sk(seat.run, head) + "+"
    birth, pieces, missing, rest = None, 0, 0, [get_b(row, "body")]
    segments: list[list[bytes]] = []
    whole: list[bytes] = []
    for item in journal:
        sk = get_s(item, "sk")
        if not births <= sk <= last:
            continue
        if sk.startswith(state):
            rest.append(get_b(item, "part"))
        elif "s+" in sk:
            continue  # of an earlier state
        elif "part" in item:
            whole.append(get_b(item, "part"))
            missing -= 1
        else:
            missing += get_n(item, "parts")
            whole = [get_b(item, "body")]
            if sk == births:
                birth = whole
            else:
                segments.append(whole)
                pieces += 1
    if birth is None or missing or pieces != get_n(row, "segs"):
        return None
    if len(rest) != 1 + get_n(row, "parts"):
        return None
    record = conversation(row, b"".join(rest))
    return Loaded(record, b"".join(birth), [b"".join(each) for each in segments])
