"""The part of the store's conformance suite that is about `Commit.within`: the app's own SQL."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from legato.abc.store import Store
from legato.errors import Unsupported
from legato.model.records import COMMITTED, CONFLICT, DUPLICATE, Commit, Committed, Loaded
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


class Ran:
    """A `within` that counts how often it ran."""

    def __init__(self, *, fails: bool = False) -> None:
        self.times = 0
        self._fails = fails

    async def __call__(self, sql: Any) -> bytes:
        assert sql is not None
        self.times += 1
        if self._fails:
            raise KeyError("sold out")
        return b"from within"


class WithinConformance:
    """What `Commit.within` promises. A store that has such a thing says `runs_sql = True`."""

    runs_sql = False

    @on_store
    async def test_what_within_returns_is_the_segment(self, store: Store) -> None:
        """At the start of an epoch and later on; everything else is written as ever."""
        if not self.runs_sql:
            before = await everything(store)
            refused = await _raised(store, begin(within=Ran(), outbox=(item(),)))
            assert isinstance(refused, Unsupported), refused
            assert await everything(store) == before
            return
        await done(store, begin(within=Ran(), outbox=(item("told"),)))
        await done(store, proceed(within=Ran(), update_id="update"))
        segments = [b"from within", b"from within"]
        assert await store.load(KEY) == Loaded(row(head=2), b"birth of 1", segments)
        assert await texts(store) == ["told"]
        assert await store.get("inbox", "update") == b""

    @on_store
    async def test_a_within_that_raises_leaves_nothing_and_its_error_arrives(
        self, store: Store
    ) -> None:
        """The same commit may be tried again, and so may the update."""
        if not self.runs_sql:
            return
        await done(store, begin())
        before = await everything(store)
        failing = proceed(within=Ran(fails=True), update_id="update", outbox=(item("no"),))
        for _ in range(2):
            error = await _raised(store, failing)
            assert isinstance(error, KeyError), error
            assert error.args == ("sold out",)
            assert await everything(store) == before
            assert await store.get("inbox", "update") is None
        await done(store, replace(failing, within=Ran()))

    @on_store
    async def test_within_does_not_run_where_the_commit_is_refused(self, store: Store) -> None:
        """Update id and fence are looked at before."""
        if not self.runs_sql:
            return
        await done(store, begin(update_id="known"))
        ran = Ran()
        for commit, result in [
            (proceed(head=9, within=ran, update_id="new"), CONFLICT),
            (begin(within=ran), CONFLICT),
            (proceed(within=ran, update_id="known"), DUPLICATE),
            (Commit(at_ms=1, update_id="known", within=ran), DUPLICATE),
        ]:
            assert await store.commit(commit) == Committed(result)
        assert ran.times == 0

    @on_store
    async def test_of_many_with_the_same_fence_one_within_counts(self, store: Store) -> None:
        """And one that raises disturbs no neighbour."""
        if not self.runs_sql:
            return
        await done(store, begin())
        commits = [proceed(within=Ran()) for _ in range(10)]
        commits += [begin(f"{KEY}{n}", within=Ran(fails=n % 2 == 0)) for n in range(10)]
        got = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        results = [one.result for one in got[:10] if isinstance(one, Committed)]
        assert results.count(COMMITTED) == 1
        assert results.count(CONFLICT) == 9
        assert [isinstance(one, KeyError) for one in got[10:]] == [True, False] * 5
        keys = [f"{KEY}{n}" for n in range(1, 10, 2)]
        assert [found.key for found in await store.find()] == [KEY, *keys]


async def _raised(store: Store, commit: Commit) -> Exception | None:
    try:
        await store.commit(commit)
    except Exception as error:  # noqa: BLE001 - the caller says which one it must be
        return error
    return None
