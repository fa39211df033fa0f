"""The part of the store's conformance suite that is about slots: how workers share a store."""

from __future__ import annotations

from collections.abc import Collection

from legato.abc.store import Store
from legato.model.events import Address
from legato.model.records import DEAD, FAILED, QUEUED, Commit, Mail
from legato.model.shards import SLOTS, slot_of, slot_of_key, slots_of
from legato.testing.conformance._samples import begin, done, item, on_store, proceed, row, texts

SHARDS = 4
PLACES = [Address("telegram", "7", str(chat), str(chat)) for chat in range(1, 25)]
KEYS = [f"telegram:7:{place.chat}:{place.user}:" for place in PLACES]


def of(keys: Collection[str], slots: Collection[int]) -> list[str]:
    """Those keys that lie in `slots`."""
    return [key for key in keys if slot_of_key(key) in slots]


class SlotsConformance:
    """What is read with `slots` given."""

    @on_store
    async def test_due_conversations_come_to_the_shard_of_their_key(self, store: Store) -> None:
        """Each to one shard, earliest first, and `limit` counts only its own."""
        for number, key in enumerate(KEYS):
            await done(store, begin(key, row=row(key, wake_ms=1000 - number)))
        seen: list[str] = []
        for shard in range(SHARDS):
            slots = slots_of(shard, SHARDS)
            found = [due.key for due in await store.due(1000, 99, slots=slots)]
            assert found == of(KEYS[::-1], slots)
            assert [due.key for due in await store.due(1000, 2, slots=slots)] == found[:2]
            seen += found
        assert sorted(seen) == sorted(KEYS)
        assert await store.due(1000, 99, slots=()) == []
        assert len(await store.due(1000, 99, slots=range(SLOTS))) == len(KEYS)
        assert len(await store.due(1000, 99)) == len(KEYS)

    @on_store
    async def test_conversations_are_found_by_shard(self, store: Store) -> None:
        """With the other filters, and page by page."""
        keys = sorted(KEYS)
        for number, key in enumerate(keys):
            status = FAILED if number % 3 == 0 else "waiting"
            await done(store, begin(key, row=row(key, status=status)))
        for shard in range(SHARDS):
            slots = set(slots_of(shard, SHARDS))
            assert [found.key for found in await store.find(slots=slots)] == of(keys, slots)
            failed = await store.find(slots=slots, status=FAILED)
            assert [found.key for found in failed] == of(keys[::3], slots)
            seen: list[str] = []
            while page := await store.find(slots=slots, after=seen[-1] if seen else "", limit=2):
                seen += [found.key for found in page]
            assert seen == of(keys, slots)
        assert await store.find(slots=frozenset()) == []

    @on_store
    async def test_mail_comes_to_the_shard_of_its_key(self, store: Store) -> None:
        """In the order of deposit, and paged after the last one seen."""
        for key in reversed(KEYS):
            await done(store, Commit(at_ms=1, deposit=(Mail(f"mail {key}", key, b""),)))
        for shard in range(SHARDS):
            slots = slots_of(shard, SHARDS)
            seen: list[Mail] = []
            while page := await store.mail(after=seen[-1].id if seen else "", limit=2, slots=slots):
                seen += page
            assert [mail.key for mail in seen] == of(KEYS[::-1], slots)
            for key in of(KEYS, slots):
                assert len(await store.mail(key=key, slots=slots)) == 1
                assert await store.mail(key=key, slots=slots_of(shard ^ 1, SHARDS)) == []
        assert await store.mail(slots=()) == []

    @on_store
    async def test_outbox_items_come_to_the_shard_of_their_place(self, store: Store) -> None:
        """Of their place and not of the conversation that said them (it may speak elsewhere)."""
        for place in PLACES:
            lane = place.lane
            outbox = (
                item(place.chat, key=KEYS[0], place=place, lane=lane),
                item(f"dead {place.chat}", place=place, lane=lane, state=DEAD),
            )
            await done(store, Commit(at_ms=1, outbox=outbox))
        for shard in range(SHARDS):
            slots = slots_of(shard, SHARDS)
            mine = [place.chat for place in PLACES if slot_of(place) in slots]
            assert await texts(store, slots=slots) == mine
            assert await texts(store, DEAD, slots=slots) == [f"dead {chat}" for chat in mine]
            assert await texts(store, slots=slots, key=KEYS[0]) == mine
            first = (await store.outbox(states=(QUEUED,), slots=slots, limit=1))[0]
            assert await texts(store, slots=slots, after=first.id, limit=2) == mine[1:3]
        assert await texts(store, slots=()) == []

    @on_store
    async def test_a_conversation_moved_aside_is_found_in_the_slot_of_its_new_key(
        self, store: Store
    ) -> None:
        """With its journal, which goes on there."""
        old = KEYS[0]
        new = next(key for key in KEYS if slot_of_key(key) % SHARDS != slot_of_key(old) % SHARDS)
        await done(store, begin(old, row=row(old, wake_ms=5)))
        await done(store, Commit(at_ms=1, key=old, expect=(1, 1), aside=new))
        (there,) = await store.find(slots=(slot_of_key(new),))
        assert there.key == new
        assert await store.due(9, 9, slots=(slot_of_key(old),)) == []
        assert len(await store.due(9, 9, slots=(slot_of_key(new),))) == 1
        await done(store, proceed(new))
        loaded = await store.load(new)
        assert loaded is not None
        assert loaded.segments == [b"segment 1.1", b"segment 1.2"]
        await done(store, begin(old))
