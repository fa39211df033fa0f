"""A bot's day on a disk that loses power, and what must hold when the power is back."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from msgspec import Struct, field

from legato.errors import StoreError
from legato.model.events import Address
from legato.model.records import (
    COMMITTED,
    QUEUED,
    SENT,
    Call,
    Commit,
    Committed,
    Conversation,
    OutboxItem,
    Settled,
)
from legato.stores.sqlite import SQLiteStore
from tests.integration.powercut import Disk, DiskVFS

PEOPLE = 6
PLACE = Address("telegram", "7", "1", "1")


class Ledger(Struct):
    """What the program was told, and what it had asked for when the power went.

    Attributes:
        heads: Conversation -> numbers of its acknowledged commits, in order.
        asked: Conversation -> number of a commit not answered yet.
        items: Acknowledged commit -> id of its outbox item.
        settled: Commits whose item was settled, for certain.
        settling: Commits whose item's settling was not answered yet.
    """

    heads: dict[str, list[int]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    items: dict[int, int] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    settling: set[int] = field(default_factory=set)

    @property
    def acknowledged(self) -> int:
        """Commits that must be there."""
        return sum(map(len, self.heads.values()))


class Loss(Struct):
    """What was wrong after a cut."""

    lost: int = 0
    wrong: list[str] = field(default_factory=list)


def store_on(vfs: DiskVFS, folder: Path, synchronous: str) -> SQLiteStore:
    """A store with threads, its file on the simulated disk (the lock beside it on the real one)."""
    path = folder / "bot.db"
    return SQLiteStore(path, _synchronous=synchronous, _connect=vfs.connect)


async def work(store: SQLiteStore, disk: Disk, ledger: Ledger, rounds: int) -> None:
    """Commits and settles in groups until the power goes, or for so many rounds."""
    rng, number = disk.rng, 0
    for _ in range(rounds):
        keys = rng.sample(range(PEOPLE), rng.randint(1, PEOPLE))
        jobs = []
        for person in keys:
            number += 1
            jobs.append(_commit(store, ledger, f"key {person}", number, rng))
        unsettled = [done for done in ledger.items if done not in ledger.settled]
        chosen = rng.sample(unsettled, min(len(unsettled), rng.randint(0, 4)))
        jobs += [_settle(store, ledger, done) for done in chosen]
        await asyncio.gather(*jobs)
        if disk.off:
            return


async def _commit(
    store: SQLiteStore, ledger: Ledger, key: str, number: int, rng: random.Random
) -> None:
    past = ledger.heads.setdefault(key, [])
    head = len(past)
    commit = Commit(
        at_ms=number,
        key=key,
        expect=(1, head) if head else None,
        row=Conversation(key, "d", "1", 1, head + 1, "waiting", number, b"s" * 90, number),
        birth=b"" if head else b"b" * 300,
        segment=f"{number} ".encode().ljust(rng.choice((40, 400, 9000)), b"."),
        update_id=f"update {number}",
        outbox=(OutboxItem(0, PLACE.lane, PLACE, key, 1, "ref", Call("send", {"n": number})),),
        puts=(("last", key, str(number).encode()),),
    )
    ledger.asked[key] = number
    try:
        done: Committed = await store.commit(commit)
    except StoreError:
        return
    assert done.result == COMMITTED
    del ledger.asked[key]
    past.append(number)
    ledger.items[number] = done.ids[0]


async def _settle(store: SQLiteStore, ledger: Ledger, number: int) -> None:
    ledger.settling.add(number)
    item = ledger.items[number]
    fate = Settled(item, SENT, key="key", epoch=1, ref=f"{number}", message_id=f"{number}")
    try:
        await store.settle([fate])
    except StoreError:
        return
    ledger.settling.discard(number)
    ledger.settled.add(number)


async def inspect(store: SQLiteStore, ledger: Ledger) -> Loss:
    """Compares the opened store with the ledger: nothing acknowledged is lost, nothing is half there."""
    loss = Loss()
    assert store._transactions is not None
    health = store._transactions.connection().execute("PRAGMA integrity_check").fetchall()
    if health != [("ok",)]:
        loss.wrong.append(f"damaged: {health}")
    queued = {
        int(str(item.call.params["n"]))
        for item in await store.outbox(states=(QUEUED,), limit=10**6)
    }
    for key in (f"key {person}" for person in range(PEOPLE)):
        acknowledged = ledger.heads.get(key, [])
        loaded = await store.load(key)
        found = [int(data.split()[0]) for data in loaded.segments] if loaded else []
        loss.lost += len(set(acknowledged) - set(found))
        unanswered = [ledger.asked[key]] if key in ledger.asked else []
        if (
            found not in (acknowledged, acknowledged + unanswered)
            and found != acknowledged[: len(found)]
        ):
            loss.wrong.append(f"{key} has commits {found}, not {acknowledged}")
        if loaded and loaded.conversation.head != len(found):
            loss.wrong.append(f"{key} is at {loaded.conversation.head} with {len(found)} segments")
        if await store.get("last", key) != (str(found[-1]).encode() if found else None):
            loss.wrong.append(f"{key}: its value is not of its last commit")
        for number in acknowledged + unanswered:
            await _inspect_commit(store, ledger, loss, number, there=number in found, queued=queued)
    return loss


async def _inspect_commit(
    store: SQLiteStore, ledger: Ledger, loss: Loss, number: int, *, there: bool, queued: set[int]
) -> None:
    if (await store.get("inbox", f"update {number}") is not None) != there:
        loss.wrong.append(f"commit {number}: the update's id and the journal differ")
    kept = await store.get("sent", f"key|1|{number}")
    if not there:
        if number in queued or kept:
            loss.wrong.append(f"commit {number} is not there, but its message is")
    elif (number in queued) == (kept is not None):
        loss.wrong.append(f"commit {number}: its item is both queued and sent, or neither")
    elif number in ledger.settled and kept is None:
        loss.lost += 1
    elif kept and number not in ledger.settled | ledger.settling:
        loss.wrong.append(f"commit {number}: its item was settled by nobody")
