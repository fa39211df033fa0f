"""What only the DynamoDB store has: its table, limits, long values, and what it sweeps up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from legato.app.postbox import BYTES_AT_ONCE
from legato.deploy.parts import make_store
from legato.deploy.transport import Transport
from legato.errors import (
    ConfigError,
    Misuse,
    StoreCorrupt,
    StoreError,
    StoreNewer,
    StoreUnavailable,
)
from legato.model.records import SENT, Call, Commit, Mail, Settled
from legato.stores.dynamodb import DynamoDBStore, fates
from legato.stores.dynamodb.address import where_is
from legato.stores.dynamodb.items import n
from legato.stores.dynamodb.table import META, definition
from legato.testing.conformance._samples import KEY, begin, done, item, proceed, row, texts

LONG = bytes(range(256)) * 600
"""More than two parts."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[DynamoDBStore]:
    store = DynamoDBStore(url, http=Transport)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def ask(store: DynamoDBStore, action: str, **request: Any) -> dict[str, Any]:
    """One request of the store's own client."""
    assert store._open is not None
    return await store._open.client.ask(action, **request)


async def everything(store: DynamoDBStore) -> list[str]:
    """The keys of all items but the first one."""
    found = (await ask(store, "Scan"))["Items"]
    return sorted(
        f"{each['pk']['S']} {each['sk']['S']}" for each in found if each["pk"]["S"] != "meta"
    )


async def test_what_stands_beside_sent_messages_dynamodb_deletes_by_itself(
    dynamodb_url: str,
) -> None:
    """All of its items; and nothing else that is remembered."""
    async with opened(dynamodb_url) as store:
        puts = ((SENT, "long", LONG), ("space", "other", LONG))
        await done(store, Commit(at_ms=1, puts=puts))
        found = (await ask(store, "Scan"))["Items"]
        ends = {each["pk"]["S"] for each in found if "ttl" in each and each["sk"]["S"] != "t"}
        stay = [each for each in found if each["pk"]["S"] in ends and "ttl" not in each]

    assert ends == {"k|4|sent|long"}
    assert stay == []


