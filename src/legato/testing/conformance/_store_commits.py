"""The part of the store's conformance suite that is about Commit: one atomic write, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from legato.abc.store import Store
from legato.model.records import COMMITTED, CONFLICT, DUPLICATE, Commit, Committed, Loaded, Mail
from legato.testing.conformance._samples import (
    KEY,
    begin,
    done,
    everything,
    item,
    on_store,
    proceed,
    row,
    texts,
)

OTHER = "telegram:7:2:2:"

WRITES: dict[str, Any] = {
    "outbox": (item("must not be sent"),),
    "deposit": (Mail("mail", KEY, b"must not be kept"),),
    "puts": (("space", "name", b"must not be remembered"),),
    "purge_ms": 10_000,
}
"""Fields that a refused commit must not have written."""


class CommitConformance:
    """What `Store.commit` and `Store.load` promise."""

    # -- conversation and journal -------------------------------------------------------------

    @on_store
    async def test_an_unknown_key_loads_nothing(self, store: Store) -> None:
        """None, and no error."""
        assert await store.load(KEY) is None

    @on_store
    async def test_a_new_conversation_is_loaded_as_it_was_committed(self, store: Store) -> None:
        """Row, birth and first segment."""
        commit = begin()
        await done(store, commit)
        assert await store.load(KEY) == Loaded(row(), b"birth of 1", [b"segment 1.1"])

    @on_store
    async def test_segments_come_in_the_order_of_their_commits(self, store: Store) -> None:
        """The birth stays; a commit without a segment adds none."""
        await done(store, begin())
        for head in range(1, 12):
            commit = proceed(head=head)
            await done(store, replace(commit, segment=b"") if head == 5 else commit)
        segments = [f"segment 1.{head}".encode() for head in range(1, 13) if head != 6]
        assert await store.load(KEY) == Loaded(row(head=12), b"birth of 1", segments)

    @on_store
    async def test_a_new_epoch_starts_with_its_own_birth_and_journal(self, store: Store) -> None:
        """`goto`: the old epoch's journal is never loaded with the new one."""
        await done(store, begin())
        await done(store, proceed())
        goto = Commit(
            at_ms=3000,
            key=KEY,
            expect=(1, 2),
            row=row(epoch=2, dialog="menu", version="2"),
            birth=b"birth of 2",
            truncate=True,
        )
        await done(store, goto)
        await done(store, proceed(epoch=2, head=1, row=row(epoch=2, head=2, dialog="menu")))
        loaded = Loaded(row(epoch=2, head=2, dialog="menu"), b"birth of 2", [b"segment 2.2"])
        assert await store.load(KEY) == loaded

    @on_store
    async def test_an_ended_conversation_leaves_neither_row_nor_journal(self, store: Store) -> None:
        """Not even to a conversation that begins again under the same key and epoch."""
        await done(store, begin())
        await done(store, proceed(row=None))
        assert await store.load(KEY) is None
        assert await store.find() == []
        await done(store, begin(segment=b"anew"))
        assert await store.load(KEY) == Loaded(row(), b"birth of 1", [b"anew"])

    @on_store
    async def test_a_commit_without_a_key_touches_no_conversation(self, store: Store) -> None:
        """Its fence is not looked at."""
        await done(store, begin())
        await done(store, Commit(at_ms=1, expect=(9, 9), outbox=(item("news", key=""),)))
        assert await store.find() == [row()]
        assert await texts(store) == ["news"]

    @on_store
    async def test_conversations_do_not_touch_each_other(self, store: Store) -> None:
        """Keys that begin alike are different keys."""
        keys = (KEY, KEY + "1", OTHER, KEY[:-1])
        for number, key in enumerate(keys):
            await done(store, begin(key, segment=str(number).encode()))
        await done(store, proceed(OTHER, row=None))
        for number, key in enumerate(keys):
            loaded = await store.load(key)
            assert key == OTHER or (loaded and loaded.segments == [str(number).encode()])
        assert await store.load(OTHER) is None

    # -- the fence ----------------------------------------------------------------------------

    @on_store
    async def test_a_fence_that_does_not_hold_writes_nothing(self, store: Store) -> None:
        """CONFLICT, whichever way it does not hold; and the update may come again."""
        await done(store, begin())
        before = await everything(store, OTHER)
        for key, expect in ((KEY, None), (KEY, (1, 2)), (KEY, (2, 1)), (OTHER, (1, 1))):
            commit = Commit(
                at_ms=5000,
                key=key,
                expect=expect,
                row=row(key, 2, 2),
                birth=b"x",
                segment=b"x",
                update_id="update",
                **WRITES,
            )
            assert await store.commit(commit) == Committed(CONFLICT)
            assert await everything(store, OTHER) == before
        await done(store, proceed(update_id="update"))

    @on_store
    async def test_ending_needs_the_fence_too(self, store: Store) -> None:
        """A stale Turn cannot delete what a newer one wrote."""
        await done(store, begin())
        await done(store, proceed())
        stale = Commit(at_ms=1, key=KEY, expect=(1, 1), row=None)
        assert await store.commit(stale) == Committed(CONFLICT)
        assert await store.load(KEY) is not None

    # -- duplicates ---------------------------------------------------------------------------

    @on_store
    async def test_a_consumed_update_is_a_duplicate_and_its_reply_comes_back(
        self, store: Store
    ) -> None:
        """Nothing else is written, and the fence does not matter any more."""
        await done(store, begin(update_id="update", reply=b'{"method":"sendMessage"}\0'))
        before = await everything(store)
        duplicate = Committed(DUPLICATE, reply=b'{"method":"sendMessage"}\0')
        for commit in (proceed(), begin(), Commit(at_ms=1, key=KEY, expect=(9, 9), row=None)):
            again = Commit(
                at_ms=9000,
                key=commit.key,
                expect=commit.expect,
                row=commit.row,
                segment=b"twice",
                update_id="update",
                reply=b"another",
                **WRITES,
            )
            assert await store.commit(again) == duplicate
            assert await everything(store) == before
        assert await store.commit(Commit(at_ms=1, update_id="update")) == duplicate

    @on_store
    async def test_other_updates_and_commits_without_one_are_no_duplicates(
        self, store: Store
    ) -> None:
        """An empty id is none; a reply that was not given is empty."""
        await done(store, Commit(at_ms=1))
        await done(store, Commit(at_ms=1))
        await done(store, Commit(at_ms=1, update_id="a"))
        await done(store, Commit(at_ms=1, update_id="A"))
        assert await store.commit(Commit(at_ms=1, update_id="a")) == Committed(DUPLICATE)

    @on_store
    async def test_whether_an_update_was_consumed_can_be_asked(self, store: Store) -> None:
        """`get("inbox", id)`: its reply, empty if it had none; None if it is unknown or waits."""
        mail = Mail("waits", KEY, b"event")
        await done(store, Commit(at_ms=1, update_id="replied", reply=b"body", deposit=(mail,)))
        await done(store, Commit(at_ms=1, update_id="silent"))
        assert await store.get("inbox", "replied") == b"body"
        assert await store.get("inbox", "silent") == b""
        assert await store.get("inbox", "waits") is None
        assert await store.get("inbox", "unknown") is None

    # -- moving aside -------------------------------------------------------------------------

    @on_store
    async def test_aside_moves_a_conversation_and_a_new_one_begins(self, store: Store) -> None:
        """With its journal, and with nothing of it under the old key."""
        await done(store, begin(row=row(status="failed")))
        await done(store, begin(OTHER))
        commit = Commit(
            at_ms=5000,
            key=KEY,
            expect=(1, 1),
            aside=KEY + "~1",
            row=row(epoch=2),
            birth=b"birth of 2",
            segment=b"segment 2.1",
        )
        await done(store, commit)
        assert await store.load(KEY) == Loaded(row(epoch=2), b"birth of 2", [b"segment 2.1"])
        moved = Loaded(row(KEY + "~1", status="failed"), b"birth of 1", [b"segment 1.1"])
        assert await store.load(KEY + "~1") == moved
        await done(store, proceed(KEY + "~1"))
        await done(store, proceed(epoch=2))

    @on_store
    async def test_aside_alone_leaves_the_key_free(self, store: Store) -> None:
        """`row=None` with `aside` deletes nothing."""
        await done(store, begin())
        await done(store, Commit(at_ms=1, key=KEY, expect=(1, 1), aside="aside"))
        assert await store.load(KEY) is None
        assert await store.load("aside") == Loaded(row("aside"), b"birth of 1", [b"segment 1.1"])
        await done(store, begin())

    @on_store
    async def test_aside_needs_the_fence_and_a_free_place(self, store: Store) -> None:
        """Neither a stale Turn nor a second conversation may take another's place."""
        await done(store, begin())
        await done(store, begin(OTHER))
        before = await everything(store, OTHER, "aside")
        stale = Commit(at_ms=1, key=KEY, expect=(1, 7), aside="aside", row=row(epoch=2))
        taken = Commit(at_ms=1, key=KEY, expect=(1, 1), aside=OTHER, row=row(epoch=2))
        assert await store.commit(stale) == Committed(CONFLICT)
        assert await store.commit(taken) == Committed(CONFLICT)
        assert await everything(store, OTHER, "aside") == before

    # -- at the same time ---------------------------------------------------------------------

    @on_store
    async def test_of_commits_with_the_same_fence_exactly_one_wins(self, store: Store) -> None:
        """And what the others wanted to send is not sent."""
        for head in range(1, 6):
            following = begin() if head == 1 else proceed(head=head - 1)
            commits = [
                replace(
                    following,
                    segment=f"{head}:{number}".encode(),
                    outbox=(item(f"{head}:{number}"),),
                    update_id=f"{head}:{number}",
                )
                for number in range(20)
            ]
            results = [done.result for done in await asyncio.gather(*map(store.commit, commits))]
            assert results.count(COMMITTED) == 1
            assert results.count(CONFLICT) == 19
            loaded = await store.load(KEY)
            winner = commits[results.index(COMMITTED)]
            assert loaded is not None
            assert loaded.segments[-1] == winner.segment
            assert (await texts(store))[-1] == winner.segment.decode()
        assert len(await texts(store)) == 5

    @on_store
    async def test_an_update_that_comes_many_times_at_once_is_applied_once(
        self, store: Store
    ) -> None:
        """The others are told the winner's reply."""
        commits = [
            begin(f"{KEY}{number}", update_id="update", reply=str(number).encode())
            for number in range(20)
        ]
        results = await asyncio.gather(*map(store.commit, commits))
        (winner,) = [number for number, done in enumerate(results) if done.result == COMMITTED]
        others = [done for done in results if done.result != COMMITTED]
        assert others == [Committed(DUPLICATE, reply=str(winner).encode())] * 19
        assert [found.key for found in await store.find()] == [f"{KEY}{winner}"]

    @on_store
    async def test_refused_commits_do_not_disturb_their_neighbours(self, store: Store) -> None:
        """Every commit succeeds or fails alone, also where several share a transaction."""
        await done(store, begin(update_id="known"))
        commits = []
        for number in range(60):
            key = f"{OTHER}{number:02}"
            commits += [begin(key, outbox=(item(key),), update_id=key), begin()]
            commits += [begin(f"{key}?", update_id="known"), proceed(key, head=9)]
        results = [done.result for done in await asyncio.gather(*map(store.commit, commits))]
        assert results == [COMMITTED, CONFLICT, DUPLICATE, CONFLICT] * 60
        keys = [f"{OTHER}{number:02}" for number in range(60)]
        assert [found.key for found in await store.find()] == [KEY, *keys]
        assert sorted(await texts(store)) == keys
