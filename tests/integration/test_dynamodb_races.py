"""Two processes on one table: each knows things that the other has changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from legato.aws import service
from legato.errors import StoreCorrupt, StoreUnavailable
from legato.model.records import CONFLICT, SENT, Call, Commit, Committed, Mail, Settled
from legato.model.shards import slot_of_key
from legato.stores.dynamodb import DynamoDBStore, writer
from legato.stores.dynamodb.items import keyed
from legato.testing.conformance._samples import KEY, begin, done, item, proceed, row
from tests.integration.dynamodb_kit import Trouble, troubled

LONG = bytes(150_000)
MAIL = Commit(at_ms=1, deposit=(Mail("m", KEY, LONG),))
CONSUME = Commit(at_ms=5, update_id="m")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PAUSE_S", 0.001)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[DynamoDBStore, Trouble]]:
    store, way = troubled(url)
    await store.open()
    try:
        yield store, way()
    finally:
        await store.close()


async def ask(store: DynamoDBStore, action: str, **request: Any) -> dict[str, Any]:
    """One request of the store's own client."""
    assert store._open is not None
    return await store._open.client.ask(action, **request)


async def test_mail_that_another_consumed_and_forgot_is_consumed_anew(dynamodb_url: str) -> None:
    """As any update is that comes again after the days for which it was known."""
    async with opened(dynamodb_url) as (one, _), opened(dynamodb_url) as (two, _):
        await done(one, MAIL)
        await done(two, CONSUME)
        await done(one, Commit(at_ms=9, purge_ms=6))
        await done(one, CONSUME)
        assert (await one.commit(CONSUME)).result == "duplicate"


async def test_mail_that_was_deleted_is_consumed_all_the_same(dynamodb_url: str) -> None:
    async with opened(dynamodb_url) as (one, _):
        await done(one, MAIL)
        await ask(one, "DeleteItem", Key=keyed("u|m", "u"))
        await done(one, CONSUME)


async def test_mail_that_is_consumed_while_it_is_read_is_left_out(dynamodb_url: str) -> None:
    """Its first item was read already, the rest of it is gone."""
    async with opened(dynamodb_url) as (one, way):
        await done(one, MAIL)
        found = (
            await ask(
                one,
                "Query",
                KeyConditionExpression="pk = :p",
                ExpressionAttributeValues={":p": {"S": f"m|{KEY}"}},
            )
        )["Items"]
        for part in found[1:]:
            await ask(one, "DeleteItem", Key={name: part[name] for name in ("pk", "sk")})
        assert await one.mail() == []
        assert await one.mail(key=KEY) == []
        assert way.seen


async def test_an_item_that_is_sent_while_it_is_read_is_left_out(dynamodb_url: str) -> None:
    call = Call("send", {"text": "x" * 100_000})
    async with opened(dynamodb_url) as (one, _):
        (number,) = (await done(one, Commit(at_ms=1, outbox=(item(call=call),)))).ids
        found = (await ask(one, "Scan"))["Items"]
        (part,) = [each for each in found if "part" in each]
        await ask(one, "DeleteItem", Key={name: part[name] for name in ("pk", "sk")})
        assert await one.outbox(states=("queued",)) == []
        await one.settle([Settled(number, SENT), Settled(number, SENT)])
        await one.settle([Settled(number, SENT)])
        assert await one.get("sent", f"{KEY}|1|") is None


async def test_a_state_that_changes_while_it_is_read_is_left_out_of_a_list(
    dynamodb_url: str,
) -> None:
    async with opened(dynamodb_url) as (one, _):
        await done(one, begin())
        await done(one, proceed(row=row(head=2, state=LONG, wake_ms=1)))
        found = (await ask(one, "Scan"))["Items"]
        part = next(each for each in found if "part" in each)
        await ask(one, "DeleteItem", Key={name: part[name] for name in ("pk", "sk")})
        assert await one.find() == []
        assert await one.due(9, 9) == []
        with pytest.raises(StoreCorrupt, match="is not whole"):
            await one.load(KEY)


async def test_a_message_that_two_settle_is_settled_once(dynamodb_url: str) -> None:
    """Whether the other one is another process, or we in a request whose answer was lost."""
    async with opened(dynamodb_url) as (one, way):
        (number,) = (await done(one, Commit(at_ms=1, outbox=(item(ref="r"),)))).ids
        sent = Settled(number, SENT, key=KEY, epoch=1, ref="r", message_id="77")
        way.action, way.tokens, way.plan = "TransactWriteItems", False, ["answer lost"]
        await one.settle([sent])
        assert way.done["answer lost"] == 1
        assert await one.get("sent", f"{KEY}|1|r") == b"77"


async def test_a_slot_of_a_partition_is_not_the_whole_of_it(dynamodb_url: str) -> None:
    async with opened(f"{dynamodb_url}&spread=1") as (one, _):
        keys = [f"telegram:7:{number}:{number}:" for number in range(9)]
        for key in keys:
            await done(one, begin(key, row=row(key, wake_ms=1)))
        found = await one.due(1, 3, slots=(slot_of_key(keys[-1]),))
        assert [each.key for each in found] == keys[-1:]


async def test_a_commit_that_was_written_and_overtaken_is_a_success(dynamodb_url: str) -> None:
    """Its answer was lost, another went on from it; and the refusal names the row alone."""
    async with opened(dynamodb_url) as (one, way), opened(dynamodb_url) as (two, _):
        await done(one, begin())
        way.action, way.tokens, way.plan = "TransactWriteItems", False, ["answer lost", "terse"]
        way.then = lambda: done(two, proceed(head=2, update_id="v"))
        committed = await one.commit(proceed(update_id="u"))
        assert committed.result == "committed"
        assert way.done["terse"] == 1


async def test_a_refusal_that_names_the_row_alone_may_be_a_duplicate(dynamodb_url: str) -> None:
    async with opened(dynamodb_url) as (one, way):
        await done(one, begin(update_id="u", reply=b"reply"))
        way.plan = ["terse"]
        assert await one.commit(begin(update_id="u")) == Committed("duplicate", reply=b"reply")


async def test_nothing_is_moved_to_where_it_is(dynamodb_url: str) -> None:
    async with opened(dynamodb_url) as (one, _):
        await done(one, begin())
        assert await one.commit(proceed(aside=KEY)) == Committed(CONFLICT)
        assert len(await one.find()) == 1


async def test_what_a_process_remembers_is_bounded(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it forgot, it asks for."""
    monkeypatch.setattr(writer, "REMEMBERED", 2)
    async with opened(dynamodb_url) as (one, _):
        for key in "abcde":
            await done(one, begin(key))
        for key in "abcde":
            await done(one, proceed(key))
        assert one._open is not None
        assert len(one._open.writer._seats) <= 2


async def test_a_commit_that_is_always_late_is_given_up(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(dynamodb_url) as (one, _), opened(dynamodb_url) as (two, _):
        await done(one, MAIL)
        monkeypatch.setattr(writer, "ROUNDS", 1)
        with pytest.raises(StoreUnavailable, match="always faster"):
            await two.commit(CONSUME)
        monkeypatch.setattr(writer, "ROUNDS", 2)
        await done(two, CONSUME)


async def test_lists_of_nothing_ask_for_nothing(dynamodb_url: str) -> None:
    async with opened(dynamodb_url) as (one, way):
        count = len(way.seen)
        assert await one.due(9, 0) == []
        assert await one.find(limit=0) == []
        assert await one.mail(limit=0) == []
        assert await one.mail(key=KEY, limit=0) == []
        assert await one.outbox(states=("queued",), limit=0) == []
        assert len(way.seen) == count
