"""A bad day of DynamoDB: nothing is lost, and nothing is written twice.

LEGATO_SOAK=16: about 10,000 turns.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from legato.aws import service
from legato.errors import StoreUnavailable
from legato.model.records import COMMITTED, CONFLICT, SENT, Commit, Committed, Mail, Settled
from legato.stores.dynamodb import DynamoDBStore
from legato.stores.dynamodb.failures import Unknown
from legato.testing.conformance._samples import KEY, begin, done, item, proceed, texts
from tests.faults.proxy import Proxy
from tests.integration.dynamodb_kit import FAULTS, Trouble, forgetful, troubled
from tests.integration.postgres_kit import Crowd
from tests.servers import Ministack

TURNS = 600 * int(os.environ.get("LEGATO_SOAK", "1"))
LOST = ("lost", "answer lost", "late")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PAUSE_S", 0.001)


@asynccontextmanager
async def bad_way(url: str, seed: int = 0) -> AsyncIterator[tuple[DynamoDBStore, Trouble]]:
    store, way = troubled(url, seed)
    await store.open()
    try:
        yield store, way()
    finally:
        way().plan, way().rate = [], 0.0
        await store.close()


async def crowded(url: str, *, tokens: bool, people: int = 10, turns: int = TURNS) -> list[str]:
    """What is wrong after a crowd wrote turns over a bad way; [] if all is well."""
    async with bad_way(url) as (store, way):
        way.rate, way.tokens = 0.25, tokens
        crowd = Crowd(store, people=people)
        async with crowd:
            await crowd.go_on(turns)
        way.rate = 0.0
        assert set(way.done) == set(FAULTS)
        return await crowd.wrong(store)


@pytest.mark.timeout(200)
async def test_a_bad_day_loses_and_doubles_nothing(dynamodb_url: str) -> None:
    assert await crowded(dynamodb_url, tokens=True) == []


async def test_without_tokens_a_store_knows_its_own_work_again(dynamodb_url: str) -> None:
    """As after the ten minutes for which DynamoDB knows a token."""
    assert await crowded(dynamodb_url, tokens=False, turns=200) == []


async def test_without_both_a_lost_answer_is_taken_for_another_ones_work(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    forgetful(monkeypatch)
    with pytest.raises(AssertionError, match="is duplicate"):
        await crowded(dynamodb_url, tokens=False, people=1, turns=2000)


KINDS = {
    "of an update": proceed(update_id="u", outbox=(item("x"),)),
    "of no update": proceed(outbox=(item("x"),)),
    "of an end": proceed(row=None, update_id="u", outbox=(item("x"),)),
    "of no conversation": Commit(at_ms=1, outbox=(item("x"),)),
    "of mail": Commit(at_ms=1, deposit=(Mail("m", KEY, b"event"),), outbox=(item("x"),)),
    "of a move": proceed(aside="aside", outbox=(item("x"),)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("fault", LOST)
async def test_a_commit_that_is_lost_or_unanswered_is_written_once(
    dynamodb_url: str, kind: str, tokens: bool, fault: str
) -> None:
    async with bad_way(dynamodb_url) as (store, way):
        await done(store, begin())
        way.action, way.tokens, way.plan = "TransactWriteItems", tokens, [fault]
        written = await store.commit(KINDS[kind])
        assert written.result == COMMITTED
        assert [each.id for each in await store.outbox(states=("queued",))] == list(written.ids)
        assert len(written.ids) == 1
        assert len(await store.mail()) == len(KINDS[kind].deposit)


async def test_without_its_receipt_a_message_of_no_conversation_is_said_twice(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control for commits that nothing else tells of."""
    async with bad_way(dynamodb_url) as (store, way):
        way.action, way.tokens, way.plan = "TransactWriteItems", False, ["answer lost"]
        await done(store, Commit(at_ms=1, outbox=(item("x"),)))
        assert await texts(store) == ["x"]
        forgetful(monkeypatch)
        way.plan = ["answer lost"]
        await done(store, Commit(at_ms=1, outbox=(item("y"),)))
        assert await texts(store) == ["x", "y", "y"]


async def test_a_commit_that_was_overtaken_is_no_success_because_its_answer_was_lost(
    dynamodb_url: str,
) -> None:
    """Its request never arrived, and another took its place."""
    async with bad_way(dynamodb_url) as (store, way), bad_way(dynamodb_url) as (other, _):
        await done(store, begin())
        await done(other, proceed(segment=b"other", update_id="v"))
        way.action, way.plan = "TransactWriteItems", ["lost"]
        assert await store.commit(proceed(update_id="u")) == Committed(CONFLICT)
        way.plan = ["lost"]
        assert (await store.commit(proceed(update_id="v"))).result == "duplicate"


