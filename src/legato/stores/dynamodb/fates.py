"""What became of outbox items, and the deletion of what nobody reads any more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from legato.aws.service import Refused, pause_s
from legato.errors import StoreUnavailable
from legato.model.records import SENT, Settled
from legato.stores.dynamodb.client import TRIES, Client, together
from legato.stores.dynamodb.clock import EPOCH_US, end_of_life, is_long, slot_of_id
from legato.stores.dynamodb.failures import CANCELED, CONDITION, LATER, explained
from legato.stores.dynamodb.items import (
    Item,
    get_n,
    get_s,
    item_key,
    kept_key,
    keyed,
    mail_sk,
    n,
    s,
    text,
)
from legato.stores.dynamodb.reading import Reading
from legato.stores.dynamodb.table import Table

BATCH = 25
"""Deletions that BatchWriteItem takes."""
GRACE_US = 60_000_000
"""A journal is left alone for so long after its end: somebody may be reading it."""
SWEEP_S = 2.0
"""How long a purge may delete journals: it runs within somebody's commit."""
AT_ONCE = 8
"""Journals that are deleted at a time."""


class Fates:
    """Settles items and sweeps.

    Args:
        client, table, reading: The table.
    """

    __slots__ = ("_client", "_reading", "_table")

    def __init__(self, client: Client, table: Table, reading: Reading) -> None:
        self._client = client
        self._table = table
        self._reading = reading

    async def settle(self, settled: Sequence[Settled]) -> None:
        """See Store.settle."""
        last: dict[int, Settled] = {}
        for fate in settled:
            known = last.get(fate.id)
            if known is None or known.state != SENT:
                last[fate.id] = fate
        gone = []
        works = []
        for fate in last.values():
            if fate.state != SENT:
                works.append(self._change(fate))
            elif is_long(fate.id) or (fate.message_id and fate.ref):
                works.append(self._send(fate))
            else:
                gone.append(self._key(fate.id))
        await together([self.delete(gone), *works])

    def _key(self, item: int) -> Item:
        return item_key(item, slot_of_id(item), self._table.spread)

    async def _change(self, fate: Settled) -> None:
        try:
            await self._client.ask(
                "UpdateItem",
                Key=self._key(fate.id),
                UpdateExpression="SET fate = :f, tries = :t, nbf = :n, err = :e",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={
                    ":f": s(fate.state),
                    ":t": n(fate.attempts),
                    ":n": n(fate.not_before_ms),
                    ":e": s(text(fate.error)),
                },
            )
        except Refused as refusal:
            if refusal.kind != CONDITION:  # it is gone
                raise explained(refusal, self._client.where.name) from refusal

    async def _send(self, fate: Settled) -> None:
        """Deletes an item and keeps its message's id, both or none: once, whoever else settles it."""
        item = await self._reading.item(self._key(fate.id))
        if item is None:
            return
        pk, sk = get_s(item, "pk"), get_s(item, "sk")
        keys = [keyed(pk, f"{sk}+{part:04d}") for part in range(1, get_n(item, "parts") + 1)]
        name = self._client.where.table
        first = {"TableName": name, "Key": keyed(pk, sk)}
        first["ConditionExpression"] = "attribute_exists(pk)"
        writes: list[dict[str, Any]] = [{"Delete": first}]
        writes += [{"Delete": {"TableName": name, "Key": key}} for key in keys]
        if fate.message_id and fate.ref:
            kept = kept_key(SENT, f"{fate.key}|{fate.epoch}|{fate.ref}") | {
                "body": {"B": fate.message_id.encode("utf-8", "surrogatepass")},
                "tm": n(max(get_n(item, "born"), self._table.horizon)),
                "ttl": n(end_of_life(self._client.where.keep_days)),
            }
            writes.append({"Put": {"TableName": name, "Item": kept}})
        await self._write(writes)

    async def _write(self, writes: list[dict[str, Any]]) -> None:
        """One transaction, whose condition fails only when its work is done."""
        failure: Refused | None = None
        for number in range(TRIES):
            if number:
                await asyncio.sleep(pause_s(number - 1))
            request = {"TransactItems": writes, "ClientRequestToken": os.urandom(16).hex()}
            try:
                await self._client.call("TransactWriteItems", request)
            except Refused as refusal:
                codes = {
                    reason.get("Code") for reason in refusal.answer.get("CancellationReasons", ())
                }
                if refusal.kind == CANCELED and "ConditionalCheckFailed" in codes:
                    return
                if refusal.kind != CANCELED or not codes & LATER:
                    raise explained(refusal, self._client.where.name) from refusal
                failure = refusal
            else:
                return
        raise StoreUnavailable(f"{self._client.where.name} cannot be used now: {failure}")

    async def delete(self, keys: Sequence[Item]) -> None:
        """Deletes the items that have these keys, those that are there."""
        name = self._client.where.table
        for at in range(0, len(keys), BATCH):
            page = keys[at : at + BATCH]
            left: dict[str, Any] = {name: [{"DeleteRequest": {"Key": key}} for key in page]}
            number = 0
            while left:
                answer = await self._client.do_call("BatchWriteItem", {"RequestItems": left})
                left = answer.get("UnprocessedItems") or {}
                if left:
                    number += 1
                    if number == TRIES:
                        raise StoreUnavailable(f"{self._client.where.name} has no time to delete")
                    await asyncio.sleep(pause_s(number))

    async def sweep(self, now_us: int) -> None:
        """Deletes the journals that conversations left behind when they ended or began an epoch, the
        oldest first, as far as SWEEP_S allows: the rest is for the next time.
        """
        until = s(mail_sk(max(0, now_us - EPOCH_US - GRACE_US)))
        end = asyncio.get_running_loop().time() + SWEEP_S
        await together([self._sweep(part, until, end) for part in range(self._table.spread)])

    async def _sweep(self, part: int, until: dict[str, Any], end: float) -> None:
        values = {":p": s(f"r|{part:02d}"), ":u": until}
        marks: list[Item] = []
        async for mark in self._reading.query("pk = :p AND sk < :u", values, page=AT_ONCE):
            marks.append(mark)
            if len(marks) == AT_ONCE:
                await together(map(self._sweep_one, marks))
                marks.clear()
                if asyncio.get_running_loop().time() > end:
                    return
        await together(map(self._sweep_one, marks))

    async def _sweep_one(self, mark: Item) -> None:
        """The journal first, then the mark: whoever dies between finds it again."""
        values = {":p": s(get_s(mark, "home")), ":s": s(f"j|{get_s(mark, 'run')}|")}
        condition = "pk = :p AND begins_with(sk, :s)"
        found = self._reading.query(condition, values, ProjectionExpression="pk, sk")
        await self.delete([item async for item in found])
        await self.delete([keyed(get_s(mark, "pk"), get_s(mark, "sk"))])