async def test_a_bundle_of_mail_is_taken_at_once_however_long_the_letters_are(
    dynamodb_url: str,
) -> None:
    """As many as the mailbox is given in one commit, and one that is as long as a request may be."""
    odd = [b"x" * 65_537] * (BYTES_AT_ONCE // 65_537)
    async with opened(dynamodb_url) as store:
        many = [b"x" * (BYTES_AT_ONCE // store.mail_at_once)] * store.mail_at_once
        for name, payloads in (("many", many), ("odd", odd), ("long", [b"x" * 2_000_000])):
            mails = [Mail(f"{name}{at}", name, each) for at, each in enumerate(payloads)]
            await done(store, Commit(at_ms=1, deposit=tuple(mails)))
            assert [mail.id for mail in await store.mail(key=name)] == [mail.id for mail in mails]


# -- the table ----------------------------------------------------------------------------------


async def test_a_table_is_made_only_where_the_address_says_so(dynamodb_url: str) -> None:
    """And not for tools that look at a store."""
    looks = make_store(dynamodb_url, create=False)
    plain = make_store(dynamodb_url.replace("&create=1", ""))
    for store in (looks, plain):
        with pytest.raises(ConfigError, match=r"no such table.*create=1"):
            await store.open()
        with pytest.raises(StoreUnavailable, match="is not open"):
            await store.load(KEY)
    makes = make_store(dynamodb_url)
    await makes.open()
    await makes.close()
    await looks.open()
    await looks.close()


async def test_processes_that_start_at_once_make_one_table(dynamodb_url: str) -> None:
    stores = [DynamoDBStore(dynamodb_url, http=Transport) for _ in range(4)]
    await asyncio.gather(*[store.open() for store in stores])
    await done(stores[0], begin())
    assert await stores[3].load(KEY) is not None
    table = (await ask(stores[0], "DescribeTable"))["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    life = await ask(stores[0], "DescribeTimeToLive")
    assert life["TimeToLiveDescription"]["AttributeName"] == "ttl"
    for store in stores:
        await store.close()


async def test_a_table_that_a_template_made_is_used(dynamodb_url: str) -> None:
    name = f"{where_is(dynamodb_url).table}-of-a-template"
    async with opened(dynamodb_url) as store:
        assert store._open is not None
        await store._open.client.call("CreateTable", definition(name))
    url = f"dynamodb://{name}?{dynamodb_url.partition('?')[2]}"
    async with opened(url.replace("&create=1", "")) as store:
        await done(store, begin())
        assert len(await store.find()) == 1


@pytest.mark.parametrize("keys", [1, 2])
async def test_the_table_of_something_else_is_refused(dynamodb_url: str, keys: int) -> None:
    """Other keys, or the same ones without the indexes."""
    name = where_is(dynamodb_url).table
    other = definition(f"{name}-of-another")
    del other["GlobalSecondaryIndexes"]
    for part in ("KeySchema", "AttributeDefinitions"):
        other[part] = other[part][:keys]
    async with opened(dynamodb_url) as store:
        assert store._open is not None
        await store._open.client.call("CreateTable", other)
    with pytest.raises(ConfigError, match="-of-another has other keys or indexes"):
        async with opened(dynamodb_url.replace(f"//{name}?", f"//{name}-of-another?")):
            pass


async def test_the_spread_of_a_table_stays_as_it_was_first(dynamodb_url: str) -> None:
    """A process that names another one finds what was written before."""
    async with opened(f"{dynamodb_url}&spread=16") as store:
        await done(store, begin(outbox=(item("x"),), row=row(wake_ms=5)))
    async with opened(f"{dynamodb_url}&spread=1") as store:
        assert await texts(store) == ["x"]
        assert len(await store.due(9, 9)) == 1


async def test_a_newer_layout_is_refused(dynamodb_url: str) -> None:
    async with opened(dynamodb_url) as store:
        await ask(store, "PutItem", Item=META | {"layout": n(2)})
    with pytest.raises(StoreNewer, match="layout 2, this one knows 1"):
        async with opened(dynamodb_url):
            pass


async def test_a_store_without_credentials_says_where_they_belong(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY"):
        await DynamoDBStore(dynamodb_url, http=Transport).open()


async def test_a_table_that_is_deleted_is_told(dynamodb_url: str) -> None:
    async with opened(dynamodb_url) as store:
        await ask(store, "DeleteTable")
        with pytest.raises(StoreCorrupt, match="was it deleted"):
            await store.load(KEY)
        with pytest.raises(StoreCorrupt, match="was it deleted"):
            await store.commit(begin())


async def test_a_store_that_is_closed_finishes_what_was_begun(dynamodb_url: str) -> None:
    """Also a commit that has several requests to make."""
    async with opened(dynamodb_url) as store:
        keys = [f"{KEY}{number}" for number in range(30)]
        await done(store, Commit(at_ms=1, deposit=tuple(Mail(key, KEY, b"") for key in keys)))
    async with opened(dynamodb_url) as store:  # which does not know that they wait
        works = [asyncio.create_task(store.commit(begin(key, update_id=key))) for key in keys]
        await asyncio.sleep(0)
        await store.close()
        assert {(await work).result for work in works} == {"committed"}


def test_a_store_belongs_to_the_loop_that_opened_it(dynamodb_url: str) -> None:
    store = DynamoDBStore(dynamodb_url, http=Transport)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(store.open())
        with pytest.raises(Misuse, match="another event loop"):
            second.run(store.load(KEY))
        first.run(store.close())


# -- long values --------------------------------------------------------------------------------


async def test_long_values_come_back_whole(dynamodb_url: str) -> None:
    """Of every kind, after they were replaced and moved, and in lists."""
    call = Call("send", {"text": "x" * 200_000})
    long = row(state=LONG, wake_ms=5, status="failed")
    async with opened(dynamodb_url) as store:
        mail = (Mail("m", KEY, LONG), Mail("n", KEY, b""))
        puts = (("space", "name", LONG),)
        commit = begin(
            row=long, birth=LONG, segment=LONG, reply=LONG, update_id="u", deposit=mail, puts=puts
        )
        await done(store, commit)
        (number,) = (await done(store, Commit(at_ms=1, outbox=(item(call=call, ref="r"),)))).ids
        for key in (KEY, "aside"):
            loaded = await store.load(key)
            assert loaded is not None
            assert (loaded.birth, loaded.segments[0]) == (LONG, LONG)
            assert loaded.conversation.state == LONG
            assert [found.state for found in await store.find(status="failed")] == [LONG]
            if key == KEY:
                await done(
                    store, proceed(segment=LONG[1:], row=row(head=2, state=LONG, status="failed"))
                )
                await done(store, Commit(at_ms=1, key=KEY, expect=(1, 2), aside="aside"))
        assert await store.mail() == list(mail)
        assert await store.mail(key=KEY, limit=1) == [mail[0]]
        assert (await store.commit(commit)).reply == LONG
        assert await store.get("inbox", "u") == LONG
        assert await store.get("space", "name") == LONG
        assert [found.call for found in await store.outbox(states=("queued",))] == [call]
        await store.settle([Settled(number, SENT, key=KEY, epoch=1, ref="r", message_id="4")])
        await done(store, Commit(at_ms=1, update_id="m"))
        await done(store, Commit(at_ms=1, puts=(("space", "name", LONG[:100_000]),)))
        assert await store.get("space", "name") == LONG[:100_000]
        left = await everything(store)
        assert [key for key in left if key.startswith(("o|", "m|"))] == [
            key for key in left if key.startswith(f"m|{KEY}")
        ]
        assert [key for key in left if key.startswith("m|") and "+" in key] == []


async def test_a_commit_that_is_too_large_is_refused_whole(dynamodb_url: str) -> None:
    """Of items, and of bytes; the next one goes through."""
    async with opened(dynamodb_url) as store:
        for commit in (
            begin(outbox=tuple(item(str(number)) for number in range(99)), update_id="u"),
            begin(segment=bytes(4_000_000)),
        ):
            with pytest.raises(StoreError, match=r"more than DynamoDB takes at once \(100 items"):
                await store.commit(commit)
        assert await everything(store) == []
        many = tuple(item(str(number)) for number in range(96))
        await done(store, begin(outbox=many, segment=bytes(200), update_id="u"))
        assert len(await texts(store)) == 96


# -- sweeping -----------------------------------------------------------------------------------


@pytest.fixture
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fates, "GRACE_US", -1_000_000)


@pytest.mark.usefixtures("_no_grace")
async def test_a_purge_deletes_the_journals_that_nobody_reads(dynamodb_url: str) -> None:
    """Of ended conversations and of epochs before; what was moved aside stays whole."""
    async with opened(dynamodb_url) as store:
        await done(store, begin())
        for head in range(1, 40):
            await done(store, proceed(head=head))
        goto = row(epoch=2, head=1)
        await done(store, proceed(head=40, row=goto, birth=b"birth of 2", segment=b"s"))
        await done(store, begin("ended", row=row("ended", state=LONG)))
        await done(store, proceed("ended", row=None))
        await done(store, begin("moved"))
        await done(store, Commit(at_ms=1, key="moved", expect=(1, 1), aside="aside"))
        await done(store, begin("moved"))
        await done(store, proceed("moved", row=None))
        before = [await store.load(key) for key in (KEY, "aside")]
        assert None not in before
        assert len(await everything(store)) > 50
        await done(store, Commit(at_ms=1, purge_ms=1))
        assert [await store.load(key) for key in (KEY, "aside")] == before
        kinds = [key.partition(" ")[0] for key in await everything(store)]
        assert kinds == ["c|aside", "c|moved", "c|moved", f"c|{KEY}", f"c|{KEY}", f"c|{KEY}"]


@pytest.mark.usefixtures("_no_grace")
async def test_a_purge_that_has_much_to_delete_leaves_some_to_the_next_one(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fates, "SWEEP_S", 0.0)
    async with opened(f"{dynamodb_url}&spread=1") as store:
        for number in range(20):
            await done(store, begin(f"{number}"))
            await done(store, proceed(f"{number}", row=None))
        left = [len(await everything(store))]
        while left[-1]:
            await done(store, Commit(at_ms=1, purge_ms=1))
            left.append(len(await everything(store)))
    assert left == [60, 36, 12, 0]


async def test_what_is_of_use_for_a_while_only_is_marked_for_deletion(dynamodb_url: str) -> None:
    """Consumed updates, receipts and message ids; never what waits or is remembered."""
    async with opened(dynamodb_url) as store:
        mail = (Mail("m", KEY, b""),)
        puts = (("space", "name", b""),)
        commit = begin(update_id="u", reply=LONG, deposit=mail, puts=puts)
        await done(store, commit)
        (number,) = (await done(store, Commit(at_ms=1, outbox=(item(ref="r"),)))).ids
        await store.settle([Settled(number, SENT, key=KEY, epoch=1, ref="r", message_id="4")])
        found = (await ask(store, "Scan"))["Items"]
        marked = {each["pk"]["S"][:6] for each in found if "ttl" in each}
        kept = {each["pk"]["S"][:6] for each in found if "ttl" not in each}
        assert {each[:2] for each in marked} == {"u|", "t|", "k|"}
        assert marked & kept == set()


async def test_a_journal_that_is_not_whole_is_told(dynamodb_url: str) -> None:
    async with opened(dynamodb_url) as store:
        await done(store, begin())
        found = (await ask(store, "Scan"))["Items"]
        (segment,) = [each for each in found if each["sk"]["S"].endswith("1")]
        key = {name: segment[name] for name in ("pk", "sk")}
        await ask(store, "DeleteItem", Key=key)
        with pytest.raises(StoreCorrupt, match="is not whole"):
            await store.load(KEY)
