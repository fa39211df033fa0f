"""A process that dies at any of its requests to DynamoDB leaves nothing half done, and the next one goes on."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from legato.abc import HttpRequest, HttpResponse
from legato.deploy.transport import Transport
from legato.errors import StoreError
from legato.model.records import COMMITTED, DUPLICATE, SENT, Commit, Mail, Settled
from legato.stores.dynamodb import DynamoDBStore, fates
from legato.testing.conformance._samples import KEY, begin, everything, item, proceed, row
from legato.testing.crash import Crash
from tests.servers import Ministack

LONG = bytes(70_000)


class Fuse(Transport):
    """A transport whose process dies after a request, before it sees the answer.

    Attributes:
        left: Requests until then; None for ever.
        torn: A sabotage: each item of a transaction goes in a request of its own.
        count: Requests so far.
    """

    left: int | None = None
    torn = False
    count = 0

    async def send(self, request: HttpRequest) -> HttpResponse:
        if not (Fuse.torn and request.headers["x-amz-target"].endswith(".TransactWriteItems")):
            return await self._one(request)
        answer = HttpResponse(200)
        for number, write in enumerate(json.loads(request.body)["TransactItems"]):
            body = json.dumps({"TransactItems": [write]}).encode()
            answer = await self._one(HttpRequest("POST", request.url, request.headers, body))
            if answer.status != 200:
                found = json.loads(answer.body)
                found["CancellationReasons"] = [{}] * number + found["CancellationReasons"]
                return HttpResponse(answer.status, {}, json.dumps(found).encode())
        return answer

    async def _one(self, request: HttpRequest) -> HttpResponse:
        Fuse.count += 1
        answer = await super().send(request)
        if Fuse.left is not None:
            Fuse.left -= 1
            if Fuse.left < 0:
                raise Crash("the process is gone")
        return answer


async def life(store: DynamoDBStore) -> None:
    """All that there is to do; what an earlier process did is done already."""
    say = (item("1", ref="r"), item("2"))
    deposit = (Mail("c", KEY, LONG), Mail("d", KEY, b"event"))
    for commit in (
        begin(update_id="a", reply=b"reply", outbox=say, deposit=deposit),
        proceed(update_id="b", outbox=(item("3"),), segment=LONG, puts=(("space", "name", b"1"),)),
        proceed(head=2, update_id="c", row=row(epoch=2), birth=b"new", segment=b"s"),
        proceed(epoch=2, head=1, update_id="d", aside="aside", row=row(epoch=3, wake_ms=7)),
        proceed("aside", epoch=2, head=1, update_id="e", row=None, outbox=(item("4"),)),
    ):
        done = await store.commit(commit)
        assert done.result in {COMMITTED, DUPLICATE}, (commit.update_id, done)
        if commit.update_id == "a" and done.result == DUPLICATE:
            assert done.reply == b"reply"
    for found in await store.outbox(states=("queued",)):
        if found.call.params["text"] == "1":
            sent = Settled(found.id, SENT, key=KEY, epoch=1, ref="r", message_id="77")
            await store.settle([sent])
        elif found.call.params["text"] == "2":
            await store.settle([Settled(found.id, "dead", attempts=1)])
    await store.commit(Commit(at_ms=10_000, purge_ms=1))


async def told(store: DynamoDBStore) -> list[Any]:
    """All that can be read, and how many items there are."""
    assert store._open is not None
    count = (await store._open.client.ask("Scan", Select="COUNT"))["Count"]
    kept = [await store.get("inbox", name) for name in "abcde"]
    return [*await everything(store, "aside"), *kept, await store.get("sent", f"{KEY}|1|r"), count]


Live = Callable[[DynamoDBStore], Coroutine[Any, Any, Any]]


async def lived(url: str, *, left: int | None = None, work: Live = life) -> bool:
    """Lets a process do it; returns whether it lived to the end."""
    store = DynamoDBStore(url, http=Fuse)
    Fuse.left = left
    try:
        await store.open()
        await work(store)
    except Crash:
        return False
    finally:
        Fuse.left = None
        await store.close()
        # What ran beside the request at which it died is gone, too.
        beside = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*beside, return_exceptions=True)
    return True


async def wrong(server: Ministack, name: str, enough: int = 1000) -> list[int]:
    """Lets a process die at each request; returns after which deaths the next one's end is another."""
    seen: list[Any] = []

    async def look(store: DynamoDBStore) -> None:
        seen.append(await told(store))

    url = server.url(name)
    before = Fuse.count
    assert await lived(url)
    points = Fuse.count - before
    assert await lived(url, work=look)
    assert seen[0][-2] == b"77"
    assert points > 20
    found = []
    for point in range(points):
        url = server.url(f"{name}-{point}")
        assert not await lived(url, left=point)
        try:
            assert await lived(url)
            assert await lived(url, work=look)
            assert seen.pop() == seen[0]
        except (AssertionError, StoreError):
            found.append(point)
        if len(found) == enough:
            break
    return found


@pytest.mark.usefixtures("dynamodb_url")
async def test_whoever_dies_at_any_request_the_next_one_finishes_it(
    shared_ministack: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fates, "GRACE_US", -60_000_000)
    assert await wrong(shared_ministack, "deaths") == []


@pytest.mark.usefixtures("dynamodb_url")
async def test_without_transactions_deaths_leave_halves(
    shared_ministack: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    monkeypatch.setattr(fates, "GRACE_US", -60_000_000)
    monkeypatch.setattr(Fuse, "torn", True)
    assert len(await wrong(shared_ministack, "torn", enough=3)) == 3
