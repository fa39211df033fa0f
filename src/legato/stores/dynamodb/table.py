"""The table: keys, two indexes, how it is made and looked at.

    pk                sk               what
    meta              meta             layout, spread, horizon: what was consumed before it is forgotten
    c|<key>           c                a conversation's row
                      j|<run>|<head>   its journal; head 0 is the birth
    u|<update id>     u                a known update: it waits (mk, mo) or was consumed (tm, body)
    m|<key>           <order>          an event in a mailbox
    o|<part>          <id>             an outbox item; part is slot % spread
    k|..|<name>       k                a remembered value; in the space "sent" (ids of messages ...) dated (tm)
    t|<token>         t                receipt of a commit that nothing else would tell of
    r|<part>          <order>|<run>    a journal that nobody reads any more

Index "due" (wpk, wsk): "w|<part>" by time and key for rows that wake, "m|<part>" by order for mail. Index
"status" (spk, ssk): "<status>|<part>" by key. Both hold keys only, and only of those that have the attribute.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from legato.aws.service import Refused
from legato.errors import ConfigError, StoreNewer, StoreUnavailable
from legato.stores.dynamodb.client import Client
from legato.stores.dynamodb.failures import (
    CONDITION,
    IN_USE,
    NO_TABLE,
    explained,
    refused_at_start,
)
from legato.stores.dynamodb.items import get_n, keyed, n

LAYOUT = 1
DUE = "due"
STATUS = "status"
META = keyed("meta", "meta")
PATIENCE = 120
PAUSE_S = 1.0
"""How often, and after what pauses, a new table is looked at before it is given up."""


class Table(Struct):
    """What all processes know of the table.

    Attributes:
        spread: Into how many partitions what workers look for is spread.
        horizon: Consumed updates and kept message ids from before this time are forgotten.
    """

    spread: int
    horizon: int = 0


def definition(table: str) -> dict[str, Any]:
    """The request of CreateTable, as templates can use it, too."""
    names = ("pk", "sk", "wpk", "wsk", "spk", "ssk")
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": _keys("pk", "sk"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": name,
                "KeySchema": _keys(*keys),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for name, keys in ((DUE, ("wpk", "wsk")), (STATUS, ("spk", "ssk")))
        ],
    }


def _keys(hash_name: str, range_name: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": hash_name, "KeyType": "HASH"},
        {"AttributeName": range_name, "KeyType": "RANGE"},
    ]


async def opened(client: Client, *, create: bool) -> Table:
    """Looks at the table, and makes it if that is asked for. One request where it was used before.

    Raises:
        ConfigError: There is none, it is another one's, or we may not use it.
        StoreNewer: A newer Legato uses it.
    """
    try:
        try:
            return await _known(client) or await _begun(client, create=create)
        except Refused as refusal:
            if refusal.kind == "ValidationException":  # it has no such key
                _check((await client.ask("DescribeTable"))["Table"], client.where.table)
            if refusal.kind != NO_TABLE or not create:
                raise
        await _made(client)
        return await _known(client) or await _begun(client, create=create)
    except Refused as refusal:
        raise refused_at_start(refusal, client.where.name) from refusal


async def _known(client: Client) -> Table | None:
    answer = await client.ask("GetItem", Key=META, ConsistentRead=True)
    found = answer.get("Item")
    if found is None:
        return None
    if get_n(found, "layout") > LAYOUT:
        raise StoreNewer(
            f"{client.where.name} is used by a newer Legato (layout {get_n(found, 'layout')}, this one knows "
            f"{LAYOUT}): update this one"
        )
    return Table(get_n(found, "spread", 1), get_n(found, "horizon"))


async def _begun(client: Client, *, create: bool) -> Table:
    """Of a table that nobody used before."""
    _check((await client.ask("DescribeTable"))["Table"], client.where.table)
    if create:
        await _let_rubbish_go(client)
    item = META | {"layout": n(LAYOUT), "spread": n(client.where.spread)}
    try:
        await client.ask("PutItem", Item=item, ConditionExpression="attribute_not_exists(pk)")
    except Refused as refusal:
        if refusal.kind != CONDITION:
            raise
    found = await _known(client)
    assert found is not None, "it was just written"
    return found


def _check(table: dict[str, Any], name: str) -> None:
    wanted = definition(name)
    indexes = {
        index["IndexName"]: index["KeySchema"] for index in table.get("GlobalSecondaryIndexes", ())
    }
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    good = table["KeySchema"] == wanted["KeySchema"]
    for index in wanted["GlobalSecondaryIndexes"]:
        good = good and indexes.get(index["IndexName"]) == index["KeySchema"]
    if not good or set(types.values()) != {"S"}:
        raise ConfigError(
            f"the DynamoDB table {name} has other keys or indexes than a store of Legato: name another one in "
            "LEGATO_STORE, or make it by create=1 (docs: DynamoDB, The table)"
        )


async def _made(client: Client) -> None:
    try:
        await client.call("CreateTable", definition(client.where.table))
    except Refused as refusal:
        if refusal.kind != IN_USE:  # another process makes it at this moment
            raise
    for _ in range(PATIENCE):
        try:
            table = (await client.ask("DescribeTable"))["Table"]
        except Refused as refusal:
            if refusal.kind != NO_TABLE:  # it may take a moment until all parts know of it
                raise
        else:
            states = [index["IndexStatus"] for index in table["GlobalSecondaryIndexes"]]
            if {table["TableStatus"], *states} == {"ACTIVE"}:
                break
        await asyncio.sleep(PAUSE_S)
    else:
        raise StoreUnavailable(f"{client.where.name} is being made, which takes long: try again")


async def _let_rubbish_go(client: Client) -> None:
    """Switches TTL on: before the table is used, so that no start that is cut short leaves it off."""
    life = {"Enabled": True, "AttributeName": "ttl"}
    try:
        await client.ask("UpdateTimeToLive", TimeToLiveSpecification=life)
    except Refused as refusal:
        if refusal.kind != "ValidationException":  # it is on already
            raise


async def forget(client: Client, table: Table, before_ms: int) -> None:
    """Moves the horizon; what is behind it, DynamoDB deletes by and by."""
    if before_ms <= table.horizon:
        return
    try:
        await client.ask(
            "UpdateItem",
            Key=META,
            UpdateExpression="SET horizon = :h",
            ConditionExpression="attribute_not_exists(horizon) OR horizon < :h",
            ExpressionAttributeValues={":h": n(before_ms)},
        )
    except Refused as refusal:
        if refusal.kind != CONDITION:  # another process was further
            raise explained(refusal, client.where.name) from refusal
    table.horizon = before_ms
