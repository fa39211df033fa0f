"""The DynamoDB store against the memory store: whatever is written, both answer alike.

LEGATO_SOAK=16: about 200 stories.
"""

import asyncio
import os
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from legato.abc.store import Store
from legato.deploy.transport import Transport
from legato.model.records import COMMITTED, FAILED, HELD, SENT, WAITING, Commit, Settled
from legato.stores.dynamodb import DynamoDBStore
from legato.stores.memory import MemoryStore
from tests.property.test_store_model import KEYS, STATES, commits, keys, names, texts
from tests.servers import Ministack

STORIES = 12 * int(os.environ.get("LEGATO_SOAK", "1"))
NAMES = ("x", "y", "z", "\udfff", "n\0")
_tables = count(1)

writes = st.tuples(st.just("commit"), st.lists(commits, min_size=1, max_size=3), st.integers(0, 5))
fates = st.tuples(
    st.just("settle"),
    st.lists(st.integers(0, 30), max_size=3),
    st.sampled_from((SENT, SENT, *STATES)),
    st.tuples(texts, keys, names, st.sampled_from(("", "77", "\ud800"))),
)
restarts = st.tuples(st.just("restart"))
stories = st.lists(st.one_of(writes, writes, writes, fates, restarts), min_size=5, max_size=25)


class Both:
    """Does the same to both, and knows which of their ids belong together."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.model = MemoryStore()
        self.store = self._made()
        self.ids: list[tuple[int, int]] = []
        self.heads: dict[str, tuple[int, int]] = {}
        self.at_ms = 100

    def _made(self) -> DynamoDBStore:
        return DynamoDBStore(self.url, http=Transport)

    async def do(self, step: tuple[Any, ...]) -> None:
        """One step of a story."""
        match step:
            case ("commit", group, stale):
                await self.commit(group, stale=stale == 0)
            case ("settle", numbers, state, fields):
                await self.settle(numbers, state, fields)
            case _:
                await self.store.close()
                self.store = self._made()
                await self.store.open()

    def fenced(self, commit: Commit, number: int, *, stale: bool) -> Commit:
        """The commit with the fence of its conversation, at a time after all before."""
        fence = self.heads.get(commit.key)
        expect = ((1, 10**6) if fence is None else None) if stale else fence
        row = commit.row and replace(commit.row, key=commit.key, head=self.at_ms + number)
        return replace(
            commit,
            at_ms=self.at_ms,
            expect=expect,
            row=row,
            birth=commit.birth or b"birth",
            aside=commit.aside if expect else "",
            outbox=tuple(replace(item, created_ms=0) for item in commit.outbox),
            purge_ms=commit.purge_ms and self.at_ms - commit.purge_ms,
        )

    async def commit(self, group: list[Commit], *, stale: bool) -> None:
        """Commits one after the other (the memory store knows no other way)."""
        for number, given_ in enumerate(group):
            self.at_ms += 10
            commit = self.fenced(given_, number, stale=stale)
            wanted, found = await self.model.commit(commit), await self.store.commit(commit)
            assert (found.result, found.reply) == (wanted.result, wanted.reply)
            assert len(found.ids) == len(wanted.ids)
            self.ids += zip(wanted.ids, found.ids, strict=True)
            if found.result == COMMITTED and commit.key:
                old = self.heads.pop(commit.key, None)
                if old and commit.aside:
                    self.heads[commit.aside] = old
                if commit.row:
                    self.heads[commit.key] = (commit.row.epoch, commit.row.head)

    async def settle(self, numbers: list[int], state: str, fields: tuple[str, ...]) -> None:
        """Settles items that there were."""
        error, key, ref, message_id = fields
        pairs = [self.ids[number] for number in numbers if number < len(self.ids)]
        for at, store in enumerate((self.model, self.store)):
            fate = Settled(0, state, 3, 9, error, key, 1, ref, message_id)
            await store.settle([replace(fate, id=pair[at]) for pair in pairs])

    async def told(self, store: Store, at: int) -> list[Any]:
        """All that can be read of a store."""
        seen: list[Any] = []
        order = {pair[at]: number for number, pair in enumerate(self.ids)}
        for key in (*KEYS, "aside"):
            seen += [await store.load(key), await store.mail(key=key)]
            seen += [await store.get("sent", f"{key}|1|{name}") for name in NAMES]
        for name in NAMES:
            seen += [await store.get("inbox", name), await store.get("x", name)]
            seen.append(await store.mail(after=name, limit=2))
        for after in (0, self.ids[len(self.ids) // 2][at] if self.ids else 0):
            items = await store.outbox(states=(*STATES,), after=after, limit=5)
            seen += [replace(item, id=order[item.id]) for item in items]
        items = await store.outbox(states=STATES[2:], key="a")
        seen += [replace(item, id=order[item.id]) for item in items]
        for now_ms in (20, 50):
            seen.append(sorted(row.key for row in await store.due(now_ms, 100)))
            seen.append([row.wake_ms for row in await store.due(now_ms, 3)])
        for status in ("", WAITING, FAILED, HELD):
            seen.append(await store.find(status=status))
            seen.append(await store.find(status=status, dialog="x", after="a", limit=2))
        return seen


@pytest.mark.timeout(60 + 10 * STORIES)
@settings(
    max_examples=STORIES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories, spread=st.sampled_from((1, 4)))
def test_any_story_ends_alike_in_both(
    shared_ministack: Ministack, dynamodb_url: str, story: list[tuple[Any, ...]], spread: int
) -> None:
    async def live() -> None:
        both = Both(
            shared_ministack.url(f"model{next(_tables)}", more=f"&create=1&spread={spread}")
        )
        await both.store.open()
        try:
            for step in story:
                await both.do(step)
            assert await both.told(both.store, 1) == await both.told(both.model, 0)
        finally:
            await both.store.close()

    assert dynamodb_url  # sets the credentials
    asyncio.run(live())