async def test_two_processes_that_know_old_things_write_one_after_the_other(
    dynamodb_url: str,
) -> None:
    """What a process remembers of a conversation may be out of date: journal, epoch, mail."""
    async with bad_way(dynamodb_url) as (one, _), bad_way(dynamodb_url) as (two, _):
        await done(one, begin(deposit=(Mail("a", KEY, b"1"),)))
        await done(two, proceed(row=None))
        await done(two, begin(segment=b"anew"))  # under the same epoch, in another journal
        await done(one, proceed(outbox=(item("x"),), update_id="a"))
        loaded = await two.load(KEY)
        assert loaded is not None
        assert loaded.segments == [b"anew", b"segment 1.2"]
        assert await two.mail() == []
        await done(two, Commit(at_ms=1, deposit=(Mail("a", KEY, b"again"), Mail("b", KEY, b"2"))))
        assert (await one.commit(Commit(at_ms=1, update_id="a"))).result == "duplicate"
        await done(one, Commit(at_ms=1, update_id="b"))
        assert await two.mail() == []


async def test_messages_of_a_conversation_stay_in_order_though_a_clock_is_late(
    dynamodb_url: str,
) -> None:
    async with bad_way(dynamodb_url) as (one, _), bad_way(dynamodb_url) as (two, _):
        one._numbers.push(one._numbers.next() + 3_600_000_000)  # an hour ahead
        await done(one, begin(outbox=(item("1"), item("2"))))
        await done(two, proceed(outbox=(item("3"),)))
        await done(one, proceed(head=2, outbox=(item("4"),)))
        assert await texts(one) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("fault", [*LOST, "conflict", "throttled", "busy", "unavailable", "unsent"])
async def test_a_settled_item_is_settled_once(dynamodb_url: str, fault: str) -> None:
    async with bad_way(dynamodb_url) as (store, way):
        ids = (await done(store, begin(outbox=tuple(item(str(n), ref="r") for n in range(3))))).ids
        way.plan, way.tokens = [fault] * 3, False
        fates = [
            Settled(ids[0], SENT),
            Settled(ids[1], SENT, key=KEY, epoch=1, ref="r", message_id="77"),
            Settled(ids[2], "dead", error="why"),
        ]
        await store.settle(fates)
        assert [each.id for each in await store.outbox(states=("queued", "dead"))] == [ids[2]]
        assert await store.get("sent", f"{KEY}|1|r") == b"77"


async def test_a_service_that_stays_away_is_told(dynamodb_url: str) -> None:
    """And whether a write may have been carried out."""
    async with bad_way(dynamodb_url) as (store, way):
        (number,) = (await done(store, Commit(at_ms=1, outbox=(item(ref="r"),)))).ids
        sent = Settled(number, SENT, key=KEY, epoch=1, ref="r", message_id="77")
        way.action = "TransactWriteItems"
        for fault in ("conflict", "throttled", "busy", "unsent"):
            way.plan = [fault] * 50
            with pytest.raises(StoreUnavailable, match="DynamoDB table test") as raised:
                await store.commit(begin())
            assert not isinstance(raised.value, Unknown)
            way.plan = [fault] * 50
            with pytest.raises(StoreUnavailable, match="DynamoDB table test"):
                await store.settle([sent])
        way.action = ""
        for fault in ("lost", "unavailable"):
            way.plan = [fault] * 50
            with pytest.raises(Unknown, match="not known"):
                await store.commit(begin())
            way.plan = [fault] * 50
            with pytest.raises(StoreUnavailable):
                await store.load(KEY)
        way.plan = []
        await done(store, begin())


async def test_connections_that_the_server_forgot_are_replaced(
    shared_ministack: Ministack, dynamodb_url: str
) -> None:
    """As after a freeze: what was open is closed, and nobody told."""
    async with Proxy("127.0.0.1", shared_ministack.port) as proxy:
        url = dynamodb_url.replace(f":{shared_ministack.port}", f":{proxy.port}")
        async with bad_way(url) as (store, _):
            await done(store, begin())
            for head, break_off in enumerate((proxy.cut, proxy.reset), 1):
                break_off()
                await done(store, proceed(head=head, update_id=f"{head}"))
            proxy.cut_down = 100  # an answer that ends in its head
            await done(store, proceed(head=3, update_id="3"))
            proxy.cut_up = 200
            await done(store, proceed(head=4, update_id="4", outbox=(item("x"),)))
            loaded = await store.load(KEY)
            assert loaded is not None
            assert len(loaded.segments) == 5
            assert await texts(store) == ["x"]
